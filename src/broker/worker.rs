//! One worker's connections: bytes to the protocol machines, packets to the engine, effects back to the sockets.
//!
//! Nothing is decided here about messages or sessions; this is where the pure crates meet the reactor.

mod door;
mod ending;
mod guard;
mod identity;
mod inspect;
mod journal;
mod machine;
mod mail;
mod pace;
mod pass;
mod reload;
mod run;
mod watch;
mod wire;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use bytes::BytesMut;
use noctule_core::effects::{Effect, Effects, Input, Reply};
use noctule_core::engine::{Engine, Pulled};
use noctule_core::id::{ConnId, WorkerId};
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::store::{Store, StoreEvent, Ticket};
use noctule_stomp::server::{Scratch, Then};
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::admission::Admission;
use super::backing::Backing;
use super::memory::{self, Level, Memory};
use super::settings::Settings;
use super::tap::Tap;
use super::telemetry::{self, Reporter};
use crate::logging::Limited;
use crate::net::{Facts, Layers, Spoken};
use crate::reactor::{self, Accept, Close, Closed, Ended, Handler, Origin, OutBuf, Pull};
use guard::guarded;
use identity::Proof;
pub(crate) use journal::without_secret;
use machine::Machine;
use mail::Moved;
pub(super) use mail::{Mail, Reload};
pub(super) use pace::Rates;
use pace::{Held, Pace};
use pass::Pass;
use run::Stop;
use watch::Watches;
use wire::Wire;

/// Lines of one kind that clients can cause, per second and worker.
const LOG_LINES_PER_SECOND: u32 = 20;

/// Between two reports to the metrics and to the log, ms.
const REPORT_INTERVAL_MS: u64 = 1_000;

type Io = reactor::Io<Worker>;

/// A connection as this room knows it.
#[derive(Debug)]
struct Peer {
    machine: Machine,
    generation: u32,
    listener: u16,
    origin: Origin,
    /// What lies or lay between, and has something to say of the peer.
    facts: Option<Box<Facts>>,
    /// Who it is, while that is being found out.
    proof: Option<Box<Proof>>,
    /// What let it in.
    pass: Pass,
    /// The client has ended its side and waits for what it is owed.
    ended: bool,
    /// Somebody wants to hear of every packet.
    is_watched: bool,
    /// For a publisher that was paced.
    pace: Option<Box<Pace>>,
}

/// The handler of one worker's reactor.
#[derive(Debug)]
pub(super) struct Worker {
    engine: Engine,
    store: Backing,
    settings: Arc<Settings>,
    admission: Arc<Admission>,
    memory: Arc<Memory>,
    /// How it stood at the last look.
    level: Level,
    /// Publishers that are paused.
    held: Held,
    peers: Vec<Option<Peer>>,
    fx: Effects,
    /// What a protocol machine says by itself (AUTH), before it is known to have said anything.
    words: BytesMut,
    /// What STOMP's machines work in.
    scratch: Scratch,
    log: Limited,
    reporter: Reporter,
    reported_ms: u64,
    /// Who listens in.
    taps: Vec<(u64, Tap)>,
    /// Who watches a client.
    watches: Watches,
    /// To be told when a client asks for what the broker says of itself.
    sys_wanted: Arc<Notify>,
    end: End,
    /// Whether a turn has passed since the wills were published.
    wills_posted: bool,
}

/// How far the end of the broker has come.
#[derive(Debug)]
enum End {
    /// It serves.
    NotYet,
    /// Wills are published; what they mean to other workers leaves with this turn, so the next one tells.
    WillsPublished(Option<Sender<()>>),
    /// Everybody is told after the mail of this turn.
    Goodbye {
        /// When to give up on connections that do not drain, monotonic ms.
        deadline_ms: u64,
    },
    /// What waits is being written.
    Draining {
        /// When to give up.
        deadline_ms: u64,
    },
}

