//! After a restart: of a session the store knows the user and the client id, and no more.

use super::*;
use crate::engine::tests::recovery::{recovered, session, subscription};
use crate::message::Restored;
use crate::queue::Stub;
use crate::store::{
    Exchange, KeptWill, Loaded, LoadedMessage, Recovered, RecoveredSession, RecoveredWill, SessionNumber,
};

fn restart(rules: Vec<Rule>, recovered: Recovered) -> Kit {
    let shared = Arc::new(Shared::new(&Seed::new(1), 1, RetainedLimits::default()));
    let mut kit = Kit::new();
    kit.engine = Engine::new(WorkerId(0), shared, policy(1, rules), kit.now);
    let effects = recover(std::slice::from_mut(&mut kit.engine), recovered, kit.now);
    effects.into_iter().for_each(|fx| kit.carry_out(fx));
    kit
}

fn restored(record: u64, topic: &str, qos: Qos) -> LoadedMessage {
    let message = Message::restore(&Restored {
        topic: TopicName::from_validated(topic),
        fields: &[],
        payload: topic.as_bytes(),
        qos,
        retain: false,
        expires_ms: u64::MAX,
        record,
    });
    LoadedMessage { message, subscription_ids: None }
}

/// Anna's, subscribed to everything, with two messages that wait.
fn annas() -> RecoveredSession {
    let stub = |record| Stub { record, cost: 200, qos: AtLeastOnce, retain: false };
    RecoveredSession {
        user: Some("anna".into()),
        queue: vec![stub(3), stub(5)],
        ..session(1, "c", vec![subscription("#", ExactlyOnce)])
    }
}

fn returns(kit: &mut Kit, groups: &[Arc<str>]) -> Vec<String> {
    let access = Access { groups, ..Access::default() };
    let seen = kit.connect(1, Connect { user: Some("anna"), access, ..keeper("c") });
    assert_eq!(bodies(seen), [""; 0], "it has to be loaded first");
    let request = kit.loads.pop().unwrap();
    let load = |&record: &u64| {
        let topic = if record == 3 { "ops/1" } else { "open/1" };
        (record, Some(restored(record, topic, AtLeastOnce)))
    };
    let messages = request.records.iter().map(load).collect();
    let loaded = Loaded { session: request.session, messages };
    kit.give(Input::Store(StoreEvent::Loaded(Box::new(loaded))));
    kit.bodies(1)
}

#[test]
fn what_waits_is_decided_when_it_is_known_who_the_client_is() {
    for (groups, expected) in
        [(&ops()[..], &["ops/1", "open/1", "ops/2", "open/2"][..]), (&[], &["open/1", "open/2"])]
    {
        let mut kit = restart(with_root(the_rules()), recovered(vec![annas()]));
        kit.publisher();
        kit.publish_all(9, &["ops/2", "open/2"], AtLeastOnce);
        assert_eq!((kit.engine.stats().withheld, kit.engine.stats().queued), (0, 4));
        assert_eq!(returns(&mut kit, groups), expected);
        assert_eq!(kit.dropped(DropReason::NotAuthorized), 4 - expected.len() as u64);
    }
}

#[test]
fn an_exchange_goes_on_only_with_the_right_to_its_message() {
    let sent = |record, topic, qos| {
        let (loaded, owner) = (restored(record, topic, qos), SessionNumber(1));
        Exchange::Sent { loaded, owner, qos, retain: false }
    };
    let outbound = vec![
        (id(7), sent(3, "shut/1", AtLeastOnce)),
        (id(8), sent(4, "shut/2", ExactlyOnce)),
        (id(9), sent(5, "open/3", ExactlyOnce)),
    ];
    let mut kit =
        restart(the_rules(), recovered(vec![RecoveredSession { queue: vec![], outbound, ..annas() }]));
    let seen = kit.connect(1, Connect { user: Some("anna"), ..keeper("c") });
    assert!(seen.contains(&acked(PubRel, 8, Reason::Success)), "its client may hold the packet id");
    assert_eq!(bodies(seen), ["open/3"]);
    assert_eq!(kit.dropped(DropReason::NotAuthorized), 2);
}

#[test]
fn a_will_is_published_if_its_users_name_alone_gives_the_right() {
    let will = |number, user: &str, topic| {
        let message = restored(0, topic, AtMostOnce).message;
        let (user, client_id) = (Some(user.into()), format!("c{number}").into());
        let will = KeptWill { client_id, user, message, delay_s: 0, expiry_s: None };
        RecoveredWill { number: SessionNumber(number), will }
    };
    let wills = vec![will(11, "anna", "ops/w"), will(12, "anna", "open/w"), will(13, "root", "shut/w")];
    let kit = restart(with_root(the_rules()), Recovered { wills, ..recovered(vec![]) });
    // Whether anna is one of ops is not known.
    assert_eq!((kit.engine.stats().wills, kit.dropped(DropReason::NotAuthorized)), (2, 1));
}

#[test]
fn a_subscription_that_has_lost_its_right_is_gone_when_its_client_is_back() {
    let kept =
        session(1, "c", vec![subscription("shut/x", AtLeastOnce), subscription("open/x", AtLeastOnce)]);
    let mut kit = restart(with_root(the_rules()), recovered(vec![kept]));
    kit.connect(1, keeper("c"));
    let session = kit.engine.sessions.iter().next().unwrap().1;
    let left: Vec<_> = session.subscriptions.iter().map(|known| known.filter.as_str()).collect();
    assert_eq!(left, ["open/x"]);
}
