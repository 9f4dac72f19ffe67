//! Shared subscriptions: one copy for the group, who gets it, and what happens when a member leaves (section 4.8.2).

use std::collections::HashMap;

use noctule::config::ShareStrategy;
use noctule_core::id::Qos;
use noctule_mqtt::{PacketType, Reason};

use crate::kit::{Client, Got, Out, Served, V5, V311, within};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// Members of one group, spread over the workers by their names.
fn members(served: &Served, count: usize, qos: Qos, filter: &str) -> Vec<Client> {
    let member = |number| {
        let mut client = served.client(V5, &format!("member {number}"));
        client.subscribe(qos, filter);
        client
    };
    (0..count).map(member).collect()
}

/// What each member has got, once `count` messages have arrived in all.
fn collect(members: &mut [Client], count: usize) -> Vec<Vec<String>> {
    let mut got = vec![Vec::new(); members.len()];
    within("all messages", || {
        for (member, texts) in members.iter_mut().zip(&mut got) {
            while let Got::Publish(delivered) = member.next_or_pong() {
                finish(member, &delivered);
                texts.push(delivered.text().to_owned());
            }
        }
        (got.iter().map(Vec::len).sum::<usize>() >= count).then_some(())
    });
    got
}

fn finish(member: &mut Client, delivered: &crate::kit::Delivered) {
    match delivered.qos {
        Qos::AtMostOnce => {}
        Qos::AtLeastOnce => member.ack(PacketType::PubAck, delivered.packet_id),
        Qos::ExactlyOnce => {
            let id = delivered.packet_id;
            member.ack(PacketType::PubRec, id);
            member.until(|got| (*got == Got::PubRel(id, 0)).then_some(()));
            member.ack(PacketType::PubComp, id);
        }
    }
}

