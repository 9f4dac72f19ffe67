//! What a connection has sent: packet after packet, frame after frame, to the engine, as long as that is all there is to
//! do.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::BytesMut;
use noctule_core::effects::{Effects, Input};
use noctule_core::engine::Straight;
use noctule_core::id::ConnId;
use noctule_core::message::Publish;
use noctule_core::refusal::Refusal;
use noctule_mqtt::server::{Server, Step, Surroundings};
use noctule_mqtt::{Ack, PacketType, Split};
use noctule_stomp::{Command, server as stomp};

use super::door::Verified;
use super::guard::{bug, guarded};
use super::machine::Machine;
use super::pace::{Gate, UNTIL_MEMORY};
use super::{Io, Over, Peer, Worker, journal};
use crate::broker::memory::Level;
use crate::broker::settings::Settings;
use crate::reactor::Close;

/// Most packets of one connection that are taken at once: a burst of small ones, of which thousands fit one read, must not
/// hold up everybody else. Fewer would cost who sends them, since each turn ends in a write.
const PACKETS_PER_TURN: usize = 512;

impl Worker {
    /// Hands packet after packet to the engine, as long as that is all there is to do.
    pub(super) fn run<'a>(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        bytes: &'a [u8],
        settings: &Settings,
    ) -> Run<'a> {
        let Some(Some(peer)) = self.peers.get_mut(conn.slot as usize) else {
            return Run { used: bytes.len(), stop: Stop::Wait };
        };
        let (engine, fx, words) = (&mut self.engine, &mut self.fx, &mut self.words);
        let (scratch, origin, now) = (&mut self.scratch, peer.origin, io.now());
        // Its own, while others are written to.
        let mut machine = std::mem::replace(&mut peer.machine, Machine::Unknown);
        let (mut pace, peer_is_watched) = (peer.pace.take(), peer.is_watched);
        let gate = Gate {
            pace: &mut pace,
            rates: settings
                .listener(peer.listener)
                .map(|listener| &listener.rates)
                .filter(|rates| rates.is_bounded()),
            is_shut: self.level == Level::Full,
            now_ms: now.mono_ms,
        };
        let batch = Batch { conn, bytes, gate };
        let in_engine = Cell::new(false);
        let (peers, watched) = (&self.peers, peer_is_watched.then_some(&self.watches));
        let sys_wanted = &self.sys_wanted;
        let mut hand_over = |input: Input<'_>, fx: &mut Effects| {
            if journal::note_request(origin, &input) {
                sys_wanted.notify_one();
            }
            if let Some(watches) = watched {
                watches.tell_input(now, conn, &input);
            }
            in_engine.set(true);
            if let Input::Publish(_, publish) = &input
                && let Some(way) = engine.straight(now, conn, publish)
            {
                in_engine.set(false);
                let has_gone = pass_on(io, peers, way, publish);
                in_engine.set(true);
                if has_gone {
                    let acknowledged = engine.went_straight(now, conn, publish, way, fx);
                    if let (Some(packet_id), Some(out)) = (acknowledged, io.out(conn)) {
                        out.put().extend_from_slice(&Ack::puback(packet_id));
                        if let Some(watches) = watched {
                            watches.tell_puback(now, conn, packet_id);
                        }
                    }
                    return in_engine.set(false);
                }
            }
            engine.handle(now, input, fx);
            in_engine.set(false);
        };
        let run = catch_unwind(AssertUnwindSafe(|| match &mut machine {
            Machine::Unknown => Run { used: 0, stop: Stop::Wait },
            Machine::Mqtt(mqtt) => packets(mqtt, batch, settings.surroundings(), words, fx, &mut hand_over),
            Machine::Stomp(stomp) => {
                frames(stomp, batch, settings.stomp_surroundings(now), scratch, fx, &mut hand_over)
            }
        }));
        if let Some(Some(peer)) = self.peers.get_mut(conn.slot as usize) {
            (peer.machine, peer.pace) = (machine, pace);
        }
        match run {
            Ok(run) => run,
            // A bug in the engine may have left its tables half-changed: nothing but a new start is safe.
            Err(panic) if in_engine.get() => resume_unwind(panic),
            // A bug in the protocol machine has touched this connection alone.
            Err(_) => Run { used: 0, stop: Stop::Refused(bug()) },
        }
    }

    /// Does what only this room can do for a packet of `len` bytes, the first of `rest`.
    pub(super) fn step(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        step: Step<'_>,
        rest: &[u8],
        len: usize,
    ) -> Result<usize, Over> {
        match step {
            Step::Done => Ok(len),
            Step::Connect(connect) => self.connect(io, conn, &connect, Verified::No, rest, len),
            Step::Authenticated { user } => {
                self.send_words(io, conn);
                self.authenticated(io, conn, user.as_deref(), len)
            }
            Step::Farewell => {
                self.apply(io);
                io.close(conn, Close::AfterFlush);
                Err(Over)
            }
        }
    }
}