impl Worker {
    /// `fx`: what is to be done before anything else, after a restart.
    pub(super) fn new(
        engine: Engine,
        store: Backing,
        fx: Effects,
        settings: Arc<Settings>,
        admission: Arc<Admission>,
        memory: Arc<Memory>,
        sys_wanted: Arc<Notify>,
    ) -> Self {
        Self {
            engine,
            store,
            settings,
            admission,
            memory,
            level: Level::Ample,
            held: Held::default(),
            peers: Vec::new(),
            fx,
            words: BytesMut::new(),
            scratch: Scratch::default(),
            log: Limited::new(LOG_LINES_PER_SECOND),
            reporter: Reporter::default(),
            reported_ms: 0,
            taps: Vec::new(),
            watches: Watches::default(),
            sys_wanted,
            end: End::NotYet,
            wills_posted: false,
        }
    }

    /// What the engine has counted.
    pub(super) fn stats(&self) -> noctule_core::engine::Stats {
        self.engine.stats()
    }

    fn peer(&mut self, conn: ConnId) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(conn.slot as usize)?.as_mut()?;
        (peer.generation == conn.generation).then_some(peer)
    }

    fn send_words(&mut self, io: &mut Io, conn: ConnId) {
        if !self.words.is_empty() {
            if let Some(out) = io.out(conn) {
                out.put().extend_from_slice(&self.words);
            }
            self.words.clear();
        }
    }

    /// Carries out what the engine has asked for, until it asks for nothing more.
    fn apply(&mut self, io: &mut Io) {
        while !self.fx.list.is_empty() {
            self.fx.urgent = false;
            let mut list = std::mem::take(&mut self.fx.list);
            for effect in list.drain(..) {
                self.effect(io, effect);
            }
            if self.fx.list.is_empty() {
                self.fx.list = list;
            }
            while let Some(event) = self.store.poll() {
                self.engine.handle(io.now(), Input::Store(event), &mut self.fx);
            }
        }
        for conn in self.fx.dirty.drain(..) {
            io.mark_dirty(conn);
        }
    }

    fn effect(&mut self, io: &mut Io, effect: Effect) {
        match effect {
            Effect::Reply(conn, reply) => {
                // A sign of life is for a connection on which nothing is on its way.
                if reply == Reply::Beat && io.waiting_bytes(conn) > 0 {
                    return;
                }
                let (settings, now) = (&*self.settings, io.now());
                let Some(Some(peer)) = self.peers.get_mut(conn.slot as usize) else { return };
                let Some(out) = io.out(conn).filter(|_| peer.generation == conn.generation) else { return };
                journal::note_answer(peer.origin, &reply);
                if peer.is_watched {
                    let is_stomp = matches!(peer.machine, Machine::Stomp(_));
                    self.watches.tell(conn, &watch::answered(now, is_stomp, &reply));
                }
                let out = out.put();
                let start = out.len();
                match guarded(|| peer.machine.reply(&reply, settings, now, out)).flatten() {
                    // The last of the answers that it waits for ends it.
                    Ok(Then::GoOn) if peer.ended => io.mark_dirty(conn),
                    Ok(Then::GoOn) => {}
                    Ok(Then::Close) => io.close(conn, Close::AfterFlush),
                    Err(refusal) => {
                        out.truncate(start);
                        self.refuse(io, conn, &refusal);
                    }
                }
            }
            Effect::Close(conn, refusal) => self.refuse(io, conn, &refusal),
            Effect::Peer(to, message) => io.post(to, Mail::Peer(message)),
            Effect::Store(ticket, op) => {
                if let Err(refused) = self.store.submit(ticket, op) {
                    if let Some(left_out) = self.line("store_refused", io.now().mono_ms) {
                        warn!(left_out, "{refused}");
                    }
                    if ticket != Ticket::NONE {
                        let event = StoreEvent::Failed(ticket);
                        self.engine.handle(io.now(), Input::Store(event), &mut self.fx);
                    }
                }
            }
            Effect::Load(request) => self.store.load(request),
            Effect::Pause(conn) => io.pause_reads(conn),
            Effect::Resume(conn) => io.resume_reads(conn),
            Effect::Log(event) => {
                if !self.watches.is_empty() {
                    self.note_event(io.now(), &event);
                }
                self.log_event(io.now().mono_ms, event);
            }
        }
    }

    /// Passes on to the metrics what has been counted.
    fn report_now(&mut self) {
        self.reporter.report(self.engine.id().0, &self.engine.stats());
        telemetry::memory(memory::used(), self.memory.budget(), self.level as u8);
        telemetry::shared(self.engine.shared());
    }

    fn report(&mut self, now_ms: u64) {
        if now_ms >= self.reported_ms + REPORT_INTERVAL_MS {
            self.reported_ms = now_ms;
            if telemetry::is_recorded() {
                self.report_now();
            }
            for (kind, left_out) in self.log.summaries(now_ms) {
                warn!(kind, left_out, "lines left out of the log");
            }
        }
    }
}