#[test]
fn mqtt_4_8_2_each_message_goes_to_one_member_and_every_strategy_loses_none() {
    for strategy in [ShareStrategy::RoundRobin, ShareStrategy::LeastInflight, ShareStrategy::Sticky] {
        for qos in [QOS_0, QOS_1, QOS_2] {
            let served = Served::with(|config| config.delivery.share_strategy = strategy);
            let mut members = members(&served, 4, qos, "$share/group/work/#");
            let mut publisher = served.client(V5, "publisher");
            for number in 0..40 {
                publisher.say(qos, &format!("work/{}", number % 8), &number.to_string());
            }
            let got = collect(&mut members, 40);
            let mut all: Vec<u32> = got.iter().flatten().map(|text| text.parse().unwrap()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..40).collect::<Vec<_>>(), "{strategy:?} {qos:?}");
            match strategy {
                ShareStrategy::RoundRobin => assert!(got.iter().all(|texts| texts.len() == 10), "{got:?}"),
                ShareStrategy::LeastInflight => {
                    assert!(got.iter().filter(|texts| !texts.is_empty()).count() > 1, "{got:?}");
                }
                ShareStrategy::Sticky => {
                    let mut owner: HashMap<u32, usize> = HashMap::new();
                    for (member, text) in
                        got.iter().enumerate().flat_map(|(at, texts)| texts.iter().map(move |t| (at, t)))
                    {
                        let topic = text.parse::<u32>().unwrap() % 8;
                        assert_eq!(
                            *owner.entry(topic).or_insert(member),
                            member,
                            "topic {topic} changed hands"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn groups_and_plain_subscribers_each_get_their_copy() {
    let served = Served::start();
    let mut one = members(&served, 2, QOS_1, "$share/one/copy");
    let mut publisher = served.client(V311, "publisher");
    let mut two = served.client(V311, "other group");
    two.subscribe(QOS_1, "$share/two/copy");
    let mut plain = served.client(V5, "plain");
    plain.subscribe(QOS_1, "copy");
    // In a group and beside it: two subscriptions, two copies.
    let mut both = served.client(V5, "both");
    both.subscribe(QOS_1, "$share/three/copy");
    both.subscribe(QOS_1, "copy");
    for number in 0..6 {
        publisher.say(QOS_1, "copy", &number.to_string());
    }
    let got = collect(&mut one, 6);
    assert_eq!(got.iter().map(Vec::len).sum::<usize>(), 6);
    let expected: Vec<_> = (0..6).map(|number: u32| number.to_string()).collect();
    assert_eq!(two.texts(6), expected);
    assert_eq!(plain.texts(6), expected);
    let mut twice = both.texts(12);
    twice.sort();
    assert_eq!(twice, expected.iter().flat_map(|text| [text.clone(), text.clone()]).collect::<Vec<_>>());
}

#[test]
fn mqtt_3_3_1_retained_messages_are_not_replayed_to_groups() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    publisher.publish(&Out::retained("shared/retained", "kept"));
    let mut member = served.client(V5, "member");
    member.subscribe(QOS_1, "$share/group/shared/retained");
    publisher.say(QOS_1, "shared/retained", "live");
    assert_eq!(member.take().text(), "live");
}

#[test]
fn mqtt_4_8_2_5_what_a_member_did_not_acknowledge_moves_on_when_its_session_ends() {
    let served = Served::start();
    let mut first = served.client(V5, "first");
    first.subscribe(QOS_1, "$share/group/moves");
    let mut publisher = served.client(V5, "publisher");
    for number in 0..5 {
        publisher.say(QOS_1, "moves", &number.to_string());
    }
    for _ in 0..5 {
        first.receive();
    }
    let mut second = served.client(V5, "second");
    second.subscribe(QOS_1, "$share/group/moves");
    first.cut();
    let mut texts = second.texts(5);
    texts.sort();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
}

#[test]
fn mqtt_4_8_2_6_an_acknowledgement_that_says_no_discards_the_message() {
    let served = Served::start();
    let mut first = served.client(V5, "first");
    first.subscribe(QOS_1, "$share/group/refused");
    let mut second = served.client(V5, "second");
    let mut publisher = served.client(V5, "publisher");
    publisher.say(QOS_1, "refused", "nobody wants this");
    let got = first.receive();
    second.subscribe(QOS_1, "$share/group/refused");
    first.ack_as(PacketType::PubAck, got.packet_id, Reason::IMPLEMENTATION_SPECIFIC_ERROR);
    first.ping();
    first.unsubscribe(&["$share/group/refused"]);
    second.has_nothing_but(&mut publisher, "refused");
}

#[test]
fn a_member_that_is_away_is_not_chosen_while_another_is_there() {
    let served = Served::start();
    let (mut away, _) = served.resume(V5, "away");
    away.subscribe(QOS_1, "$share/group/away");
    away.bye();
    let mut here = served.client(V5, "here");
    here.subscribe(QOS_1, "$share/group/away");
    let mut publisher = served.client(V5, "publisher");
    for number in 0..10 {
        publisher.say(QOS_1, "away", &number.to_string());
    }
    assert_eq!(here.texts(10), (0..10).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_group_whose_durable_members_are_all_away_waits_for_one() {
    let served = Served::start();
    let (mut member, _) = served.resume(V5, "durable");
    member.subscribe(QOS_1, "$share/group/waits");
    member.bye();
    let mut publisher = served.client(V5, "publisher");
    for number in 0..5 {
        publisher.say(QOS_1, "waits", &number.to_string());
    }
    let (mut member, _) = served.resume(V5, "durable");
    assert_eq!(member.texts(5), ["0", "1", "2", "3", "4"]);
}

#[test]
fn leaving_a_group_is_answered_and_ends_delivery() {
    let served = Served::start();
    let mut members = members(&served, 2, QOS_1, "$share/group/leaves");
    let mut publisher = served.client(V5, "publisher");
    assert_eq!(
        members[0].unsubscribe(&["$share/group/leaves", "$share/other/leaves", "leaves"]),
        [0, 0x11, 0x11]
    );
    for number in 0..4 {
        publisher.say(QOS_1, "leaves", &number.to_string());
    }
    assert_eq!(members[1].texts(4), ["0", "1", "2", "3"]);
}

#[test]
fn mqtt_4_8_2_1_ill_formed_shared_filters_are_refused() {
    let served = Served::start();
    for filter in ["$share/group", "$share//x", "$share/+/x", "$share/g#/x", "$share/group/"] {
        let mut client = served.client(V5, "ill-formed");
        let mut body = vec![0, 1, 0, 0, filter.len() as u8];
        body.extend_from_slice(filter.as_bytes());
        body.push(0);
        client.raw(&[&[0x82, body.len() as u8][..], &body].concat());
        let got = client.next();
        let refused = matches!(&got, Got::SubAck(1, codes) if codes == &[0x8F])
            || matches!(got, Got::Bye(0x8F | 0x81 | 0x82));
        assert!(refused, "{filter}: {got:?}");
    }
}