/// Writes a message to the client that it is for, without a stay in a queue; false if that is not possible just now.
#[inline]
fn pass_on(io: &mut Io, peers: &[Option<Peer>], way: Straight, publish: &Publish<'_>) -> bool {
    let to = way.to;
    let Some(Some(peer)) = peers.get(to.slot as usize) else { return false };
    // Who is watched gets it on the long way, where that is told.
    if peer.generation != to.generation || peer.ended || peer.is_watched {
        return false;
    }
    let Some(out) = io.out_at_once(to) else { return false };
    let start = out.put().len();
    match guarded(|| peer.machine.pass_on(publish, way.packet_id, out)) {
        Ok(true) => {
            out.mark_pulled();
            true
        }
        Ok(false) => false,
        // The same awaits it on the long way, which ends that connection for it.
        Err(_) => {
            out.put().truncate(start);
            false
        }
    }
}

/// What was read of a connection, and what decides how much of it may pass.
struct Batch<'a, 'g> {
    conn: ConnId,
    bytes: &'a [u8],
    gate: Gate<'g>,
}

/// MQTT's packets.
fn packets<'a>(
    server: &mut Server,
    Batch { conn, bytes, mut gate }: Batch<'a, '_>,
    around: Surroundings<'_>,
    words: &mut BytesMut,
    fx: &mut Effects,
    hand_over: &mut impl FnMut(Input<'_>, &mut Effects),
) -> Run<'a> {
    let (mut used, is_watched) = (0, gate.is_watched());
    for _ in 0..PACKETS_PER_TURN {
        let rest = bytes.get(used..).unwrap_or_default();
        let frame = match server.split(rest) {
            Ok(Split::Frame(frame)) => frame,
            Ok(Split::Incomplete { .. }) => return Run { used, stop: Stop::Wait },
            Err(refusal) => return Run { used, stop: Stop::Refused(refusal) },
        };
        let is_counted = is_watched && frame.packet_type() == Some(PacketType::Publish);
        if is_counted && gate.is_shut {
            return Run { used, stop: Stop::Hold(UNTIL_MEMORY) };
        }
        match server.packet(conn, &frame, around, words, |input| hand_over(input, fx)) {
            Ok(Step::Done) => used += frame.len,
            Ok(step) => return Run { used, stop: Stop::Step(step, frame.len) },
            Err(refusal) => return Run { used, stop: Stop::Refused(refusal) },
        }
        if is_counted && let Some(until) = gate.charge(frame.len) {
            return Run { used, stop: Stop::Hold(until) };
        }
        if fx.urgent {
            return Run { used, stop: Stop::Effects };
        }
    }
    Run { used, stop: Stop::Turn }
}

/// STOMP's frames.
fn frames<'a>(
    server: &mut stomp::Server,
    Batch { conn, bytes, mut gate }: Batch<'a, '_>,
    around: stomp::Surroundings<'_>,
    scratch: &mut stomp::Scratch,
    fx: &mut Effects,
    hand_over: &mut impl FnMut(Input<'_>, &mut Effects),
) -> Run<'a> {
    // Any byte is a sign of life, also one in the middle of a frame (1.2, "Heart-beating").
    hand_over(Input::Heard(conn), fx);
    let (mut used, is_watched) = (0, gate.is_watched());
    for _ in 0..PACKETS_PER_TURN {
        let rest = bytes.get(used..).unwrap_or_default();
        let frame = match server.split(rest, around) {
            Ok(noctule_stomp::Split::Frame(frame)) => frame,
            Ok(noctule_stomp::Split::Beats(count)) => {
                used += count;
                continue;
            }
            Ok(noctule_stomp::Split::Incomplete) => return Run { used, stop: Stop::Wait },
            Err(refusal) => return Run { used, stop: Stop::Refused(refusal) },
        };
        let is_counted = is_watched && frame.command == Command::Send;
        if is_counted && gate.is_shut {
            return Run { used, stop: Stop::Hold(UNTIL_MEMORY) };
        }
        match server.frame(conn, &frame, around, scratch, |input| hand_over(input, fx)) {
            Ok(stomp::Step::Done) => used += frame.len,
            Ok(stomp::Step::Connect(connect)) => {
                return Run { used, stop: Stop::Talk(connect, frame.len) };
            }
            Err(refusal) => return Run { used, stop: Stop::Refused(refusal) },
        }
        if is_counted && let Some(until) = gate.charge(frame.len) {
            return Run { used, stop: Stop::Hold(until) };
        }
        if fx.urgent {
            return Run { used, stop: Stop::Effects };
        }
    }
    Run { used, stop: Stop::Turn }
}

/// How far a run of packets came, and why it stopped there.
pub(super) struct Run<'a> {
    pub(super) used: usize,
    pub(super) stop: Stop<'a>,
}

pub(super) enum Stop<'a> {
    /// The next packet is not whole yet.
    Wait,
    /// Something must be carried out before the next packet.
    Effects,
    /// So much for now: it is the others' turn.
    Turn,
    /// Nothing more is to be read until that monotonic millisecond; see `pace`.
    Hold(u64),
    /// A packet that is not the engine's alone, and its length; it is not among the used.
    Step(Step<'a>, usize),
    /// A CONNECT of STOMP, and its length; it is not among the used.
    Talk(Box<stomp::Connect<'a>>, usize),
    /// The connection ends.
    Refused(Refusal),
}
