//! Every operation, written, closed and found again.

use noctule_core::id::Qos;
use noctule_core::message::MessagePool;
use noctule_core::store::{Exchange, SessionNumber, StoreOp};

use super::super::Committed;
use super::disk::Disk;
use super::kit::{
    acknowledged, at, body, completed, ended, group, kept, message, open, presence, publish, queue_of,
    received, recipient, retain, seen, sent, subscribed, told, will_kept, will_seen,
};

/// A disk with the sessions 1 to 9, kept for ever.
fn with_sessions() -> Disk {
    let disk = Disk::default();
    open(&disk, &at(0)).0.commit_at(1, (1..10).map(|session| kept(session, u32::MAX)).collect());
    disk
}

#[test]
fn an_empty_disk_becomes_an_empty_log() {
    let disk = Disk::default();
    for _ in 0..2 {
        let (log, recovered) = open(&disk, &at(0));
        assert_eq!(recovered.last_record, 0);
        assert_eq!(seen(&log, recovered), super::kit::Seen::default());
    }
}

#[test]
fn queues_come_back_in_the_order_of_publication_whatever_the_order_of_commits() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, vec![publish(message(12), &[1, 2, 3]), publish(message(10), &[1])]);
    log.commit_at(4, vec![publish(message(11), &[3, 1]), acknowledged(2, 12), acknowledged(2, 11)]);
    log.commit_at(5, vec![publish(message(300), &[1]), acknowledged(1, 10)]);
    drop(log);
    let (log, recovered) = open(&disk, &at(6));
    assert_eq!(queue_of(&recovered, 1), [11, 12, 300]);
    assert_eq!(queue_of(&recovered, 2), [0; 0]);
    assert_eq!(queue_of(&recovered, 3), [11, 12]);
    assert!(recovered.last_record >= 300 && recovered.last_session >= 9);
    let found = seen(&log, recovered);
    let first = &found.sessions[&3].queue[1];
    let expected = recipient(3);
    assert_eq!(first.message, told(&message(12)));
    assert_eq!((first.qos, first.retain), (expected.qos, expected.retain));
    assert_eq!(first.ids, expected.subscription_ids);
}

#[test]
fn messages_are_loaded_for_whom_they_are_and_for_nobody_else() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    assert!(
        log.load(SessionNumber(1), &[1], &mut None, &mut MessagePool::default()).unwrap()[0].1.is_none(),
        "there is no chunk at all"
    );
    let late = body("t", b"late", Qos::ExactlyOnce, 70_000, 2);
    log.commit_at(3, vec![publish(message(1), &[1, 3]), publish(late.clone(), &[3])]);
    let loaded = log.load(SessionNumber(3), &[2, 1, 7], &mut None, &mut MessagePool::default()).unwrap();
    let found: Vec<_> = loaded.iter().map(|(record, found)| (*record, found.is_some())).collect();
    assert_eq!(found, [(2, true), (1, true), (7, false)]);
    assert_eq!(told(&loaded[0].1.as_ref().unwrap().message), told(&late));
    assert_eq!(loaded[1].1.as_ref().unwrap().subscription_ids, recipient(3).subscription_ids);
    assert!(log.load(SessionNumber(1), &[2], &mut None, &mut MessagePool::default()).unwrap()[0].1.is_none());
    log.commit_at(4, vec![acknowledged(3, 2)]);
    assert!(log.load(SessionNumber(3), &[2], &mut None, &mut MessagePool::default()).unwrap()[0].1.is_none());
}

#[test]
fn what_cancels_out_within_a_commit_is_not_written() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, vec![presence(1, true)]);
    let (written, syncs) = (disk.written(), disk.syncs());
    let ops = vec![
        publish(message(1), &[1, 2]),
        acknowledged(2, 1),
        publish(message(2), &[3]),
        acknowledged(3, 9),
        acknowledged(1, 1),
        acknowledged(3, 2),
    ];
    assert_eq!(log.commit_at(3, ops), Committed { messages: 0, elided: 2, damaged: 0 });
    assert_eq!(log.commit_at(3, vec![acknowledged(3, 2), presence(77, false)]), Committed::default());
    // Numbers were used, which is written once in a million.
    assert!(disk.written() - written < 40_000);
    assert!(disk.syncs() - syncs <= 1);
    let ops = vec![
        publish(message(3), &[1, 2]),
        acknowledged(2, 3),
        publish(message(4), &[1, 2]),
        ended(1, &[3, 4]),
    ];
    assert_eq!(log.commit_at(4, ops), Committed { messages: 1, elided: 1, damaged: 0 });
    assert_eq!(log.usage().records, 1);
    drop(log);
    let (_, recovered) = open(&disk, &at(5));
    assert_eq!((queue_of(&recovered, 1), queue_of(&recovered, 2)), (vec![], vec![4]));
}

