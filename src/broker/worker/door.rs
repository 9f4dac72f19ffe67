//! How a client comes in: to the worker where its session lives, through authentication, to the engine.

use std::sync::Arc;

use noctule_core::acl::Rules;
use noctule_core::effects::{Access, Input};
use noctule_core::id::{ConnId, Now, WorkerId};
use noctule_core::refusal::{Kind, Refusal};
use noctule_mqtt::Connect;
use noctule_mqtt::server::Step;
use noctule_stomp::{Dialect, server as stomp};
use tracing::warn;

use super::guard::guarded;
use super::identity::{Claim, Identified, Proof, own_rules, refused};
use super::machine::Machine;
use super::pass::Pass;
use super::{Io, Mail, Moved, Over, Peer, Worker, watch};
use crate::auth::{self, Grant};
use crate::broker::admission::Full;
use crate::broker::settings::Settings;
use crate::broker::{entropy, telemetry};
use crate::net::{Facts, Spoken};
use crate::reactor::{Close, Origin};

/// What enhanced authentication has found before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verified<'a> {
    /// Nothing: it was not used.
    No,
    /// The client is this user.
    As(Option<&'a str>),
}

impl Worker {
    /// A CONNECT: to the worker where its session lives, then through authentication to the engine. Its packet is the
    /// first `len` bytes of `unread`, which go along if the connection moves.
    pub(super) fn connect(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        connect: &Connect<'_>,
        verified: Verified<'_>,
        unread: &[u8],
        len: usize,
    ) -> Result<usize, Over> {
        if let Err(refusal) = self.check_certificate(conn) {
            self.refuse(io, conn, &refusal);
            return Err(Over);
        }
        let assigned;
        let client_id = if connect.client_id.is_empty() {
            assigned = match self.assign_client_id() {
                Ok(assigned) => assigned,
                Err(error) => {
                    let detail = format!("no client identifier can be made up: {error}");
                    self.refuse(io, conn, &Refusal::new(Kind::Internal, detail));
                    return Err(Over);
                }
            };
            &assigned
        } else {
            connect.client_id
        };
        let home = self.engine.shared().home_of_client(client_id);
        if home != self.engine.id() {
            self.hand_over(io, conn, home, unread);
            return Err(Over);
        }
        self.note_coming(io.now(), conn, client_id, || watch::mqtt_connect(connect));
        if connect.auth_method.is_some() && matches!(verified, Verified::No) {
            return self.exchange(io, conn, connect, unread, len);
        }
        let claim = Claim {
            spoken: Spoken::Mqtt,
            user: connect.user_name,
            password: connect.password,
            client_id: connect.client_id,
        };
        let identified = match verified {
            Verified::As(user) => self.proved(io.now(), conn, user),
            Verified::No => self.identify(io, conn, claim, None),
        };
        let grant = match identified {
            Identified::As(grant) => grant,
            Identified::Refused(refusal) => {
                self.refuse(io, conn, &refusal);
                return Err(Over);
            }
            Identified::Later => {
                self.read_again(conn);
                return Ok(0);
            }
        };
        let rules = grant.as_ref().and_then(own_rules);
        let settings = Arc::clone(&self.settings);
        let Some(Some(peer)) = self.peers.get_mut(conn.slot as usize) else { return Err(Over) };
        let listener = settings.listener(peer.listener).and_then(|listener| listener.durability);
        let Machine::Mqtt(mqtt) = &mut peer.machine else { return Err(Over) };
        let user = grant.as_ref().map(|grant| &*grant.user);
        match guarded(|| mqtt.begin(connect, client_id, user, &settings.mqtt)) {
            Ok(mut request) => {
                request.durability = listener;
                request.access = access(grant.as_ref(), rules, peer.origin);
                peer.pass = Pass::of(grant.as_ref());
                self.engine.handle(io.now(), Input::Connect(conn, request), &mut self.fx);
                Ok(len)
            }
            Err(refusal) => {
                self.refuse(io, conn, &refusal);
                Err(Over)
            }
        }
    }