/// The connection is closed or moved: nothing more is to be read from it.
#[derive(Debug)]
struct Over;

impl Handler for Worker {
    type Mail = Mail;
    type Layer = Layers;

    fn accepted(&mut self, io: &mut Io, conn: ConnId, origin: Origin, listener: usize) -> Accept<Layers> {
        telemetry::accepted();
        // There are far fewer listeners than a u16 holds.
        let listener = listener as u16;
        let Some(settings) = self.settings.listener(listener).cloned() else { return Accept::Refuse };
        let now_ms = io.now().mono_ms;
        let door = (listener, settings.door);
        if let Err(full) = self.admission.enter(origin.ip(), door, now_ms) {
            self.turn_away(now_ms, origin, full);
            return Accept::Refuse;
        }
        if let Some(layers) = Layers::new(&settings.wiring, origin) {
            self.enter(io, conn, Machine::Unknown, origin, listener, None);
            return Accept::Behind(layers);
        }
        let spoken = settings.protocol.unwrap_or(Spoken::Mqtt);
        let Some(machine) = self.machine(now_ms, origin, spoken, settings.dialect) else {
            self.admission.leave(origin.ip(), listener);
            return Accept::Refuse;
        };
        self.enter(io, conn, machine, origin, listener, None);
        Accept::Keep
    }

    fn may_accept(&mut self, io: &mut Io, listener: usize) -> Result<(), u64> {
        let listener = listener as u16;
        let Some(settings) = self.settings.listener(listener) else { return Ok(()) };
        self.admission.may_enter((listener, settings.door), io.now().mono_ms)
    }

    fn found(&mut self, io: &mut Io, conn: ConnId) {
        self.locate(io, conn);
    }

    fn unwrapped(&mut self, io: &mut Io, conn: ConnId, layer: Layers) {
        self.introduce(io, conn, layer.into_facts());
    }

    fn broken(&mut self, io: &mut Io, conn: ConnId, why: Refusal) {
        self.refuse(io, conn, &why);
        self.apply(io);
    }

