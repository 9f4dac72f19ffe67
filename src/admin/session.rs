//! Who has logged in on the dashboard: a cookie that no script can read and no other site can send.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{self, Extension};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest;
use serde::{Deserialize, Serialize};

use super::api::{State, given};
use super::guard::{Door, Encrypted, Operator};
use super::problem::Problem;
use crate::auth::Grant;
use crate::reactor::Origin;

/// How long a login holds.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// Most logins at a time; one more ends the oldest.
const MAX_SESSIONS: usize = 64;

/// The cookie's name.
const COOKIE: &str = "noctule";

/// Those who have logged in.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Vec<Kept>>);

/// One of the logins, by the digest of its token: what leaks from here is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session([u8; 32]);

#[derive(Debug)]
struct Kept {
    session: Session,
    grant: Grant,
    until: Instant,
}

impl Sessions {
    /// A login, for as long as it holds; its token, or `None` if by now `stands` says no of who has proved who he is. It is
    /// asked under the same lock as by [`Sessions::keep`]: a reload is before the one or after the other.
    ///
    /// # Errors
    /// When there are no random numbers to be had.
    pub(super) fn begin(
        &self,
        grant: Grant,
        life: Duration,
        now: Instant,
        stands: impl Fn(&Grant) -> bool,
    ) -> Result<Option<String>, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut known = self.lock();
        if !stands(&grant) {
            return Ok(None);
        }
        known.retain(|kept| kept.until > now);
        if known.len() >= MAX_SESSIONS {
            known.remove(0);
        }
        known.push(Kept { session: Session::of(&token), grant, until: now + life });
        Ok(Some(token))
    }

    /// Whose login it is and until when, if it holds.
    pub(super) fn find(&self, headers: &HeaderMap, now: Instant) -> Option<(Session, Grant, Instant)> {
        let session = Session::of(token(headers)?);
        let known = self.lock();
        let found = known.iter().find(|kept| kept.until > now && kept.session == session)?;
        Some((session, found.grant.clone(), found.until))
    }

    /// Whether it has not been ended.
    pub(super) fn has(&self, session: &Session, now: Instant) -> bool {
        self.lock().iter().any(|kept| kept.until > now && kept.session == *session)
    }

    /// Ends a login; whether there was one.
    pub(super) fn end(&self, headers: &HeaderMap) -> bool {
        let Some(session) = token(headers).map(Session::of) else { return false };
        let mut known = self.lock();
        let before = known.len();
        known.retain(|kept| kept.session != session);
        known.len() < before
    }

    /// Ends the logins of everybody whom `stands` says no of.
    pub(super) fn keep(&self, stands: impl Fn(&Grant) -> bool) {
        self.lock().retain(|kept| stands(&kept.grant));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// What the cookie says.
fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Who is there.
#[derive(Debug, Serialize)]
pub(super) struct Whoami {
    user: Option<String>,
    /// Whether one has to log in.
    required: bool,
}

/// `GET /api/v1/session`.
pub(super) async fn whoami(
    extract::State(state): extract::State<State>,
    Extension(peer): Extension<Origin>,
    Extension(door): Extension<Door>,
    Extension(Operator(login)): Extension<Operator>,
) -> Json<Whoami> {
    let user = login.map(|login| login.user().to_owned());
    Json(Whoami { user, required: state.guard.asks(door, &peer) })
}

/// Who says to be whom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// `POST /api/v1/session`: logs in.
pub(super) async fn begin(
    extract::State(state): extract::State<State>,
    Extension(peer): Extension<Origin>,
    Extension(Encrypted(encrypted)): Extension<Encrypted>,
    body: Result<Json<Credentials>, JsonRejection>,
) -> Result<Response, Problem> {
    let Credentials { user, password } = given(body)?;
    let grant = state.guard.prove(&user, &password, &peer).await?;
    let (token, life) = state.guard.log_in(grant)?;
    Ok(with_cookie(&token, life, encrypted))
}

/// How long a login holds: no longer than the token that it was made with.
pub(super) fn life_of(grant: &Grant) -> Duration {
    left(grant).map_or(LIFE, |left| left.min(LIFE))
}

/// How long what somebody has shown holds, if it expires.
pub(super) fn left(grant: &Grant) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    grant.expires.map(|ms| Duration::from_millis(ms).saturating_sub(now))
}

/// `DELETE /api/v1/session`: logs out.
pub(super) async fn end(
    extract::State(state): extract::State<State>,
    Extension(Encrypted(encrypted)): Extension<Encrypted>,
    headers: HeaderMap,
) -> Response {
    state.guard.log_out(&headers);
    with_cookie("", Duration::ZERO, encrypted)
}

fn with_cookie(token: &str, life: Duration, encrypted: bool) -> Response {
    let secure = if encrypted { "; Secure" } else { "" };
    let life = life.as_secs();
    let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={life}{secure}");
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(user: &str) -> Grant {
        Grant::of(user.into(), Vec::new())
    }

    #[test]
    fn a_login_by_a_token_ends_with_the_token() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let short = Grant { expires: Some(now.as_millis() as u64 + 60_000), ..grant("ann") };
        assert!(life_of(&short) <= Duration::from_secs(60) && life_of(&short) > Duration::from_secs(50));
        assert_eq!(life_of(&Grant { expires: Some(1), ..grant("ann") }), Duration::ZERO);
        assert_eq!(life_of(&grant("ann")), LIFE);
    }

    fn cookie(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(text).unwrap());
        headers
    }

    #[test]
    fn a_login_holds_until_its_time_or_its_end() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = sessions.begin(grant("ann"), LIFE, now, |_| true).unwrap().unwrap();
        let user = |headers: &HeaderMap, now| Some(sessions.find(headers, now)?.1.user.to_string());
        let own = cookie(&format!("theme=dark; noctule={token}"));
        assert_eq!(user(&own, now).as_deref(), Some("ann"));
        assert_eq!(user(&own, now + LIFE), None);
        for other in [
            "noctule=",
            "noctule",
            "other=1",
            &format!("noctule={}", "0".repeat(64)),
            &format!("xnoctule={token}"),
        ] {
            assert_eq!(user(&cookie(other), now), None, "{other}");
        }
        assert!(sessions.end(&own) && !sessions.end(&own));
        assert_eq!(user(&own, now), None);
    }

    #[test]
    fn logins_are_bounded_and_go_with_their_user() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.begin(grant("ann"), LIFE, now, |_| true).unwrap().unwrap();
        for _ in 0..MAX_SESSIONS {
            sessions.begin(grant("bob"), LIFE, now, |_| true).unwrap();
        }
        assert!(sessions.find(&cookie(&format!("noctule={first}")), now).is_none());
        assert!(!sessions.has(&Session::of(&first), now));
        assert_eq!(sessions.0.lock().unwrap().len(), MAX_SESSIONS);
        sessions.keep(|grant| &*grant.user == "ann");
        assert!(sessions.0.lock().unwrap().is_empty());
    }

    #[test]
    fn who_has_lost_his_right_while_he_logged_in_is_not_kept() {
        let sessions = Sessions::default();
        assert_eq!(sessions.begin(grant("ann"), LIFE, Instant::now(), |_| false).unwrap(), None);
        assert!(sessions.0.lock().unwrap().is_empty());
    }
}
