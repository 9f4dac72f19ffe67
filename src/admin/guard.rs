//! Who may look after the broker, decided for every request before its body is read.
//!
//! `admin.sock` in the data directory is for root and the broker's own user, whom the kernel names. Nobody else is known by
//! where he comes from. A web page in a browser on this machine can reach the loopback, under its own name (a cross-site
//! request) or under a name of its own that it points at us (DNS rebinding), and who asks over a Unix socket of `admin.listen`
//! may be a proxy. So the Host has to be one that is known to be ours, and an Origin has to be that Host. Where clients have
//! to log in, or a request comes from elsewhere, operators have to as well: by a cookie that a login has brought, or by Basic
//! (RFC 7617).

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use noctule_core::refusal::Kind;
use tokio::sync::watch;

use super::metrics::Proof;
use super::page;
use super::problem::Problem;
use super::session::{self, Session, Sessions};
use super::strangers::Strangers;
use crate::auth::Grant;
use crate::broker::login::Logins;
use crate::config::Config;
use crate::reactor::Origin;

/// What decides who may.
#[derive(Debug)]
pub(super) struct Guard {
    /// Names besides addresses and `localhost` under which the broker is reached.
    hosts: Vec<String>,
    operators: RwLock<Operators>,
    logins: Logins,
    sessions: Sessions,
    /// Told whenever somebody may have lost his right.
    changes: watch::Sender<()>,
    strangers: Strangers,
}

/// Which of its sockets somebody comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `admin.sock` in the data directory.
    Own,
    /// One of `admin.listen`.
    Listed,
}

/// Who may come by `admin.listen`.
#[derive(Debug, Default)]
struct Operators {
    /// Whether who comes from this machine has to log in.
    asks: bool,
    /// `*` is everybody who has a name.
    users: Vec<String>,
}

impl Operators {
    fn of(config: &Config) -> Self {
        let users = config.admin.users.iter().map(|user| user.as_str().to_owned()).collect();
        Self { asks: config.is_authenticated(), users }
    }

    fn include(&self, user: &str) -> bool {
        self.users.iter().any(|known| known == "*" || known == user)
    }
}

/// Who asks, where he has logged in.
#[derive(Clone, Debug, Default)]
pub(super) struct Operator(pub(super) Option<Arc<Login>>);

/// Somebody who has proved who he is, and how.
#[derive(Debug)]
pub(super) struct Login {
    grant: Grant,
    /// The cookie that he came with; without one it was by name and password.
    session: Option<Session>,
    /// When what he has proved it by expires.
    until: Option<Instant>,
}

impl Login {
    pub(super) fn user(&self) -> &str {
        &self.grant.user
    }
}

/// Whether nobody on the way can read the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encrypted(pub(super) bool);

/// The right of who asks to something that goes on.
#[derive(Clone, Debug)]
pub(super) struct Right {
    guard: Arc<Guard>,
    from: (Door, Origin),
    login: Option<Arc<Login>>,
}

impl Right {
    /// What a page is told that has lost it.
    pub(super) const GONE: &'static str = "this login has ended, or what it was for; log in again";

    /// Of whoever has made the request.
    pub(super) fn of(guard: Arc<Guard>, request: &Extensions) -> Result<Self, Problem> {
        let Operator(login) = request.get::<Operator>().cloned().unwrap_or_default();
        match (request.get::<Door>(), request.get::<Origin>()) {
            (Some(door), Some(peer)) => Ok(Self { guard, from: (*door, *peer), login }),
            _ => Err(no_origin()),
        }
    }

    /// Whether it still holds: a login that has ended ends it, so does who is no operator any more, and so does a question
    /// for a login where none was asked for.
    pub(super) fn holds(&self) -> bool {
        let (door, peer) = &self.from;
        !self.guard.asks(*door, peer) || self.login.as_ref().is_some_and(|login| self.guard.stands(login))
    }

