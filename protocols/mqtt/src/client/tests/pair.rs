//! Two client machines through our own server, with the transport cut at every place.

use std::num::NonZeroU32;

use bytes::{Buf, Bytes, BytesMut};
use noctule_core::id::Qos;

use super::world::World;
use crate::client::{Client, Event, Options, Outgoing, Properties, Will};
use crate::reason::Reason;
use crate::subscribe::Subscription;
use crate::version::Version;

const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A client on a transport that hands over so many bytes at a time, and may break.
struct End {
    client: Client,
    conn: usize,
    unread: BytesMut,
    chunk: usize,
    /// Chunks that still pass before the transport breaks.
    life: usize,
    seen: Vec<Event>,
}

impl End {
    fn connect(world: &mut World, options: Options, chunk: usize) -> Self {
        let mut end = Self {
            client: Client::new(options),
            conn: 0,
            unread: BytesMut::new(),
            chunk,
            life: usize::MAX,
            seen: Vec::new(),
        };
        end.reconnect(world);
        end
    }

    fn reconnect(&mut self, world: &mut World) {
        self.conn = world.accept();
        self.unread.clear();
        self.life = usize::MAX;
        self.client.connect(world.now_ms).unwrap();
        self.run(world);
        assert!(self.client.is_connected());
    }

    /// Whether the transport still holds; one chunk less from now on.
    fn passes(&mut self, world: &mut World) -> bool {
        if self.life == 0 {
            world.cut(self.conn);
            return false;
        }
        self.life -= 1;
        true
    }

    /// Carries bytes to and fro until there are none, or the transport breaks.
    fn run(&mut self, world: &mut World) {
        loop {
            let mut quiet = true;
            while !self.client.output().is_empty() {
                quiet = false;
                if !self.passes(world) {
                    return;
                }
                let len = self.chunk.min(self.client.output().len());
                let chunk = self.client.output().split_to(len);
                world.receive(self.conn, &chunk);
            }
            let sent = world.sent(self.conn);
            for chunk in sent.chunks(self.chunk) {
                quiet = false;
                if !self.passes(world) {
                    return;
                }
                self.unread.extend_from_slice(chunk);
                let used = self.client.handle_bytes(world.now_ms, &self.unread).unwrap();
                self.unread.advance(used);
            }
            self.seen.extend(std::iter::from_fn(|| self.client.poll_event()));
            if quiet {
                return;
            }
        }
    }

    fn subscribe(&mut self, world: &mut World, filter: &str, qos: Qos) {
        self.client.subscribe(world.now_ms, &[Subscription::new(filter, qos)], None, &[]).unwrap();
        self.run(world);
        match self.seen.pop() {
            Some(Event::Subscribed { granted, .. }) => assert_eq!(granted, [Ok(qos)]),
            other => panic!("{other:?}"),
        }
    }

    fn payloads(&mut self) -> Vec<Bytes> {
        let messages = self.seen.iter().filter_map(|event| match event {
            Event::Message(message) => Some(message.payload.clone()),
            _ => None,
        });
        let payloads = messages.collect();
        self.seen.clear();
        payloads
    }
}

fn durable(version: Version, client_id: &str) -> Options {
    let session_expiry_s = version.is_v5().then_some(600);
    Options { clean_start: false, session_expiry_s, ..Options::new(version, client_id) }
}

#[test]
fn every_version_and_qos_comes_through_at_any_split() {
    for version in ALL {
        for qos in QOS {
            for chunk in [1, 3, usize::MAX] {
                let mut world = World::new();
                let mut subscriber = End::connect(&mut world, Options::new(version, "sub"), chunk);
                subscriber.subscribe(&mut world, "a/+", qos);
                subscriber.seen.clear();
                let mut publisher = End::connect(&mut world, Options::new(version, "pub"), chunk);
                publisher.seen.clear();
                for number in 0..3 {
                    let message = Outgoing::new("a/b", format!("{number}")).at(qos);
                    publisher.client.publish(0, &message).unwrap();
                }
                publisher.run(&mut world);
                subscriber.run(&mut world);
                let what = format!("{version:?} {qos:?} {chunk}");
                assert_eq!(subscriber.payloads(), ["0", "1", "2"], "{what}");
                let published =
                    publisher.seen.iter().filter(|event| matches!(event, Event::Published { .. }));
                assert_eq!(published.count(), if qos == Qos::AtMostOnce { 0 } else { 3 }, "{what}");
                assert_eq!(publisher.client.unacknowledged(), 0, "{what}");
            }
        }
    }
}