#[test]
fn a_session_comes_back_as_it_was_told_last() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(1, vec![kept(1, 60), kept(2, 5), kept(3, 0), subscribed(1, "a/b", Qos::AtMostOnce)]);
    log.commit_at(
        2,
        vec![
            kept(2, 90),
            subscribed(2, "$share/g/f", Qos::AtLeastOnce),
            subscribed(2, "x", Qos::AtLeastOnce),
            subscribed(1, "a/b", Qos::ExactlyOnce),
            subscribed(1, "é/#", Qos::ExactlyOnce),
        ],
    );
    log.commit_at(
        3,
        vec![
            StoreOp::Unsubscribed { session: SessionNumber(1), filter: "é/#".into() },
            StoreOp::Unsubscribed { session: SessionNumber(2), filter: "x".into() },
            subscribed(2, "x", Qos::ExactlyOnce),
            presence(1, false),
            presence(1, true),
            presence(2, false),
        ],
    );
    drop(log);
    let (log, recovered) = open(&disk, &at(1_000));
    let found = seen(&log, recovered).sessions;
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2], "3 ended with its connection");
    let (one, two) = (&found[&1], &found[&2]);
    assert_eq!((&*one.client_id, one.user.as_deref(), one.expiry_s), ("client 1", None, 60));
    assert_eq!((&*two.client_id, two.user.as_deref(), two.expiry_s), ("client 2", Some("user"), 90));
    assert_eq!((one.expires_ms, two.expires_ms), (61_000, 90_003));
    let filters = |found: &super::kit::SessionSeen| -> Vec<(String, Qos)> {
        found.subscriptions.iter().map(|one| (one.filter.to_string(), one.qos)).collect()
    };
    assert_eq!(filters(one), [("a/b".to_owned(), Qos::ExactlyOnce)]);
    assert_eq!(
        filters(two),
        [("$share/g/f".to_owned(), Qos::AtLeastOnce), ("x".to_owned(), Qos::ExactlyOnce)]
    );
    assert!(two.subscriptions[0].no_local && !two.subscriptions[0].retain_as_published);
    assert_eq!(two.subscriptions[0].id.unwrap().get(), 2);
}

#[test]
fn an_ended_session_leaves_nothing_and_takes_nothing_from_others() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(
        3,
        vec![
            publish(message(1), &[1, 2]),
            publish(message(2), &[1]),
            subscribed(1, "a", Qos::AtLeastOnce),
            sent(1, 1, 1, 7),
            subscribed(2, "a", Qos::AtLeastOnce),
            sent(2, 2, 1, 7),
        ],
    );
    log.commit_at(4, vec![ended(1, &[1, 2])]);
    // A publisher elsewhere has not heard of it yet.
    assert_eq!(log.commit_at(5, vec![publish(message(3), &[1])]).elided, 1);
    assert_eq!(log.usage().records, 1);
    drop(log);
    let (log, recovered) = open(&disk, &at(6));
    let found = seen(&log, recovered).sessions;
    assert!(!found.contains_key(&1));
    assert_eq!((found[&2].subscriptions.len(), found[&2].outbound.len()), (1, 1));
}

#[test]
fn a_number_that_is_kept_anew_does_not_get_what_was_for_it_before() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, vec![publish(message(1), &[1, 2]), subscribed(1, "old", Qos::AtLeastOnce)]);
    log.commit_at(
        4,
        vec![
            publish(message(2), &[1]),
            ended(1, &[1, 2]),
            kept(1, u32::MAX),
            publish(message(3), &[1]),
            subscribed(1, "new", Qos::AtLeastOnce),
        ],
    );
    drop(log);
    let (log, recovered) = open(&disk, &at(6));
    assert_eq!((queue_of(&recovered, 1), queue_of(&recovered, 2)), (vec![3], vec![1]));
    let found = seen(&log, recovered).sessions;
    assert_eq!(found[&1].subscriptions.iter().map(|one| &*one.filter).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn what_comes_before_its_session_is_for_it_all_the_same() {
    // As after the file was set aside, in which its session was known.
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, vec![publish(message(1), &[77])]);
    log.commit_at(4, vec![kept(77, u32::MAX)]);
    drop(log);
    assert_eq!(queue_of(&open(&disk, &at(5)).1, 77), [1]);
}

