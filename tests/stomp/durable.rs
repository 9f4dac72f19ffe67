//! Durable subscriptions: what waits while nobody is there, under either kind of name, and how they end.

use noctule_stomp::Command;

use crate::kit::{Headers, MQTT5, Served, Stomp, V12};

/// The two ways to name one: headers of CONNECT and of SUBSCRIBE.
const FORMS: [(Headers<'_>, Headers<'_>); 2] = [
    (&[("client-id", "office")], &[("activemq.subscriptionName", "orders")]),
    (&[], &[("durable", "true"), ("auto-delete", "false")]),
];

struct Durable<'a> {
    served: &'a Served,
    form: usize,
}

impl Durable<'_> {
    fn destination(&self) -> String {
        format!("/topic/orders {}/+", self.form)
    }

    /// A connection that consumes from it.
    fn consumer(&self) -> Stomp {
        let (connect, subscribe) = FORMS[self.form];
        let mut client = self.served.stomp_with(V12, connect);
        client.subscribe_with("d", &self.destination(), "client-individual", subscribe);
        client
    }

    fn send(&self, sender: &mut Stomp, text: &str) {
        sender.say_with(&format!("/topic/orders {}/new", self.form), &[("persistent", "true")], text);
    }
}

#[test]
fn messages_wait_for_a_durable_subscription_and_come_once() {
    let served = Served::start();
    for form in 0..FORMS.len() {
        let durable = Durable { served: &served, form };
        let mut sender = served.stomp();
        durable.send(&mut sender, "before there was one");
        let mut consumer = durable.consumer();
        durable.send(&mut sender, "live");
        assert_eq!(consumer.take().text(), "live");
        // Away: by DISCONNECT, by a cut line, and by UNSUBSCRIBE that does not end it.
        for way in 0..3 {
            match way {
                0 => consumer.bye(),
                1 => consumer.cut(),
                _ => {
                    consumer.unsubscribe("d");
                    consumer.bye();
                }
            }
            let texts = ["one", "two", "three"].map(|text| format!("{text} {way}"));
            for text in &texts {
                durable.send(&mut sender, text);
            }
            let mut mqtt = served.mqtt(MQTT5, "sender");
            mqtt.say(noctule_core::id::Qos::AtLeastOnce, &format!("orders {form}/mqtt"), "by mqtt");
            consumer = durable.consumer();
            let mut got: Vec<_> = (0..4).map(|_| consumer.take().text().to_owned()).collect();
            // Two senders have no order between them.
            got.sort_by_key(|text| text == "by mqtt");
            assert_eq!(got[..3], texts, "form {form}, way {way}");
            assert_eq!(got[3], "by mqtt");
            consumer.is_quiet();
        }
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_and_says_so() {
    let served = Served::start();
    for form in 0..FORMS.len() {
        let durable = Durable { served: &served, form };
        let mut consumer = durable.consumer();
        let mut sender = served.stomp();
        for text in ["one", "two", "three"] {
            durable.send(&mut sender, text);
        }
        let first = [consumer.message(), consumer.message(), consumer.message()];
        consumer.ack(&first[1]);
        consumer.cut();
        let mut consumer = durable.consumer();
        for text in ["one", "three"] {
            let again = consumer.take();
            assert_eq!((again.text(), again.header("redelivered")), (text, "true"), "form {form}");
        }
    }
}

#[test]
fn unsubscribe_forgets_it_with_all_that_waits() {
    let served = Served::start();
    for (form, (connect, headers)) in FORMS.into_iter().enumerate() {
        let durable = Durable { served: &served, form };
        let mut sender = served.stomp();
        for live in [true, false] {
            let mut consumer = durable.consumer();
            let ends = &headers[..1];
            if live {
                consumer.ask(Command::Unsubscribe, &[&[("id", "d")], ends].concat(), b"");
                durable.send(&mut sender, "for nobody");
            } else {
                // By name, from a connection that does not consume from it.
                consumer.bye();
                durable.send(&mut sender, "for nobody");
                let mut other = served.stomp_with(V12, connect);
                let destination = durable.destination();
                let own = [("id", "d"), ("destination", destination.as_str())];
                other.ask(Command::Unsubscribe, &[&own, ends].concat(), b"");
                other.bye();
            }
            let mut consumer = durable.consumer();
            durable.send(&mut sender, "the first");
            assert_eq!(consumer.take().text(), "the first", "form {form}, live {live}");
            consumer.ask(Command::Unsubscribe, &[&[("id", "d")], ends].concat(), b"");
        }
    }
}

#[test]
fn the_newer_connection_takes_it_over() {
    let served = Served::start();
    for (form, (connect, headers)) in FORMS.into_iter().enumerate() {
        let durable = Durable { served: &served, form };
        let mut sender = served.stomp();
        let mut first = durable.consumer();
        durable.send(&mut sender, "held");
        assert_eq!(first.message().text(), "held");
        // As far as the broker knows the first is there, and it need not wait until that is given up.
        let mut second = durable.consumer();
        let error = first.refused();
        assert!(error.text().contains("taken over") && error.text().contains("stomp/-/"), "{error:?}");
        let again = second.take();
        assert_eq!((again.text(), again.header("redelivered")), ("held", "true"), "form {form}");
        durable.send(&mut sender, "for the second");
        assert_eq!(second.take().text(), "for the second", "form {form}");
        // Who forgets it while somebody consumes from it is told so, and it stays.
        let mut third = served.stomp_with(V12, connect);
        let destination = durable.destination();
        let own = [("id", "d"), ("destination", destination.as_str()), ("receipt", "r")];
        third.send(Command::Unsubscribe, &[&own, &headers[..1]].concat(), b"");
        let error = third.refused();
        assert_eq!(error.header("receipt-id"), "r");
        assert!(error.text().contains("somebody consumes"), "{error:?}");
        durable.send(&mut sender, "still there");
        assert_eq!(second.take().text(), "still there", "form {form}");
    }
}