    /// Comes back as soon as it holds no more.
    pub(super) async fn ended(self) {
        let mut changes = self.guard.changes.subscribe();
        while self.holds() {
            let until = self.login.as_ref().and_then(|login| login.until);
            let expired = async {
                match until.filter(|until| *until > Instant::now()) {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = expired => {}
            }
        }
    }
}

/// How far a request is let in for where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// As it is.
    Open,
    /// Once it is known whose it is.
    LogIn,
}

impl Guard {
    pub(super) fn new(config: &Config, logins: Logins) -> Self {
        let hosts = config.admin.hosts.iter().map(|host| host.as_str().to_owned()).collect();
        let operators = RwLock::new(Operators::of(config));
        let (sessions, changes) = (Sessions::default(), watch::Sender::default());
        Self { hosts, operators, logins, sessions, changes, strangers: Strangers::new() }
    }

    /// Goes by another configuration from now on. Who is no operator any more is logged out, and so is whose password or
    /// token holds no longer. What clients log in by has to be in force before.
    pub(super) fn reload(&self, config: &Config) {
        // First the rules, then the sessions: who logs in between is judged by the new ones, or found among those who have.
        *self.operators.write().unwrap_or_else(PoisonError::into_inner) = Operators::of(config);
        self.sessions.keep(|grant| self.may(grant));
        self.changes.send_replace(());
    }

    /// Whether somebody is an operator by what he has proved, now.
    fn may(&self, grant: &Grant) -> bool {
        let is_named = self.operators.read().unwrap_or_else(PoisonError::into_inner).include(&grant.user);
        is_named && self.logins.stands(grant)
    }

    /// Whether a login still holds.
    fn stands(&self, login: &Login) -> bool {
        let now = Instant::now();
        // By both clocks: the one stands still while the machine sleeps, and the other may be set.
        let is_expired = session::left(&login.grant).is_some_and(|left| left.is_zero());
        let is_over = is_expired || login.until.is_some_and(|until| until <= now);
        let is_open = login.session.as_ref().is_none_or(|session| self.sessions.has(session, now));
        !is_over && is_open && self.may(&login.grant)
    }