#[test]
fn properties_identifiers_and_aliases_come_through() {
    let mut world = World::new();
    let options = Options { topic_alias_maximum: 4, ..Options::new(Version::V5, "sub") };
    let mut subscriber = End::connect(&mut world, options, usize::MAX);
    let filters = [Subscription::new("a/b", Qos::AtLeastOnce)];
    subscriber.client.subscribe(0, &filters, NonZeroU32::new(9), &[("why", "test")]).unwrap();
    subscriber.run(&mut world);
    subscriber.seen.clear();
    let options = Options { aliases_out: 4, ..Options::new(Version::V5, "pub") };
    let mut publisher = End::connect(&mut world, options, usize::MAX);
    let properties = Properties {
        payload_is_text: Some(true),
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("r".to_owned()),
        correlation_data: Some(vec![1, 2]),
        user_properties: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
    };
    let mut message = Outgoing::new("a/b", "x").with_properties(&properties).unwrap();
    message.expiry_s = Some(60);
    for _ in 0..2 {
        publisher.client.publish(0, &message).unwrap();
    }
    publisher.run(&mut world);
    subscriber.run(&mut world);
    assert_eq!(subscriber.seen.len(), 2);
    for event in &subscriber.seen {
        let Event::Message(message) = event else { panic!("{event:?}") };
        assert_eq!((&*message.topic, message.expiry_s), ("a/b", Some(60)));
        assert_eq!(message.subscription_ids, [NonZeroU32::new(9).unwrap()]);
        assert_eq!(message.properties.as_deref(), Some(&properties));
    }
    let filters = subscriber.client.unsubscribe(0, &["a/b", "nothing"], &[]);
    filters.unwrap();
    subscriber.run(&mut world);
    match subscriber.seen.pop() {
        Some(Event::Unsubscribed { reasons, .. }) => {
            assert_eq!(reasons, [Reason::SUCCESS, Reason::NO_SUBSCRIPTION_EXISTED]);
        }
        other => panic!("{other:?}"),
    }
}

/// A QoS 2 exchange cut after every byte, then finished on a new connection: exactly one message arrives.
#[test]
fn exactly_once_wherever_the_publisher_is_cut() {
    for version in ALL {
        let mut cuts = 0;
        for life in 0.. {
            let mut world = World::new();
            let mut subscriber = End::connect(&mut world, Options::new(version, "sub"), usize::MAX);
            subscriber.subscribe(&mut world, "t", Qos::ExactlyOnce);
            let mut publisher = End::connect(&mut world, durable(version, "pub"), 1);
            publisher.seen.clear();
            publisher.client.publish(0, &Outgoing::new("t", "once").at(Qos::ExactlyOnce)).unwrap();
            publisher.life = life;
            publisher.run(&mut world);
            let finished = publisher.life > 0;
            if !finished {
                cuts += 1;
                publisher.reconnect(&mut world);
            }
            subscriber.run(&mut world);
            assert_eq!(subscriber.payloads(), ["once"], "{version:?} cut after {life} bytes");
            let published = publisher.seen.iter().filter(|event| matches!(event, Event::Published { .. }));
            assert_eq!(published.count(), 1, "{version:?} cut after {life} bytes");
            assert_eq!(publisher.client.unacknowledged(), 0);
            if finished {
                break;
            }
        }
        assert!(cuts > 15, "{version:?}: only {cuts} places were cut");
    }
}

#[test]
fn exactly_once_wherever_the_subscriber_is_cut() {
    for version in ALL {
        let mut cuts = 0;
        for life in 0.. {
            let mut world = World::new();
            let mut subscriber = End::connect(&mut world, durable(version, "sub"), 1);
            subscriber.subscribe(&mut world, "t", Qos::ExactlyOnce);
            subscriber.seen.clear();
            let mut publisher = End::connect(&mut world, Options::new(version, "pub"), usize::MAX);
            publisher.client.publish(0, &Outgoing::new("t", "once").at(Qos::ExactlyOnce)).unwrap();
            publisher.run(&mut world);
            subscriber.life = life;
            subscriber.run(&mut world);
            subscriber.seen.extend(std::iter::from_fn(|| subscriber.client.poll_event()));
            let finished = subscriber.life > 0;
            if !finished {
                cuts += 1;
                subscriber.reconnect(&mut world);
            }
            assert_eq!(subscriber.payloads(), ["once"], "{version:?} cut after {life} bytes");
            // The exchange is over on both sides: a third connection brings nothing.
            world.cut(subscriber.conn);
            subscriber.reconnect(&mut world);
            assert_eq!(subscriber.payloads(), [""; 0], "{version:?} cut after {life} bytes");
            if finished {
                break;
            }
        }
        assert!(cuts > 10, "{version:?}: only {cuts} places were cut");
    }
}

#[test]
fn the_will_comes_when_the_client_vanishes_and_not_when_it_leaves() {
    for (version, vanish) in [(Version::V311, true), (Version::V5, true), (Version::V5, false)] {
        let mut world = World::new();
        let mut subscriber = End::connect(&mut world, Options::new(version, "sub"), usize::MAX);
        subscriber.subscribe(&mut world, "will", Qos::AtLeastOnce);
        let will = Will {
            topic: "will".to_owned(),
            payload: "gone".into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            delay_s: 0,
            expiry_s: None,
            properties: Properties { content_type: Some("x".to_owned()), ..Properties::default() },
        };
        let options = Options { will: Some(will), ..Options::new(version, "mortal") };
        let mut mortal = End::connect(&mut world, options, usize::MAX);
        if vanish {
            world.cut(mortal.conn);
        } else {
            mortal.client.disconnect(0, Reason::SUCCESS, None).unwrap();
            mortal.run(&mut world);
        }
        subscriber.run(&mut world);
        let expected: &[&str] = if vanish { &["gone"] } else { &[] };
        assert_eq!(subscriber.payloads(), expected, "{version:?}");
    }
}
