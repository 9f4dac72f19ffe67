//! Durable subscriptions under kill -9: what waits, what was acknowledged, and that one that was ended stays so.

use noctule_stomp::Command;

use super::client::{Headers, Stomp};
use super::{Arena, LAST, connected, seeds, until_last};

/// The two ways to name one: headers of CONNECT and of SUBSCRIBE.
const FORMS: [(Headers<'_>, Headers<'_>); 2] = [
    (&[("client-id", "office")], &[("activemq.subscriptionName", "orders")]),
    (&[], &[("durable", "true"), ("auto-delete", "false")]),
];

const TOPIC: &str = "/topic/orders/new";

fn consumer(arena: &Arena, form: usize) -> Stomp {
    let (connect, subscribe) = FORMS[form];
    let mut client = connected(arena.address, connect);
    client.subscribe_with("d", "/topic/orders/+", "client-individual", subscribe);
    client
}

fn send(sender: &mut Stomp, text: &str) {
    sender.say_with(TOPIC, &[("persistent", "true")], text);
}

/// What waits for the subscription now.
fn waiting(arena: &Arena, form: usize) -> (Stomp, Vec<String>) {
    let mut client = consumer(arena, form);
    send(&mut arena.client(), LAST);
    let texts = until_last(&mut client).iter().map(|message| message.text().to_owned()).collect();
    (client, texts)
}

#[test]
fn a_durable_subscription_outlives_kills_with_all_that_waits() {
    for (round, seed) in seeds().enumerate() {
        let form = round % FORMS.len();
        let mut arena = Arena::new("durable", seed, "");
        let mut client = consumer(&arena, form);
        let mut sender = arena.client();
        for text in ["acknowledged", "held"] {
            send(&mut sender, text);
        }
        let got = [client.message(), client.message()];
        client.ack(&got[0]);
        // With the consumer there, and then without.
        arena.kill();
        arena.start();
        let mut sender = arena.client();
        for text in ["one", "two"] {
            send(&mut sender, text);
        }
        arena.kill();
        arena.start();
        let (_client, texts) = waiting(&arena, form);
        assert_eq!(texts, ["held", "one", "two"], "form {form}, {arena}");
    }
}

/// A receipt means that it is on stable storage, also of what a SUBSCRIBE has made.
#[test]
fn what_subscribe_has_a_receipt_for_is_there_after_a_kill() {
    for (round, seed) in seeds().enumerate() {
        let form = round % FORMS.len();
        let mut arena = Arena::new("durable-begun", seed, "");
        let client = consumer(&arena, form);
        arena.kill();
        drop(client);
        arena.start();
        send(&mut arena.client(), "waits");
        let (_client, texts) = waiting(&arena, form);
        assert_eq!(texts, ["waits"], "form {form}, {arena}");
    }
}

/// The same of what an UNSUBSCRIBE has ended: it does not come back with what had waited there.
#[test]
fn what_unsubscribe_has_a_receipt_for_is_gone_after_a_kill() {
    for (round, seed) in seeds().enumerate() {
        let form = round % FORMS.len();
        let mut arena = Arena::new("durable-ended", seed, "");
        consumer(&arena, form).bye();
        send(&mut arena.client(), "waits");
        let mut client = consumer(&arena, form);
        client.message();
        let ends = &FORMS[form].1[..1];
        client.ask(Command::Unsubscribe, &[&[("id", "d")], ends].concat(), b"");
        arena.kill();
        arena.start();
        send(&mut arena.client(), "for nobody");
        let (_client, texts) = waiting(&arena, form);
        assert_eq!(texts, [""; 0], "form {form}, {arena}");
    }
}
