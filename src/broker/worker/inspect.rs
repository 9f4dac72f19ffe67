//! What a worker answers to an operator, between two turns of its loop.

use noctule_core::effects::Input;
use noctule_core::engine::{Heard, SessionView};
use noctule_core::id::{ConnId, WorkerId};
use noctule_core::message::{Fields, Publish};
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::topic::TopicName;
use noctule_core::trie::GroupKey;
use noctule_mqtt::Version as MqttVersion;
use noctule_stomp::Version as StompVersion;

use super::machine::Machine;
use super::{Io, Worker};
use crate::broker::inspect::{Client, Cursor, Group, Left, PLACES_PER_QUESTION, Page, Question};
use crate::broker::tap::Overheard;

impl Worker {
    /// Answers, or does what it is asked to. Whoever has stopped waiting for it hears nothing.
    pub(super) fn question(&mut self, io: &mut Io, question: Question) {
        let worker = self.engine.id();
        match question {
            Question::Alive(answer) => {
                let _ = answer.send(());
            }
            Question::Stats(answer) => {
                let _ = answer.send(self.engine.stats());
            }
            Question::Report(answer) => {
                self.report_now();
                let _ = answer.send(());
            }
            Question::Clients(from, most, filter, answer) => {
                let end = end_of(from);
                let sessions = self.engine.sessions_in(from, end).map(|(place, session)| {
                    (place, filter.wants(&session).then(|| self.client(io, &session)))
                });
                let following = (end < self.engine.session_places()).then_some(end);
                let _ = answer.send(page(worker, sessions, most, following));
            }
            Question::Client(client_id, answer) => {
                let client = self.engine.session_named(&client_id).map(|session| self.client(io, &session));
                let _ = answer.send(client);
            }
            Question::Subscriptions(client_id, from, most, answer) => {
                let found = self.engine.session_named(&client_id).map(|_| {
                    let known = self.engine.subscriptions_of(&client_id, from);
                    known.take(most).map(Into::into).collect()
                });
                let _ = answer.send(found);
            }
            Question::Disconnect(client_id, answer) => {
                let conns: Vec<_> = self.engine.conns_named(&client_id).collect();
                for &conn in &conns {
                    let detail = "an operator has disconnected the client";
                    self.refuse(io, conn, &Refusal::new(Kind::AdministrativeAction, detail));
                }
                let _ = answer.send(!conns.is_empty());
            }
            Question::Groups(from, most, answer) => {
                let end = end_of(from);
                let groups = self.engine.groups_in(from, end);
                let groups = groups.map(|(place, group)| (place, Some(Group::of(worker, &group))));
                let following = (end < self.engine.group_places()).then_some(end);
                let _ = answer.send(page(worker, groups, most, following));
            }
            Question::Group(key, answer) => {
                let _ = answer.send(self.engine.group_named(&key).map(|group| Group::of(worker, &group)));
            }
            Question::Announce(messages, answer) => {
                let dropped = |worker: &Self| worker.engine.stats().dropped.iter().sum::<u64>();
                let before = dropped(self);
                for message in &messages {
                    let publish = Publish {
                        topic: TopicName::from_validated(&message.topic),
                        fields: Fields::default(),
                        payload: &message.payload,
                        qos: message.qos,
                        retain: message.retain,
                        dup: false,
                        packet_id: None,
                        expiry_s: None,
                    };
                    self.engine.handle(io.now(), Input::Announce(publish), &mut self.fx);
                }
                let _ = answer.send(dropped(self).saturating_sub(before));
            }
            Question::Purge(key, most, answer) => {
                let _ = answer.send(self.leave(io, &key, Input::Purge { key: &key, most }));
            }
            Question::Move(key, to, most, answer) => {
                let _ = answer.send(self.leave(io, &key, Input::Move { from: &key, to: &to, most }));
            }
            Question::Tap(id, filter, to) => {
                self.taps.push((id, to));
                self.engine.tap(id, filter);
            }
            Question::Untap(id) => {
                self.taps.retain(|(tap, _)| *tap != id);
                self.engine.untap(id);
            }
            Question::Watch(id, client_id, to) => self.watch(id, client_id, to),
            Question::Unwatch(id) => self.unwatch(id),
            Question::Waiting(key, from, most, answer) => {
                let found = self.engine.group_named(&key).map(|_| self.engine.waiting_in(&key, from, most));
                let _ = answer.send(found);
            }
        }
    }