    /// A CONNECT of STOMP, the first `len` bytes that are unread: through authentication to the engine. It stays on the
    /// worker that accepted it: nobody looks for it elsewhere.
    pub(super) fn connect_stomp<'c>(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        connect: &'c stomp::Connect<'_>,
        len: usize,
    ) -> Result<usize, Over> {
        if let Err(refusal) = self.check_certificate(conn) {
            self.refuse(io, conn, &refusal);
            return Err(Over);
        }
        // Not the session's name: the log shows it, and who knows that one can send to the client's temporary queues.
        let made_up;
        let name = match &connect.client_id {
            Some(client_id) => client_id,
            None => {
                made_up = format!("stomp-{}-{}", self.engine.id().0, conn.generation);
                &*made_up
            }
        };
        self.note_coming(io.now(), conn, name, || watch::stomp_connect(connect));
        let claim = |credentials: &'c stomp::Credentials<'_>| Claim {
            spoken: Spoken::Stomp,
            user: credentials.login.as_deref(),
            password: credentials.passcode.as_deref().map(str::as_bytes),
            client_id: connect.client_id.as_deref().unwrap_or_default(),
        };
        let otherwise = connect.otherwise.as_ref().map(claim);
        let grant = match self.identify(io, conn, claim(&connect.credentials), otherwise) {
            Identified::As(grant) => grant,
            Identified::Refused(refusal) => {
                self.refuse(io, conn, &refusal);
                return Err(Over);
            }
            Identified::Later => {
                self.read_again(conn);
                return Ok(0);
            }
        };
        let rules = grant.as_ref().and_then(own_rules);
        let settings = Arc::clone(&self.settings);
        let around = settings.stomp_surroundings(io.now());
        let Some(Some(peer)) = self.peers.get_mut(conn.slot as usize) else { return Err(Over) };
        let listener = settings.listener(peer.listener).and_then(|listener| listener.durability);
        let Machine::Stomp(stomp) = &mut peer.machine else { return Err(Over) };
        let user = grant.as_ref().map(|grant| &*grant.user);
        match guarded(|| stomp.begin(connect, name, user, around)) {
            Ok(mut request) => {
                request.durability = listener;
                request.access = access(grant.as_ref(), rules, peer.origin);
                peer.pass = Pass::of(grant.as_ref());
                self.engine.handle(io.now(), Input::Connect(conn, request), &mut self.fx);
                Ok(len)
            }
            Err(refusal) => {
                self.refuse(io, conn, &refusal);
                Err(Over)
            }
        }
    }

    /// Begins the enhanced authentication that a CONNECT asks for; one step may be all it takes.
    pub(super) fn exchange(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        connect: &Connect<'_>,
        unread: &[u8],
        len: usize,
    ) -> Result<usize, Over> {
        let settings = Arc::clone(&self.settings);
        let around = settings.surroundings();
        let packet = unread.get(..len).unwrap_or_default();
        let Some(Some(peer)) = self.peers.get_mut(conn.slot as usize) else { return Err(Over) };
        let Machine::Mqtt(mqtt) = &mut peer.machine else { return Err(Over) };
        let words = &mut self.words;
        let name = connect.auth_method.unwrap_or_default();
        if name == auth::scram::MECHANISM {
            let user = auth::scram::claimed(connect.auth_data.unwrap_or_default());
            if let Err(refusal) =
                admits_scram(&settings, peer.listener, peer.origin, user.as_deref(), io.now())
            {
                self.refuse(io, conn, &refusal);
                return Err(Over);
            }
            peer.proof = user.map(|user| Box::new(Proof::by_scram(user.into())));
        }
        let step = guarded(|| mqtt.exchange(connect, packet, around, words)).flatten();
        self.send_words(io, conn);
        match step {
            Ok(Step::Authenticated { user }) => self.authenticated(io, conn, user.as_deref(), len),
            Ok(_) => Ok(len),
            Err(refusal) => {
                let refusal = self.judge_failure(io.now(), conn, refusal);
                self.refuse(io, conn, &refusal);
                Err(Over)
            }
        }
    }

    /// Enhanced authentication has found out who it is; the rest of what is known of him is in the password file.
    fn proved(&mut self, now: Now, conn: ConnId, user: Option<&str>) -> Identified {
        let Some(user) = user else { return Identified::As(None) };
        let authenticator = self.settings.authenticator.clone();
        let proof = self.peer(conn).map(|peer| (peer.proof.take().is_some(), peer.origin.ip()));
        let (Some(authenticator), Some((is_scram, address))) = (authenticator, proof) else {
            return Identified::As(Some(Grant::of(user.into(), Vec::new())));
        };
        if is_scram && let Err(denial) = authenticator.admits(address, Some(user), now.mono_ms) {
            return Identified::Refused(refused(&denial));
        }
        let grant = match authenticator.grant(user) {
            Some(grant) if is_scram => grant,
            Some(grant) => Grant { proof: None, ..grant },
            None if is_scram => {
                let detail = format!("user {user:?} was taken out of the password file meanwhile");
                return Identified::Refused(Refusal::new(Kind::NotAuthorized, detail));
            }
            None => Grant::of(user.into(), Vec::new()),
        };
        authenticator.settled(address, Some(user), true, now.mono_ms);
        Identified::As(Some(grant))
    }

    /// A proof by enhanced authentication that failed makes who gave it wait, as a wrong password does. Returns what he is
    /// told: who has to wait by now, because others have failed since he began, hears the same whatever his proof is worth,
    /// or as many exchanges as he can begin at once were as many guesses.
    pub(super) fn judge_failure(&mut self, now: Now, conn: ConnId, refusal: Refusal) -> Refusal {
        let Some(authenticator) = self.settings.authenticator.clone() else { return refusal };
        let Some(peer) = self.peer(conn).filter(|_| refusal.kind == Kind::NotAuthorized) else {
            return refusal;
        };
        let Machine::Mqtt(mqtt) = &peer.machine else { return refusal };
        let (is_proof, address) = (mqtt.is_authenticating(), peer.origin.ip());
        let proof = peer.proof.take();
        if !is_proof {
            return refusal;
        }
        let user = proof.as_deref().and_then(Proof::to_prove);
        if user.is_some()
            && let Err(denial) = authenticator.admits(address, user, now.mono_ms)
        {
            return refused(&denial);
        }
        authenticator.settled(address, user, false, now.mono_ms);
        refusal
    }

    /// Has the CONNECT that was just read be read once more, when its connection is.
    fn read_again(&mut self, conn: ConnId) {
        match self.peer(conn).map(|peer| &mut peer.machine) {
            Some(Machine::Mqtt(mqtt)) => mqtt.read_again(),
            Some(Machine::Stomp(stomp)) => stomp.read_again(),
            Some(Machine::Unknown) | None => {}
        }
    }

    /// Enhanced authentication has succeeded: the CONNECT that waited for it goes on.
    pub(super) fn authenticated(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        user: Option<&str>,
        len: usize,
    ) -> Result<usize, Over> {
        let kept = self.peer(conn).and_then(|peer| match &mut peer.machine {
            Machine::Mqtt(mqtt) => mqtt.take_pending(),
            Machine::Stomp(_) | Machine::Unknown => None,
        });
        let Some(kept) = kept else { return Ok(len) };
        let Some(connect) = kept.connect() else { return Ok(len) };
        // Its connection is at home already: it moved before the exchange began.
        self.connect(io, conn, &connect, Verified::As(user), &[], len)
    }

    /// What lies below the protocol has found out for whom a proxy connects: it counts there, and is called so, from now on.
    /// At once, because who never gets as far as a protocol would else take the proxy's places from everybody behind it.
    pub(super) fn locate(&mut self, io: &mut Io, conn: ConnId) {
        let Some(source) = io.layer(conn).and_then(|layers| layers.facts().source) else { return };
        let Some(from) = self.peer(conn).map(|peer| peer.origin) else { return };
        let origin = Origin::Net(source);
        if let Err(full) = self.admission.rename(from.ip(), origin.ip()) {
            self.turn_away(io.now().mono_ms, origin, full);
            return io.close(conn, Close::Now);
        }
        if let Some(peer) = self.peer(conn) {
            peer.origin = origin;
        }
    }

    /// What lies below the protocol has found out who connects and what is spoken.
    pub(super) fn introduce(&mut self, io: &mut Io, conn: ConnId, facts: Facts) {
        let Some(peer) = self.peer(conn) else { return };
        let (origin, listener) = (peer.origin, peer.listener);
        let Some(settings) = self.settings.listener(listener).cloned() else {
            return io.close(conn, Close::Now);
        };
        let spoken = settings.protocol.or(facts.spoken).unwrap_or(Spoken::Mqtt);
        let machine = self.machine(io.now().mono_ms, origin, spoken, settings.dialect);
        let Some(peer) = self.peer(conn) else { return };
        match machine {
            Some(machine) => peer.machine = machine,
            None => return io.close(conn, Close::Now),
        }
        if facts.has_certificate() || facts.is_for_nobody {
            peer.facts = Some(Box::new(facts));
        }
    }

    /// A machine for what is spoken; none if the system has no random numbers for it.
    pub(super) fn machine(
        &mut self,
        now_ms: u64,
        origin: Origin,
        spoken: Spoken,
        dialect: Dialect,
    ) -> Option<Machine> {
        match Machine::new(&self.settings, spoken, dialect) {
            Ok(machine) => Some(machine),
            Err(error) => {
                if let Some(left_out) = self.line("no_entropy", now_ms) {
                    warn!(peer = %origin, left_out, "connection turned away: no random numbers: {error}");
                }
                None
            }
        }
    }

    /// Takes a connection in.
    pub(super) fn enter(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        machine: Machine,
        origin: Origin,
        listener: u16,
        facts: Option<Box<Facts>>,
    ) {
        let place = conn.slot as usize;
        if self.peers.len() <= place {
            self.peers.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.peers.get_mut(place) {
            let generation = conn.generation;
            *slot = Some(Peer {
                machine,
                generation,
                listener,
                origin,
                facts,
                proof: None,
                pass: Pass::None,
                ended: false,
                is_watched: false,
                pace: None,
            });
        }
        self.engine.handle(io.now(), Input::Opened(conn), &mut self.fx);
    }

    pub(super) fn turn_away(&mut self, now_ms: u64, peer: Origin, (limit, value): Full) {
        telemetry::turned_away(limit);
        if let Some(left_out) = self.line("turned_away", now_ms) {
            warn!(%peer, limit, value, left_out, "connection turned away: the limit is reached");
        }
    }

    /// An id that nobody can guess and whose session lives here.
    fn assign_client_id(&self) -> std::io::Result<String> {
        loop {
            let id = format!("auto-{:016x}{:016x}", entropy()?, entropy()?);
            if self.engine.shared().home_of_client(&id) == self.engine.id() {
                return Ok(id);
            }
        }
    }

    pub(super) fn hand_over(&mut self, io: &mut Io, conn: ConnId, home: WorkerId, unread: &[u8]) {
        self.engine.handle(io.now(), Input::Closed(conn), &mut self.fx);
        let Some(peer) = self.peers.get_mut(conn.slot as usize).and_then(Option::take) else { return };
        match io.detach(conn, unread) {
            Some(detached) => {
                let Peer { origin, listener, facts, .. } = peer;
                let moved = Moved { detached, origin, listener, facts };
                io.post(home, Mail::Adopt(Box::new(moved)));
            }
            None => self.admission.leave(peer.origin.ip(), peer.listener),
        }
    }
}

/// Whether SCRAM may be begun: where passwords count, and by who has not failed too often.
fn admits_scram(
    settings: &Settings,
    listener: u16,
    origin: Origin,
    user: Option<&str>,
    now: Now,
) -> Result<(), Refusal> {
    let asks = settings.listener(listener).is_some_and(|listener| listener.asks(auth::Method::Password));
    let Some(authenticator) = settings.authenticator.as_ref().filter(|_| asks) else {
        let detail = "SCRAM-SHA-256 is for listeners whose auth has \"password\"";
        return Err(Refusal::new(Kind::BadAuthenticationMethod, detail));
    };
    let admitted = authenticator.admits(origin.ip(), user, now.mono_ms);
    admitted.map_err(|denial| Refusal::new(denial.kind, denial.why.to_string()))
}

/// What decides, besides its name, what a client may do.
fn access(grant: Option<&Grant>, rules: Option<Arc<Rules>>, origin: Origin) -> Access<'_> {
    Access {
        groups: grant.map(|grant| &*grant.groups).unwrap_or_default(),
        address: origin.ip(),
        rules,
        expires_ms: grant.and_then(|grant| grant.expires),
    }
}