    fn read(&mut self, io: &mut Io, conn: ConnId, bytes: &[u8]) -> usize {
        if self.peer(conn).is_some_and(|peer| matches!(peer.machine, Machine::Unknown)) {
            let Some(facts) = io.layer(conn).map(|layers| layers.facts().clone()) else { return bytes.len() };
            self.introduce(io, conn, facts);
            if !io.is_readable(conn) {
                return bytes.len();
            }
        }
        // Once per read, not per packet: the count is shared with the other workers.
        let settings = Arc::clone(&self.settings);
        self.look_at_memory(io);
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let run = self.run(io, conn, rest, &settings);
            used += run.used;
            let rest = rest.get(run.used..).unwrap_or_default();
            let went_on = match run.stop {
                Stop::Wait => break,
                Stop::Turn => {
                    io.end_turn(conn);
                    break;
                }
                Stop::Effects => Ok(0),
                Stop::Hold(until) => {
                    self.hold(io, conn, until);
                    Ok(0)
                }
                Stop::Step(step, len) => self.step(io, conn, step, rest, len),
                Stop::Talk(connect, len) => self.connect_stomp(io, conn, &connect, len),
                Stop::Refused(refusal) => {
                    let refusal = self.judge_failure(io.now(), conn, refusal);
                    // The answers to the packets before it come first, and may close the connection themselves.
                    self.send_words(io, conn);
                    self.apply(io);
                    if io.is_readable(conn) {
                        self.refuse(io, conn, &refusal);
                    }
                    Err(Over)
                }
            };
            self.send_words(io, conn);
            self.apply(io);
            match went_on {
                Ok(len) => used += len,
                Err(Over) => return bytes.len(),
            }
            if !io.is_readable(conn) {
                return used;
            }
        }
        self.send_words(io, conn);
        self.apply(io);
        used
    }

    fn mail(&mut self, io: &mut Io, from: WorkerId, mail: Mail) {
        match mail {
            Mail::Peer(message) => self.engine.handle(io.now(), Input::Peer(from, message), &mut self.fx),
            Mail::Store(events) => {
                for event in events {
                    self.engine.handle(io.now(), Input::Store(event), &mut self.fx);
                }
            }
            // It would miss the good-bye.
            Mail::Adopt(moved) if self.is_leaving() => {
                self.admission.leave(moved.origin.ip(), moved.listener);
            }
            Mail::Adopt(moved) => match io.adopt(moved.detached) {
                // Of MQTT alone: others stay where they were accepted.
                Ok(conn) => {
                    let machine = Machine::mqtt(&self.settings);
                    self.enter(io, conn, machine, moved.origin, moved.listener, moved.facts);
                }
                Err(error) => {
                    if let Some(left_out) = self.line("lost_on_the_way", io.now().mono_ms) {
                        warn!(peer = %moved.origin, left_out, "connection lost while it moved between workers: {error}");
                    }
                    self.admission.leave(moved.origin.ip(), moved.listener);
                }
            },
            Mail::Verdict(conn, verdict) => self.verdict(io, conn, verdict),
            Mail::Reload(reload) => self.reload(io, *reload),
            Mail::Question(question) => self.question(io, question),
            Mail::PublishWills(published) => {
                io.stop_accepting();
                self.engine.handle(
                    io.now(),
                    Input::Shutdown { keeps_wills: self.store.is_kept() },
                    &mut self.fx,
                );
                self.end = End::WillsPublished(Some(published));
            }
            Mail::Stop { deadline_ms } => self.end = End::Goodbye { deadline_ms },
        }
        self.apply(io);
    }

    fn pull(&mut self, io: &mut Io, conn: ConnId, out: &mut OutBuf) -> Pull {
        let now = io.now();
        let Some(Some(peer)) = self.peers.get_mut(conn.slot as usize) else { return Pull::Done };
        if peer.ended {
            // Answers are written when they come. Messages are for those who stay.
            if !peer.machine.owes_answers() {
                self.engine.handle(now, Input::Closed(conn), &mut self.fx);
                io.close(conn, Close::AfterFlush);
                self.apply(io);
            } else if self.is_leaving() {
                self.say_goodbye(io, conn);
            }
            return Pull::Done;
        }
        let scratch = &mut self.scratch;
        let watched = peer.is_watched.then_some((&self.watches, conn));
        let mut outlet = Wire { machine: &mut peer.machine, now, scratch, out, broken: None, watched };
        let pulled = self.engine.pull(now, conn, &mut outlet, &mut self.fx);
        let broken = outlet.broken;
        self.apply(io);
        if let Some(refusal) = broken {
            self.refuse(io, conn, &refusal);
            self.apply(io);
        }
        match pulled {
            Pulled::Done if self.is_leaving() => {
                self.say_goodbye(io, conn);
                Pull::Done
            }
            Pulled::Done => Pull::Done,
            Pulled::More => Pull::More,
        }
    }

    fn blocked(&mut self, io: &mut Io, conn: ConnId) {
        self.engine.handle(io.now(), Input::Blocked(conn), &mut self.fx);
    }

    fn ended(&mut self, io: &mut Io, conn: ConnId) -> Ended {
        let is_written = io.waiting_bytes(conn) == 0;
        let Some(peer) = self.peer(conn) else { return Ended::Close };
        // MQTT's clients go on reading after no end of theirs, and a will is published at once.
        peer.ended =
            matches!(peer.machine, Machine::Stomp(_)) && (peer.machine.owes_answers() || !is_written);
        if peer.ended { Ended::Wait } else { Ended::Close }
    }

    fn closed(&mut self, io: &mut Io, conn: ConnId, why: Closed) {
        if let Closed::Error(error) = &why {
            debug!(conn = %conn, "connection failed: {error}");
        }
        self.note_end(io.now(), conn, &why);
        self.engine.handle(io.now(), Input::Closed(conn), &mut self.fx);
        if let Some(slot) = self.peers.get_mut(conn.slot as usize)
            && let Some(peer) = slot.take_if(|peer| peer.generation == conn.generation)
        {
            self.forget_held(conn, peer.pace.and_then(|pace| pace.held_until()));
            self.admission.leave(peer.origin.ip(), peer.listener);
        }
        self.apply(io);
        // Connections are buried after the turn's own look at them; nothing would wake the loop again.
        if matches!(self.end, End::Draining { .. }) && io.is_empty() {
            io.stop();
        }
    }

    fn turn(&mut self, io: &mut Io) -> Option<u64> {
        let now = io.now();
        self.engine.shared().set_store_refuses(self.store.refuses());
        self.engine.shared().set_store_behind(self.store.is_behind());
        if !self.fx.list.is_empty() {
            // What a restart has left to do.
            self.apply(io);
        }
        if self.engine.next_wake_ms().is_some_and(|due| due <= now.mono_ms) {
            self.engine.handle(now, Input::Tick, &mut self.fx);
            self.apply(io);
        }
        if !self.taps.is_empty() {
            self.pass_heard();
        }
        if !self.watches.is_empty() {
            self.pass_drops(now);
        }
        let held = self.release_held(io);
        self.engine.shared().set_memory(self.level.headroom(), self.memory.takes_clients());
        self.report(now.mono_ms);
        let next = self.engine.next_wake_ms().into_iter().chain(held).min();
        match &mut self.end {
            End::NotYet => next,
            End::WillsPublished(published) => {
                // The turn in which they were published ends with the posting; this one, or the next, comes after it.
                let ripe = std::mem::replace(&mut self.wills_posted, true);
                if ripe && let Some(published) = published.take() {
                    // Nobody listens any more when the main thread has given up waiting.
                    let _ = published.send(());
                }
                Some(if ripe { next.unwrap_or(u64::MAX) } else { now.mono_ms })
            }
            End::Goodbye { deadline_ms } => {
                let deadline_ms = *deadline_ms;
                self.end = End::Draining { deadline_ms };
                io.linger_until(deadline_ms);
                // Each is pulled, now or when its socket takes more, and told when nothing is left to pull.
                let open: Vec<_> = io.open().collect();
                for conn in open {
                    io.mark_dirty(conn);
                }
                Some(now.mono_ms)
            }
            End::Draining { deadline_ms } => {
                let deadline_ms = *deadline_ms;
                if io.is_empty() {
                    io.stop();
                } else if now.mono_ms >= deadline_ms {
                    let open: Vec<_> = io.open().collect();
                    for conn in open {
                        self.say_goodbye(io, conn);
                    }
                    io.stop();
                }
                Some(next.map_or(deadline_ms, |next| next.min(deadline_ms)))
            }
        }
    }

    fn accept_failed(&mut self, io: &mut Io, listener: usize, error: &std::io::Error) {
        telemetry::turned_away("descriptors");
        self.admission.lacked_descriptors(Instant::now());
        if let Some(left_out) = self.line("accept_failed", io.now().mono_ms) {
            warn!(
                listener,
                left_out, "no connection can be accepted: {error}; raise the limit on open files"
            );
        }
    }
}

impl Worker {
    /// Whether the broker's end has begun.
    fn is_ending(&self) -> bool {
        !matches!(self.end, End::NotYet)
    }

    /// Whether clients are told good-bye, each when nothing waits for it any more.
    fn is_leaving(&self) -> bool {
        matches!(self.end, End::Draining { .. })
    }

    /// Ends a connection at shutdown, without a log line for each of thousands.
    fn say_goodbye(&mut self, io: &mut Io, conn: ConnId) {
        let refusal = &Refusal::new(Kind::ServerShuttingDown, "the broker is shutting down");
        telemetry::refused(refusal);
        self.last_words(io, conn, refusal);
        io.close(conn, Close::AfterFlush);
    }
}