#[test]
fn of_a_topics_retained_messages_the_highest_version_stays() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(
        1,
        vec![retain("a", b"5", 5), retain("a", b"4", 4), retain("b", b"6", 6), retain("c", b"7", 7)],
    );
    log.commit_at(2, vec![retain("a", b"3", 3), retain("b", b"", 8), retain("c", b"", 6)]);
    log.commit_at(3, vec![retain("b", b"late", 7), retain("d", b"", 10), retain("d", b"late", 9)]);
    let expired = |topic, version| StoreOp::RetainedExpired {
        message: body(topic, b"x", Qos::AtLeastOnce, 0, 0),
        version,
    };
    log.commit_at(4, vec![retain("e", b"11", 11), retain("f", b"12", 12)]);
    log.commit_at(5, vec![expired("e", 11), expired("f", 11), expired("a", 4)]);
    log.commit_at(6, vec![retain("e", b"late", 10)]);
    drop(log);
    let (log, recovered) = open(&disk, &at(7));
    assert!(recovered.last_version >= 12);
    let found = seen(&log, recovered).retained;
    let versions: Vec<_> = found.iter().map(|(topic, (version, _))| (topic.as_str(), *version)).collect();
    assert_eq!(versions, [("a", 5), ("c", 7), ("f", 12)]);
    let expected = told(&body("a", b"5", Qos::AtLeastOnce, u64::MAX, 0));
    assert_eq!(found["a"].1, expected);
}

#[test]
fn a_message_may_be_retained_and_wait_at_once() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    let StoreOp::Publish { message, recipients, inbound, .. } = publish(message(5), &[1]) else { panic!() };
    log.commit_at(3, vec![StoreOp::Publish { message, recipients, inbound, retained: Some(2) }]);
    drop(log);
    let (log, recovered) = open(&disk, &at(4));
    let found = seen(&log, recovered);
    assert_eq!((found.sessions[&1].queue.len(), found.retained.len()), (1, 1));
    assert_eq!(found.retained["sensors/one"].1.record, 0, "it is not that message of the queue");
}

#[test]
fn exchanges_come_back_in_the_order_in_which_they_began() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, (1..=6).map(|record| publish(message(record), &[1])).collect());
    log.commit_at(4, vec![sent(1, 1, 3, 30), sent(1, 1, 1, 40), sent(1, 1, 2, 10), sent(1, 1, 4, 20)]);
    log.commit_at(5, vec![received(1, 1, 1, 40), received(1, 1, 0, 50), sent(1, 1, 5, 5), completed(1, 20)]);
    let inbound = |packet_id, record| StoreOp::Publish {
        message: message(record),
        recipients: Box::default(),
        retained: None,
        inbound: Some((SessionNumber(1), packet_id)),
    };
    log.commit_at(6, vec![inbound(8, 50), inbound(9, 51), inbound(7, 52)]);
    log.commit_at(
        7,
        vec![
            StoreOp::InboundReleased { session: SessionNumber(1), packet_id: 9 },
            sent(1, 1, 6, 60),
            completed(1, 60),
        ],
    );
    drop(log);
    let (log, recovered) = open(&disk, &at(8));
    assert_eq!(queue_of(&recovered, 1), [4, 6], "what is under way does not wait, nor what was received");
    let session = &recovered.sessions[0];
    let kinds = session.outbound.iter().map(|(id, exchange)| match exchange {
        Exchange::Sent { loaded, .. } => (id.get(), loaded.message.record()),
        Exchange::Received => (id.get(), 0),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [(30, 3), (40, 0), (10, 2), (50, 0), (5, 5)]);
    assert_eq!(seen(&log, recovered).sessions[&1].inbound, [7, 8]);
}

#[test]
fn an_exchange_without_its_message_ends_with_pubrel() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, vec![publish(message(1), &[1, 2]), sent(1, 1, 1, 7), sent(1, 1, 99, 8)]);
    log.commit_at(4, vec![acknowledged(1, 1)]);
    drop(log);
    let (log, recovered) = open(&disk, &at(5));
    assert_eq!(seen(&log, recovered).sessions[&1].outbound, [(7, None), (8, None)]);
}

