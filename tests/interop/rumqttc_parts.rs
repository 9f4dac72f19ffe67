//! What rumqttc does in both versions: its two clients have the same shape and share no type.

macro_rules! rumqttc_parts {
    ($root:path, $qos:path, $will:path, $name:ident, $lasting:expr) => {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        use std::sync::mpsc::{Receiver, channel};
        use std::time::{Duration, Instant};

        use $qos;
        use $root::{Client, Event, Incoming, MqttOptions};
        use $will;

        use crate::stomp::Consumer;
        use crate::{Served, WAIT};

        const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

        /// A client, and what its event loop (on a thread of its own) has received.
        struct Link {
            client: Client,
            incoming: Receiver<Incoming>,
            session_present: bool,
            cut: Arc<AtomicBool>,
        }

        impl Link {
            fn new(options: MqttOptions) -> Self {
                let (client, mut connection) = Client::new(options, 64);
                let (sender, incoming) = channel();
                let cut = Arc::new(AtomicBool::new(false));
                let is_cut = Arc::clone(&cut);
                std::thread::spawn(move || {
                    for event in connection.iter() {
                        match event {
                            _ if is_cut.load(Ordering::Relaxed) => break,
                            Ok(Event::Incoming(packet)) => sender.send(packet).unwrap_or_default(),
                            Ok(Event::Outgoing(_)) => {}
                            // The end; it would connect again if it were asked on.
                            Err(_) => break,
                        }
                    }
                });
                let mut link = Self { client, incoming, session_present: false, cut };
                link.session_present = link.until(|packet| match packet {
                    Incoming::ConnAck(ack) => Some(ack.session_present),
                    _ => None,
                });
                link
            }

            fn clean(served: &Served, id: &str) -> Self {
                Self::new(options(served, id))
            }

            fn lasting(served: &Served, id: &str) -> Self {
                let mut options = options(served, id);
                let lasting: fn(&mut MqttOptions) = $lasting;
                lasting(&mut options);
                Self::new(options)
            }

            #[track_caller]
            fn until<T>(&self, wanted: impl Fn(Incoming) -> Option<T>) -> T {
                loop {
                    let packet = self.incoming.recv_timeout(WAIT).expect("nothing came");
                    if let Some(found) = wanted(packet) {
                        return found;
                    }
                }
            }

            #[track_caller]
            fn subscribe(&self, filter: &str, qos: QoS) {
                self.client.subscribe(filter, qos).unwrap();
                self.until(|packet| matches!(packet, Incoming::SubAck(_)).then_some(()));
            }

            #[track_caller]
            fn publish(&self, topic: &str, qos: QoS, retain: bool, payload: &str) {
                self.client.publish(topic, qos, retain, payload.to_owned()).unwrap();
                self.acknowledged(qos);
            }

            #[track_caller]
            fn acknowledged(&self, qos: QoS) {
                match qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => {
                        self.until(|packet| matches!(packet, Incoming::PubAck(_)).then_some(()))
                    }
                    QoS::ExactlyOnce => {
                        self.until(|packet| matches!(packet, Incoming::PubComp(_)).then_some(()))
                    }
                }
            }

            /// The next message: QoS, RETAIN and payload.
            #[track_caller]
            fn take(&self) -> (QoS, bool, String) {
                self.until(|packet| match packet {
                    Incoming::Publish(got) => {
                        Some((got.qos, got.retain, String::from_utf8(got.payload.to_vec()).unwrap()))
                    }
                    _ => None,
                })
            }

            /// Says good-bye; its event loop ends with the broker's end of stream.
            fn bye(self) {
                self.client.disconnect().unwrap();
                while self.incoming.recv_timeout(WAIT).is_ok() {}
            }

            /// Vanishes without a good-bye: its event loop sees a last event and drops the socket.
            fn cut(self) {
                self.cut.store(true, Ordering::Relaxed);
                self.client.publish("cut", QoS::AtMostOnce, false, "").unwrap();
            }
        }

        fn options(served: &Served, id: &str) -> MqttOptions {
            MqttOptions::new(id, "127.0.0.1", served.address.port())
        }

        #[test]
        fn every_qos_both_ways() {
            let served = Served::start();
            let (publisher, subscriber) =
                (Link::clean(&served, "publisher"), Link::clean(&served, "subscriber"));
            for granted in LEVELS {
                let topic = format!("qos/{}", granted as u8);
                subscriber.subscribe(&topic, granted);
                for sent in LEVELS {
                    publisher.publish(&topic, sent, false, "x");
                    let lower = LEVELS[(sent as usize).min(granted as usize)];
                    assert_eq!(subscriber.take(), (lower, false, "x".into()));
                }
            }
        }

        #[test]
        fn retained_messages() {
            let served = Served::start();
            let publisher = Link::clean(&served, "publisher");
            publisher.publish("kept", QoS::AtLeastOnce, true, "x");
            let subscriber = Link::clean(&served, "subscriber");
            subscriber.subscribe("kept", QoS::AtLeastOnce);
            assert_eq!(subscriber.take(), (QoS::AtLeastOnce, true, "x".into()));
            publisher.publish("kept", QoS::AtLeastOnce, true, "");
            assert_eq!(subscriber.take(), (QoS::AtLeastOnce, false, String::new()));
        }

        #[test]
        fn a_will() {
            let served = Served::start();
            let witness = Link::clean(&served, "witness");
            witness.subscribe("will", QoS::AtLeastOnce);
            for (id, polite) in [("polite", true), ("lost", false)] {
                let mut options = options(&served, id);
                options.set_last_will($name("will", id));
                let link = Link::new(options);
                if polite {
                    link.bye()
                } else {
                    link.cut()
                };
            }
            assert_eq!(witness.take(), (QoS::AtLeastOnce, false, "lost".into()));
        }

        #[test]
        fn a_session_with_messages_kept_for_it() {
            let served = Served::start();
            let first = Link::lasting(&served, "lasting");
            assert!(!first.session_present);
            first.subscribe("offline", QoS::ExactlyOnce);
            first.bye();
            let publisher = Link::clean(&served, "publisher");
            for number in 0..10 {
                publisher.publish("offline", QoS::ExactlyOnce, false, &number.to_string());
            }
            let back = Link::lasting(&served, "lasting");
            assert!(back.session_present);
            for number in 0..10 {
                assert_eq!(back.take(), (QoS::ExactlyOnce, false, number.to_string()));
            }
        }

        #[test]
        fn a_queue_that_stomp_py_consumes_as_well() {
            let served = Served::start();
            let Some(rival) = Consumer::start(&served, "/queue/jobs", "ack") else { return };
            let member = Link::clean(&served, "member");
            member.subscribe("$queue/jobs", QoS::AtLeastOnce);
            let publisher = Link::clean(&served, "publisher");
            let (first, second) = take_turns(&publisher, &member, &rival);
            assert!(!first.is_empty() && !second.is_empty(), "{first:?} {second:?}");
            drop(rival);
            // What it held comes to the one who is left.
            let Some(rival) = Consumer::start(&served, "/queue/jobs", "hold") else { return };
            let (_, held) = take_turns(&publisher, &member, &rival);
            assert!(!held.is_empty());
            drop(rival);
            let mut again: Vec<u32> = held.iter().map(|_| member.take().2.parse().unwrap()).collect();
            again.sort_unstable();
            assert_eq!(again, held);
        }

        /// What each of the two got of forty jobs, all of which have come to one of them.
        fn take_turns(publisher: &Link, member: &Link, rival: &Consumer) -> (Vec<u32>, Vec<u32>) {
            for number in 0..40 {
                publisher.publish("$queue/jobs", QoS::AtLeastOnce, false, &number.to_string());
            }
            let (mut first, mut second) = (Vec::new(), Vec::new());
            let begun = Instant::now();
            while first.len() + second.len() < 40 {
                assert!(begun.elapsed() < WAIT, "{first:?} {second:?}");
                second.extend(rival.next(Duration::from_millis(10)));
                while let Ok(packet) = member.incoming.try_recv() {
                    if let Incoming::Publish(got) = packet {
                        let number = String::from_utf8(got.payload.to_vec()).unwrap().parse();
                        first.push(number.unwrap());
                    }
                }
            }
            let mut all = [first.clone(), second.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, (0..40).collect::<Vec<u32>>());
            (first, second)
        }
    };
}

pub(crate) use rumqttc_parts;