    /// Has the engine take in what makes messages leave a group of this worker; how many did.
    fn leave(&mut self, io: &Io, key: &GroupKey, input: Input<'_>) -> Option<Left> {
        let waiting = |worker: &Self| worker.engine.group_named(key).map(|group| group.messages);
        let before = waiting(self)?;
        self.engine.handle(io.now(), input, &mut self.fx);
        let left = waiting(self).unwrap_or(0);
        Some(Left { gone: before.saturating_sub(left), left })
    }

    /// Passes on what those hear who listen in. Whoever does not keep up misses something, and is told how much.
    pub(super) fn pass_heard(&mut self) {
        let Self { engine, taps, .. } = self;
        engine.fetch_heard(|id, heard| {
            let Some((_, to)) = taps.iter().find(|(tap, _)| *tap == id) else { return };
            match heard {
                Heard::Message { message, size, client_id } => {
                    to.pass(Overheard { message, size, client_id });
                }
                Heard::Missed(count) => to.missed(count),
            }
        });
    }

    fn client(&self, io: &Io, session: &SessionView<'_>) -> Client {
        let peer = session.conn.and_then(|conn: ConnId| {
            self.peers.get(conn.slot as usize)?.as_ref().filter(|peer| peer.generation == conn.generation)
        });
        let now_ms = io.now().mono_ms;
        Client {
            client_id: session.client_id.to_owned(),
            user: session.user.map(str::to_owned),
            connected: session.conn.is_some(),
            protocol: peer.and_then(|peer| spoken(&peer.machine)),
            address: peer.map(|peer| peer.origin.to_string()),
            worker: self.engine.id().0,
            session_expiry_s: (session.expiry_s != u32::MAX).then_some(session.expiry_s),
            subscriptions: session.subscriptions,
            queued_messages: session.queued,
            queued_bytes: session.queued_bytes,
            in_flight: session.in_flight,
            max_in_flight: session.window_max,
            silent_ms: session.heard_ms.map(|heard| now_ms.saturating_sub(heard)),
            silence_max_ms: session.silence_max_ms,
            has_will: session.has_will,
            lags: session.lags,
        }
    }
}

/// The first of what was found, so many at most, and where it goes on: at the place of the first that there was no room for,
/// else at `following`.
fn page<T>(
    worker: WorkerId,
    found: impl Iterator<Item = (u32, Option<T>)>,
    most: usize,
    following: Option<u32>,
) -> Page<T> {
    let (mut items, mut next) = (Vec::new(), following);
    for (place, item) in found {
        if items.len() >= most {
            next = Some(place);
            break;
        }
        items.extend(item);
    }
    Page { items, next: next.map(|place| Cursor { worker: worker.0, place }) }
}

/// Where a look that begins at `from` ends.
fn end_of(from: u32) -> u32 {
    from.saturating_add(PLACES_PER_QUESTION as u32)
}

fn spoken(machine: &Machine) -> Option<&'static str> {
    match machine {
        Machine::Unknown => None,
        Machine::Mqtt(mqtt) => mqtt.version().map(|version| match version {
            MqttVersion::V31 => "MQTT 3.1",
            MqttVersion::V311 => "MQTT 3.1.1",
            MqttVersion::V5 => "MQTT 5.0",
        }),
        Machine::Stomp(stomp) => stomp.version().map(|version| match version {
            StompVersion::V10 => "STOMP 1.0",
            StompVersion::V11 => "STOMP 1.1",
            StompVersion::V12 => "STOMP 1.2",
        }),
    }
}