#[test]
fn a_group_keeps_its_messages_but_those_it_has_lent() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, vec![group(20), group(21)]);
    log.commit_at(4, (1..=4).map(|record| publish(message(record), &[20, 21, 1])).collect());
    log.commit_at(5, vec![sent(1, 20, 2, 7), acknowledged(20, 1), received(2, 20, 3, 8)]);
    let ended = StoreOp::GroupEnded { session: SessionNumber(21), records: [1, 2, 3, 4].into() };
    log.commit_at(6, vec![ended]);
    drop(log);
    let (log, recovered) = open(&disk, &at(7));
    let found = seen(&log, recovered);
    let twenty = &found.groups[&20];
    assert_eq!((twenty.group.as_str(), twenty.filter.as_str()), ("group 20", "a/#"));
    assert_eq!(twenty.queue, [(told(&message(4)), 0)]);
    assert!(!found.groups.contains_key(&21));
    let (owner, delivery) = found.sessions[&1].outbound[0].1.as_ref().unwrap();
    assert_eq!((*owner, delivery.message.record), (20, 2));
    assert_eq!(found.sessions[&2].outbound, [(8, None)]);
    assert_eq!(found.sessions[&1].queue.len(), 4, "its own are its own");
}

#[test]
fn a_will_outlives_its_session_until_it_is_published() {
    let disk = Disk::default();
    let (mut log, _) = open(&disk, &at(0));
    log.commit_at(10, vec![kept(1, 100), will_kept(1, 7), will_kept(2, 7), kept(3, 100), will_kept(3, 500)]);
    log.commit_at(20, vec![kept(4, 100), will_kept(4, 9), presence(4, false), kept(5, 100), will_kept(5, 1)]);
    log.commit_at(30, vec![ended(5, &[]), will_kept(6, 1), StoreOp::WillGone { session: SessionNumber(6) }]);
    drop(log);
    let (log, recovered) = open(&disk, &at(1_000));
    let found = seen(&log, recovered);
    let due = |session: u64| found.sessions[&session].will.as_ref().map(|(_, due_ms)| *due_ms);
    assert_eq!(due(1), Some(8_000), "counted from the restart: its client was there");
    assert_eq!(due(3), Some(101_000), "with the session at the latest");
    assert_eq!(due(4), Some(9_020), "counted from when its client left");
    assert_eq!(found.wills.keys().copied().collect::<Vec<_>>(), [2, 5]);
    assert_eq!(found.wills[&2], will_seen(&super::kit::will(2, 7)));
    assert_eq!(found.sessions[&3].will.as_ref().unwrap().0, will_seen(&super::kit::will(3, 500)));
}

#[test]
fn messages_of_any_size_come_back() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    let sizes = [0, 1, 3_900, 4_100, 30_000, 64_900, 65_100, 300_000, 5 << 20];
    let messages: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(record, &size)| {
            body("t", &vec![record as u8; size], Qos::AtLeastOnce, u64::MAX, record as u64 + 1)
        })
        .collect();
    log.commit_at(3, messages.iter().map(|message| publish(message.clone(), &[1])).collect());
    drop(log);
    let (log, recovered) = open(&disk, &at(4));
    let found = seen(&log, recovered);
    let queue = &found.sessions[&1].queue;
    assert!(
        queue
            .iter()
            .map(|delivery| &delivery.message)
            .eq(&messages.iter().map(|one| told(one)).collect::<Vec<_>>())
    );
}

#[test]
fn numbers_are_never_given_twice() {
    let disk = with_sessions();
    let (mut log, _) = open(&disk, &at(2));
    log.commit_at(3, vec![publish(message(5_000_000), &[1]), retain("a", b"x", 70), kept(4_000_000, 0)]);
    log.commit_at(4, vec![acknowledged(1, 5_000_000), retain("a", b"", 71), ended(4_000_000, &[])]);
    for ms in 5..8 {
        // Enough to have the chunks with the high numbers cleaned away.
        log.commit_at(
            ms,
            vec![
                publish(body("t", &[0; 900_000], Qos::AtLeastOnce, u64::MAX, ms), &[1]),
                acknowledged(1, ms - 1),
            ],
        );
    }
    drop(log);
    for _ in 0..2 {
        let (_, recovered) = open(&disk, &at(9));
        assert!(recovered.last_record >= 5_000_000 && recovered.last_record < 7_000_000);
        assert!(recovered.last_session >= 4_000_000 && recovered.last_version >= 71);
    }
}