    /// Keeps a login for a page; the cookie's token and how long it holds.
    pub(super) fn log_in(&self, grant: Grant) -> Result<(String, Duration), Problem> {
        let life = session::life_of(&grant);
        let begun = self.sessions.begin(grant, life, Instant::now(), |grant| self.may(grant));
        // It may have ended the oldest.
        self.changes.send_replace(());
        match begun {
            Ok(Some(token)) => Ok((token, life)),
            Ok(None) => Err(denied()),
            Err(error) => {
                let why = format!("no random numbers to be had: {error}");
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why))
            }
        }
    }

    /// Ends the login of that cookie, and all that goes on by it.
    pub(super) fn log_out(&self, headers: &HeaderMap) {
        if self.sessions.end(headers) {
            self.changes.send_replace(());
        }
    }

    /// Whose cookie it is, if it holds.
    fn known(&self, headers: &HeaderMap) -> Option<Arc<Login>> {
        let (session, grant, until) = self.sessions.find(headers, Instant::now())?;
        let login = Login { grant, session: Some(session), until: Some(until) };
        self.stands(&login).then(|| Arc::new(login))
    }

    /// Whether who comes from there has to log in.
    pub(super) fn asks(&self, door: Door, peer: &Origin) -> bool {
        let asks = self.operators.read().unwrap_or_else(PoisonError::into_inner).asks;
        door == Door::Listed && (asks || !is_here(peer))
    }

    /// Whether that is root or the broker's own user.
    ///
    /// # Errors
    /// What a stranger is told.
    fn admit(&self, peer: &Origin) -> Result<(), Problem> {
        let own = rustix::process::geteuid().as_raw();
        let stranger = match peer {
            Origin::Unix(Some(found)) if found.uid == 0 || found.uid == own => return Ok(()),
            Origin::Unix(Some(found)) => format!("uid {}", found.uid),
            Origin::Unix(None) | Origin::Net(_) => "somebody whom the system does not name".to_owned(),
        };
        let why = format!(
            "this socket is for root and the user whom the broker runs as (uid {own}), and {stranger} asks; use sudo, or the \
             API on an address of admin.listen"
        );
        self.strangers.note(peer, "", &why);
        Err(forbidden(why))
    }

    /// Whether the request may go on, for what it says of itself.
    fn judge(
        &self,
        door: Door,
        peer: &Origin,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Entry, Problem> {
        if door == Door::Own {
            return self.admit(peer).map(|()| Entry::Open);
        }
        let host = only(headers, &header::HOST)?
            .ok_or_else(|| Problem::bad_request("the request has no Host header, which HTTP/1.1 requires"))?;
        if !self.is_ours(host) {
            return Err(forbidden(format!(
                "the Host {host:?} is not one of this broker's; ask by address or localhost, or add the name to admin.hosts"
            )));
        }
        if let Some(origin) = only(headers, &header::ORIGIN)?
            && !is_of(origin, host)
        {
            return Err(forbidden(format!("a page of {origin:?} may not ask here")));
        }
        let site = only(headers, &header::HeaderName::from_static("sec-fetch-site"))?;
        let is_foreign = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
        if is_foreign && (*method != Method::GET || is_api(path)) {
            return Err(forbidden("a page of another site may not ask here".to_owned()));
        }
        let is_monitor = is_open(path) && is_here(peer);
        let is_page = page::has(path) || path == "/api/v1/session";
        Ok(if is_monitor || is_page || !self.asks(door, peer) { Entry::Open } else { Entry::LogIn })
    }

    /// Who asks: by cookie, or by name and password.
    async fn identify(&self, peer: &Origin, headers: &HeaderMap) -> Result<Arc<Login>, Problem> {
        if let Some(login) = self.known(headers) {
            return Ok(login);
        }
        let Some(given) = only(headers, &header::AUTHORIZATION)? else {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "operators have to log in here; or use admin.sock in the data directory (noctule ctl)",
            ));
        };
        let (user, password) = basic(given).ok_or_else(|| {
            Problem::bad_request(
                "Authorization: only Basic is understood, with a user and a password in UTF-8",
            )
        })?;
        let grant = self.prove(&user, &password, peer).await?;
        let until = session::left(&grant).and_then(|left| Instant::now().checked_add(left));
        Ok(Arc::new(Login { grant, session: None, until }))
    }

    /// Whether that is an operator's password.
    pub(super) async fn prove(&self, user: &str, password: &str, peer: &Origin) -> Result<Grant, Problem> {
        let address = peer.ip();
        let denied = |why: &str| {
            Proof::Denied.count();
            self.strangers.note(peer, user, why);
            denied()
        };
        match self.logins.prove(user, password, address).await {
            // A reload may have come while the password was looked at.
            Ok(grant) if self.may(&grant) => {
                Proof::Accepted.count();
                Ok(grant)
            }
            Ok(_) => Err(denied("admin.users does not name the user, or a reload has come between")),
            Err(denial) if matches!(denial.kind, Kind::ServerBusy) => {
                Proof::Busy.count();
                self.strangers.note(peer, user, &denial.why);
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many attempts; wait a while"))
            }
            Err(denial) => Err(denied(&denial.why)),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        name.eq_ignore_ascii_case("localhost")
            || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Lets a request pass, or answers it.
pub(super) async fn decide(
    State(guard): State<Arc<Guard>>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let known = request.extensions();
    let (Some(peer), Some(door)) = (known.get::<Origin>().copied(), known.get::<Door>().copied()) else {
        return no_origin().into_response();
    };
    let judged = guard.judge(door, &peer, request.method(), request.uri().path(), request.headers());
    let login = match judged {
        Ok(Entry::Open) => Ok(guard.known(request.headers())),
        Ok(Entry::LogIn) => guard.identify(&peer, request.headers()).await.map(Some),
        Err(problem) => Err(problem),
    };
    match login {
        Ok(login) => {
            request.extensions_mut().insert(Operator(login));
            next.run(request).await
        }
        Err(problem) => {
            let by_page = request.headers().contains_key("sec-fetch-site");
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                // A browser that is told of Basic asks in a window of its own, before the page can.
                let challenge = if by_page {
                    "Cookie realm=\"noctule\""
                } else {
                    "Basic realm=\"noctule\", charset=\"UTF-8\""
                };
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            response
        }
    }
}

/// User and password of `Basic BASE64`.
fn basic(given: &str) -> Option<(String, String)> {
    let (scheme, rest) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whether who comes from there is on this machine.
fn is_here(peer: &Origin) -> bool {
    peer.ip().is_none_or(|address| address.is_loopback())
}

/// What a monitor asks, and what tells it nothing of any client.
fn is_open(path: &str) -> bool {
    matches!(path, "/metrics" | "/healthz" | "/readyz")
}

fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

fn no_origin() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection has no origin")
}

/// The same for everything that a login may fail by: a stranger is not to learn who is an operator.
fn denied() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "wrong user or password, or no operator (admin.users says who is)")
}

fn forbidden(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

/// The header's value, if it is there; two of them are one too many.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(Some)
        .ok_or_else(|| Problem::bad_request(format!("the header {name} makes no sense; send one, in ASCII")))
}

/// The name of `name:port` or `[address]:port`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => {
            // An IPv6 address stands in brackets where a port follows.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

/// Whether an origin is the page that this very host has served.
fn is_of(origin: &str, host: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::HeaderValue;

    use super::*;
    use crate::reactor::Credentials;

    fn guard(hosts: &[&str], asks: bool) -> Guard {
        Guard {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            operators: RwLock::new(Operators { asks, users: vec!["ann".to_owned()] }),
            logins: Logins::of_nobody(),
            sessions: Sessions::default(),
            changes: watch::Sender::default(),
            strangers: Strangers::new(),
        }
    }

    fn judge(
        guard: &Guard,
        peer: &str,
        method: &Method,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> u16 {
        let (door, peer) = match peer.parse::<SocketAddr>() {
            Ok(address) => (Door::Listed, Origin::Net(address)),
            Err(_) => (Door::Listed, Origin::Unix(None)),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        status(guard.judge(door, &peer, method, path, &map))
    }

    fn status(judged: Result<Entry, Problem>) -> u16 {
        match judged {
            Ok(Entry::Open) => 200,
            Ok(Entry::LogIn) => 401,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn the_socket_of_ones_own_is_for_root_and_oneself() {
        let guard = guard(&[], true);
        let own = rustix::process::geteuid().as_raw();
        let ask = |uid: Option<u32>| {
            let peer = Origin::Unix(uid.map(|uid| Credentials { uid, gid: 0, pid: None }));
            guard.judge(Door::Own, &peer, &Method::DELETE, "/api/v1/clients/a", &HeaderMap::new())
        };
        assert_eq!(status(ask(Some(0))), 200);
        assert_eq!(status(ask(Some(own))), 200);
        let stranger = ask(Some(own + 1)).unwrap_err();
        assert!(stranger.detail().contains(&format!("uid {} asks", own + 1)), "{}", stranger.detail());
        assert_eq!(status(Err(stranger)), 403);
        assert_eq!(status(ask(None)), 403);
    }

    #[test]
    fn a_name_that_points_at_us_is_no_way_in() {
        let guard = guard(&["gateway.lan"], false);
        let cases = [
            ("127.0.0.1:9883", 200),
            ("localhost", 200),
            ("LOCALHOST:9883", 200),
            ("[::1]:9883", 200),
            ("Gateway.LAN:9883", 200),
            ("evil.example:9883", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:9883", 403),
            ("gateway.lan.evil:1", 403),
            ("", 403),
        ];
        for (host, status) in cases {
            let found = judge(&guard, "127.0.0.1:5", &Method::GET, "/api/v1/clients", &[("host", host)]);
            assert_eq!(found, status, "{host}");
        }
        assert_eq!(judge(&guard, "127.0.0.1:5", &Method::GET, "/metrics", &[]), 400);
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(judge(&guard, "127.0.0.1:5", &Method::GET, "/metrics", &twice), 400);
    }

    #[test]
    fn a_page_of_another_site_does_nothing_here() {
        let guard = guard(&[], false);
        let ask = |method: &Method, path, more: &[(&'static str, &str)]| {
            let headers: Vec<_> = [("host", "localhost:9883")].iter().chain(more).copied().collect();
            judge(&guard, "127.0.0.1:5", method, path, &headers)
        };
        let own = [("origin", "http://localhost:9883")];
        assert_eq!(ask(&Method::DELETE, "/api/v1/clients/a", &own), 200);
        for foreign in ["http://evil.example", "null", "http://localhost:9884", "file://"] {
            assert_eq!(ask(&Method::DELETE, "/api/v1/clients/a", &[("origin", foreign)]), 403, "{foreign}");
            assert_eq!(ask(&Method::GET, "/api/v1/clients", &[("origin", foreign)]), 403, "{foreign}");
        }
        let site = |word| [("sec-fetch-site", word)];
        assert_eq!(ask(&Method::GET, "/api/v1/clients", &site("cross-site")), 403);
        assert_eq!(ask(&Method::POST, "/api/v1/reload", &site("same-site")), 403);
        assert_eq!(ask(&Method::GET, "/api/v1/clients", &site("same-origin")), 200);
        // A link to the dashboard.
        assert_eq!(ask(&Method::GET, "/", &site("cross-site")), 200);
    }

    #[test]
    fn who_has_to_log_in_is_told_so() {
        let asking = guard(&[], true);
        let host = [("host", "localhost")];
        assert_eq!(judge(&asking, "127.0.0.1:5", &Method::GET, "/api/v1/clients", &host), 401);
        assert_eq!(judge(&asking, "127.0.0.1:5", &Method::GET, "/metrics", &host), 200);
        // Over a Unix socket of `admin.listen` it is as on the loopback.
        assert_eq!(judge(&asking, "unix", &Method::DELETE, "/api/v1/clients/a", &host), 401);
        assert_eq!(judge(&asking, "unix", &Method::GET, "/metrics", &host), 200);
        assert_eq!(judge(&asking, "unix", &Method::GET, "/metrics", &[("host", "evil.example")]), 403);
        let open = guard(&[], false);
        assert_eq!(judge(&open, "unix", &Method::DELETE, "/api/v1/clients/a", &host), 200);
        let there = [("host", "192.0.2.1:9883")];
        assert_eq!(judge(&open, "192.0.2.9:5", &Method::GET, "/metrics", &there), 401);
        assert_eq!(judge(&open, "[::ffff:127.0.0.1]:5", &Method::GET, "/api/v1/clients", &host), 200);
    }

    #[test]
    fn the_page_and_its_login_are_there_for_strangers_and_nothing_else_is() {
        let guard = guard(&[], true);
        let host = [("host", "192.0.2.1:9883")];
        for path in ["/", "/index.html", "/dashboard.css", "/api/v1/session"] {
            assert_eq!(judge(&guard, "192.0.2.9:5", &Method::GET, path, &host), 200, "{path}");
        }
        for path in
            ["/metrics", "/healthz", "/api/v1/broker", "/api/v1/session/", "/../etc/passwd", "/api/v1/live"]
        {
            assert_eq!(judge(&guard, "192.0.2.9:5", &Method::GET, path, &host), 401, "{path}");
        }
    }

    #[test]
    fn basic_is_read_as_it_is_written() {
        // "ann:a:b", as RFC 7617, section 2, has it: the first colon ends the user.
        assert_eq!(basic("Basic YW5uOmE6Yg=="), Some(("ann".to_owned(), "a:b".to_owned())));
        for wrong in ["", "Basic", "Bearer YW5uOmE6Yg==", "Basic ann:a", "Basic YW5u", "Basic /w=="] {
            assert_eq!(basic(wrong), None, "{wrong}");
        }
    }
}
