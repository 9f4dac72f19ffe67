//! What queues do beyond shares: priorities, selectors, message groups, delays, duplicates, expiry, limits, deadlines.

use super::*;
use crate::message::field;
use crate::selector::Selector;

/// A queue's, with as much room as a test needs.
pub(super) const QUEUE: Terms = Terms {
    is_queue: true,
    keeps: true,
    max_messages: 10_000,
    overflow: Overflow::Refuse,
    ack_deadline_ms: Some(60_000),
    ..TERMS
};

/// A message with user properties; its topic is its name.
pub(super) fn made(name: &str, properties: &[(&str, &str)], qos: Qos, expiry_s: Option<u32>) -> Arc<Message> {
    let mut fields = Vec::new();
    for (name, value) in properties {
        fields.push(field::USER_PROPERTY);
        for text in [name, value] {
            fields.extend_from_slice(&(text.len() as u16).to_be_bytes());
            fields.extend_from_slice(text.as_bytes());
        }
    }
    let publish = Publish {
        topic: TopicName::from_validated(name),
        fields: Fields::from_validated([&fields, &[], &[]]),
        payload: b"",
        qos,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s,
    };
    Message::new(&publish, SessionId::NOBODY, 0)
}

/// A queue, its terms and its time.
pub(super) struct Bench {
    pub(super) group: Group,
    pub(super) terms: Terms,
    pub(super) now: Now,
}

/// What left the queue: its name, the member's slot, the loan's number, the deliveries before.
pub(super) type Sent = (String, u32, u64, u32);

impl Bench {
    pub(super) fn of(terms: Terms) -> Self {
        Self { group: Group::new(1), terms, now: Now { mono_ms: 0, wall_ms: 1_000_000 } }
    }

    pub(super) fn with(terms: Terms, slots: std::ops::Range<u32>) -> Self {
        let mut bench = Self::of(terms);
        slots.for_each(|slot| bench.group.join(member(slot)).unwrap());
        bench
    }

    pub(super) fn around<T>(&mut self, does: impl FnOnce(&mut Group, &Around<'_>) -> T) -> T {
        let Self { group, terms, now } = self;
        does(group, &Around { now: *now, terms, seed: &seed(), own: WorkerId(0), credit: &[1, 1] })
    }

    pub(super) fn put(&mut self, name: &str, properties: &[(&str, &str)]) -> Choice {
        let message = made(name, properties, Qos::AtLeastOnce, None);
        self.around(|group, around| group.offer(&message, around))
    }

    pub(super) fn sent(&self, next: Next) -> Sent {
        let Next::Send { message, place, loan, deliveries } = next else { panic!("{next:?}") };
        let slot = self.group.members()[place].session.slot;
        (message.topic().as_str().to_owned(), slot, loan.unwrap(), deliveries)
    }

    pub(super) fn next(&mut self) -> Option<Sent> {
        let next = self.around(Group::next)?;
        Some(self.sent(next))
    }

    pub(super) fn next_name(&mut self) -> Option<String> {
        self.next().map(|(name, ..)| name)
    }

    /// Takes out everything that waits, one after the other, each acknowledged at once.
    pub(super) fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some((name, _, loan, _)) = self.next() {
            names.push(name);
            self.settle(loan, Outcome::Finished);
        }
        names
    }

    pub(super) fn settle(&mut self, loan: u64, outcome: Outcome) -> Settled {
        self.group.settle(loan, outcome, &self.terms)
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
    }

    fn next_due_ms(&mut self) -> u64 {
        self.around(|group, around| group.next_due_ms(around))
    }

    fn expired(&mut self) -> Vec<String> {
        let gone = self.group.take_expired(self.now.mono_ms);
        gone.into_iter().map(|gone| gone.message.topic().as_str().to_owned()).collect()
    }
}

pub(super) const GROUP: &str = "JMSXGroupID";

#[test]
fn priority_comes_first_and_then_arrival() {
    let mut bench = Bench::of(QUEUE);
    for (name, priority) in [("low", "0"), ("plain", "4"), ("odd", "high"), ("9", "9"), ("10", "10")] {
        assert!(matches!(bench.put(name, &[("priority", priority)]), Choice::Kept));
    }
    bench.put("none", &[]);
    bench.put("9 again", &[("priority", "9"), ("priority", "0")]);
    bench.group.join(member(0)).unwrap();
    assert_eq!(bench.names(), ["9", "10", "9 again", "plain", "odd", "none", "low"]);
    assert_eq!((bench.group.backlog(), bench.group.backlog_bytes()), (0, 0));
}

#[test]
fn priorities_above_the_highest_that_is_told_apart_are_alike() {
    let mut bench = Bench::of(Terms { max_priority: 1, ..QUEUE });
    for (name, priority) in [("0", "0"), ("1", "1"), ("9", "9"), ("2", "2")] {
        bench.put(name, &[("priority", priority)]);
    }
    bench.group.join(member(0)).unwrap();
    assert_eq!(bench.names(), ["1", "9", "2", "0"]);
}

#[test]
fn what_comes_back_goes_where_it_was() {
    let mut bench = Bench::with(Terms { max_outstanding: 3, ..QUEUE }, 0..1);
    let loans = ["1", "2", "3"].map(|name| loan(&bench.put(name, &[("priority", "5")])));
    bench.put("4", &[("priority", "5")]);
    bench.put("urgent", &[("priority", "9")]);
    for at in [1, 0] {
        assert!(matches!(bench.settle(loans[at], Outcome::Released), Settled::Back(0, Some(1))));
    }
    assert_eq!(bench.next().unwrap().0, "urgent");
    let (first, _, again, deliveries) = bench.next().unwrap();
    assert_eq!((&*first, deliveries), ("1", 1));
    assert_eq!(bench.next(), None);
    bench.settle(loans[2], Outcome::Finished);
    bench.settle(again, Outcome::Finished);
    assert_eq!((bench.next_name(), bench.next_name()), (Some("2".into()), Some("4".into())));
}

#[test]
fn what_is_delayed_takes_its_place_when_it_is_due() {
    let mut bench = Bench::with(Terms { max_outstanding: 1, ..QUEUE }, 0..1);
    let at = (bench.now.wall_ms + 2_000).to_string();
    assert!(matches!(bench.put("at", &[("x-deliver-at", &at), ("priority", "9")]), Choice::Kept));
    let both = [("AMQ_SCHEDULED_DELAY", "1000"), ("x-deliver-at", &*at)];
    assert!(matches!(bench.put("both", &both), Choice::Kept), "the shorter one holds");
    assert!(matches!(bench.put("after", &[("AMQ_SCHEDULED_DELAY", "1000")]), Choice::Kept));
    assert!(matches!(bench.put("past", &[("x-deliver-at", "999999")]), Choice::Send(..)));
    assert!(matches!(bench.put("waits", &[]), Choice::Kept));
    assert_eq!((bench.group.backlog(), bench.group.waiting().len()), (4, 1), "it is not shown");
    assert_eq!(bench.next_due_ms(), bench.now.mono_ms + 1_000);
    bench.pass(999);
    assert!(!bench.group.admit_due(bench.now));
    bench.pass(1);
    assert!(bench.group.admit_due(bench.now));
    assert_eq!(bench.group.waiting().len(), 3);
    // The wall clock is set back by a year: nobody waits longer for that.
    bench.now.wall_ms = 0;
    bench.now.mono_ms += 1_000;
    assert!(bench.group.admit_due(bench.now));
    bench.terms.max_outstanding = 10;
    assert_eq!(bench.names(), ["at", "waits", "both", "after"]);
    assert_eq!(bench.group.backlog_bytes(), 0);
}

#[test]
fn a_clock_that_is_set_brings_a_time_closer_and_leaves_a_delay_alone() {
    // A board without a clock of its own, before it has asked for the time.
    let mut bench = Bench::with(Terms { max_outstanding: 9, ..QUEUE }, 0..1);
    bench.now.wall_ms = 3_000;
    let year_2026_ms = 1_767_225_600_000_u64;
    let (sooner, later) = ((year_2026_ms + 1_000).to_string(), (year_2026_ms + 500_000).to_string());
    // As the broker itself writes a delay: the time is the unset clock's.
    let delay = [("AMQ_SCHEDULED_DELAY", "60000"), ("x-deliver-at", "63000")];
    for (name, properties) in [
        ("later", &[("x-deliver-at", &*later)][..]),
        ("sooner", &[("x-deliver-at", &*sooner)]),
        ("delayed", &delay),
    ] {
        assert!(matches!(bench.put(name, properties), Choice::Kept), "{name}");
    }
    let looks_ms = bench.now.mono_ms + due::CLOCK_INTERVAL_MS;
    assert_eq!(bench.next_due_ms(), looks_ms, "the clock does not say that it has been set");
    bench.pass(5_000);
    bench.now.wall_ms = year_2026_ms + 2_000;
    assert!(bench.group.admit_due(bench.now));
    assert_eq!(bench.next_name().as_deref(), Some("sooner"));
    assert_eq!(bench.next(), None);
    bench.now.mono_ms += 54_999;
    assert!(!bench.group.admit_due(bench.now));
    bench.now.mono_ms += 1;
    assert!(bench.group.admit_due(bench.now));
    assert_eq!(bench.next_name().as_deref(), Some("delayed"));
    // Nothing is left but what the clock decides.
    bench.now.wall_ms = year_2026_ms + 499_999;
    assert!(!bench.group.admit_due(bench.now));
    bench.now.wall_ms += 1;
    assert!(bench.group.admit_due(bench.now));
    assert_eq!(bench.next_name().as_deref(), Some("later"));
    // What is lent falls due next.
    assert_eq!((bench.group.backlog_bytes(), bench.next_due_ms()), (0, 5_000 + 60_000));
}

#[test]
fn no_restart_makes_a_delay_longer() {
    let mut bench = Bench::with(QUEUE, 0..1);
    // The clock was right when it came, and is not yet set after the restart.
    let properties = [("AMQ_SCHEDULED_DELAY", "60000"), ("x-deliver-at", "1767225660000")];
    let message = made("delayed", &properties, Qos::AtLeastOnce, None);
    bench.now.wall_ms = 3_000;
    bench.around(|group, around| group.restore(message, 0, around));
    assert_eq!(bench.next_due_ms(), bench.now.mono_ms + 60_000);
    // Nor does a dead letter wait again.
    let died = [(FIRST_DEATH, "expired"), ("x-deliver-at", "1767225660000")];
    assert!(matches!(bench.put("died", &died), Choice::Send(..)));
}

#[test]
fn the_same_id_is_taken_once() {
    let mut bench = Bench::with(Terms { max_outstanding: u32::MAX, ..QUEUE }, 0..1);
    let put = |bench: &mut Bench, id: &str| {
        let choice = bench.put("x", &[("x-dedup-id", id)]);
        !matches!(choice, Choice::Duplicate)
    };
    assert!(put(&mut bench, "a") && !put(&mut bench, "a") && put(&mut bench, "b"));
    bench.pass(seen::MEMORY_MS - 1);
    assert!(!put(&mut bench, "a"));
    bench.pass(1);
    assert!(put(&mut bench, "a"), "after ten minutes");
    for number in 0..seen::MAX_IDS - 1 {
        assert!(put(&mut bench, &format!("n{number}")));
    }
    assert!(!put(&mut bench, "a"), "as many as are remembered");
    assert!(put(&mut bench, "one more") && put(&mut bench, "a"));
    let died = [("x-dedup-id", "a"), (FIRST_DEATH, "rejected")];
    assert!(!matches!(bench.put("x", &died), Choice::Duplicate), "a dead letter may die twice");
}

#[test]
fn what_was_not_taken_may_come_again() {
    let mut bench = Bench::of(Terms { max_messages: 1, overflow: Overflow::DropNewest, ..QUEUE });
    let (first, second) = ([("x-dedup-id", "a")], [("x-dedup-id", "b")]);
    assert!(matches!(bench.put("1", &first), Choice::Kept));
    assert!(matches!(bench.put("2", &second), Choice::Full));
    assert!(matches!(bench.put("1", &first), Choice::Duplicate), "kept, full or not");
    bench.group.join(member(0)).unwrap();
    assert_eq!(bench.names(), ["1"]);
    assert!(matches!(bench.put("2", &second), Choice::Send(..)));
    assert!(matches!(bench.put("2", &second), Choice::Duplicate));
}

#[test]
fn what_the_group_does_not_keep_leaves_it() {
    let selector = |text| Some(Arc::new(Selector::parse(text).unwrap()));
    let mut bench = Bench::with(Terms { max_outstanding: 1, ..QUEUE }, 0..1);
    bench.group.set_filter(selector("kind < 3"));
    let kind = |kind| [("kind", kind), (GROUP, "g")];
    assert!(matches!(bench.put("3", &kind("3")), Choice::Unwanted));
    let Choice::Send(_, Some(loan)) = bench.put("lent", &kind("2")) else { panic!() };
    assert!(matches!(bench.put("1", &kind("1")), Choice::Kept));
    assert!(matches!(bench.put("2", &kind("2")), Choice::Kept));
    for (name, kind) in [("later 1", "1"), ("later 2", "2")] {
        let delayed = [("kind", kind), ("AMQ_SCHEDULED_DELAY", "60000")];
        assert!(matches!(bench.put(name, &delayed), Choice::Kept));
    }
    bench.group.set_filter(selector("kind = 1"));
    let gone = bench.group.take_unwanted();
    let gone: Vec<_> = gone.iter().map(|gone| gone.message.topic().as_str()).collect();
    assert_eq!(gone, ["2", "later 2"]);
    assert!(matches!(bench.settle(loan, Outcome::Released), Settled::Done(_)), "nobody asks for it");
    assert_eq!(bench.names(), ["1"]);
    bench.pass(60_000);
    assert!(bench.group.admit_due(bench.now));
    assert_eq!(bench.names(), ["later 1"]);
    bench.group.leave(session(0));
    assert!(bench.group.sticky.as_ref().is_some_and(|sticky| sticky.is_empty()));
    bench.group.set_filter(None);
    bench.group.join(member(0)).unwrap();
    assert!(matches!(bench.put("3", &kind("3")), Choice::Send(..)));
}

#[test]
fn what_waits_at_a_restart_is_known_and_counted() {
    let mut bench = Bench::of(QUEUE);
    let wall_ms = bench.now.wall_ms;
    let restored = [
        made("1", &[("x-dedup-id", "a"), ("priority", "1")], Qos::AtLeastOnce, None),
        made("2", &[(GROUP, "g")], Qos::AtLeastOnce, None),
        made("later", &[("x-deliver-at", &(wall_ms + 500).to_string())], Qos::AtLeastOnce, None),
    ];
    for (deliveries, message) in (0..).zip(restored) {
        bench.around(|group, around| group.restore(message, deliveries, around));
    }
    assert!(matches!(bench.put("x", &[("x-dedup-id", "a")]), Choice::Duplicate));
    bench.group.join(member(0)).unwrap();
    assert_eq!(bench.next().map(|(name, _, _, deliveries)| (name, deliveries)), Some(("2".into(), 1)));
    assert_eq!(bench.next_name().as_deref(), Some("1"));
    assert_eq!((bench.next(), bench.group.backlog()), (None, 1));
}

#[test]
fn what_has_expired_leaves_wherever_it_stands() {
    let mut bench = Bench::of(Terms { message_ttl_ms: Some(10_000), ..QUEUE });
    let expiring = |name, properties: &[_], expiry_s| made(name, properties, Qos::AtLeastOnce, expiry_s);
    let delayed = [("AMQ_SCHEDULED_DELAY", "60000")];
    for message in [
        expiring("urgent", &[("priority", "9")], None),
        expiring("3 s", &[], Some(3)),
        expiring("10 s", &[], Some(20)),
        expiring("delayed", &delayed, Some(3)),
    ] {
        bench.around(|group, around| group.offer(&message, around));
    }
    assert_eq!(bench.next_due_ms(), bench.now.mono_ms + 3_000);
    bench.pass(2_999);
    assert_eq!(bench.expired(), [""; 0]);
    bench.pass(1);
    assert_eq!(bench.expired(), ["3 s", "delayed"]);
    assert_eq!(bench.next_due_ms(), bench.now.mono_ms + 7_000);
    // Met on the way, it leaves without a search.
    bench.group.join(member(0)).unwrap();
    bench.pass(7_000);
    let next = bench.around(Group::next);
    assert!(matches!(next, Some(Next::Expired(_))), "{next:?}");
    assert_eq!(bench.expired(), ["10 s"]);
    assert_eq!((bench.group.backlog(), bench.group.backlog_bytes(), bench.next_due_ms()), (0, 0, u64::MAX));
}

#[test]
fn a_search_for_what_has_expired_is_made_once_a_second() {
    let mut bench = Bench::of(QUEUE);
    for seconds in [1, 9] {
        let message = made("x", &[], Qos::AtLeastOnce, Some(seconds));
        bench.around(|group, around| group.offer(&message, around));
        bench.pass(500);
    }
    assert_eq!(bench.expired().len(), 1);
    let message = made("y", &[], Qos::AtLeastOnce, Some(0));
    bench.around(|group, around| group.offer(&message, around));
    assert_eq!(
        (bench.expired().len(), bench.next_due_ms()),
        (0, bench.now.mono_ms + due::SEARCH_INTERVAL_MS)
    );
    bench.pass(due::SEARCH_INTERVAL_MS);
    assert_eq!(bench.expired().len(), 1);
}

#[test]
fn a_full_queue_does_as_it_was_told() {
    let fill = |overflow| {
        let mut bench = Bench::of(Terms { overflow, max_messages: 3, ..QUEUE });
        bench.put("low", &[("priority", "1")]);
        bench.put("high", &[("priority", "9")]);
        assert!(!bench.group.is_congested(&bench.terms, false));
        bench.put("later", &[("AMQ_SCHEDULED_DELAY", "1")]);
        bench
    };
    let mut refusing = fill(Overflow::Refuse);
    assert!(refusing.group.is_congested(&refusing.terms, false));
    assert!(matches!(refusing.put("more", &[]), Choice::Kept), "it was accepted before");
    let careless = made("0", &[], Qos::AtMostOnce, None);
    assert!(matches!(refusing.around(|group, around| group.offer(&careless, around)), Choice::Full));
    refusing.group.join(member(0)).unwrap();
    refusing.next();
    assert!(refusing.group.is_congested(&refusing.terms, false));
    refusing.next();
    assert!(!refusing.group.is_congested(&refusing.terms, false));

    let mut oldest = fill(Overflow::DropOldest);
    let Choice::Displaced(gone) = oldest.put("more", &[]) else { panic!() };
    assert_eq!(gone.iter().map(|gone| gone.message.topic().as_str()).collect::<Vec<_>>(), ["low"]);
    assert!(matches!(fill(Overflow::DropNewest).put("more", &[]), Choice::Full));
}

#[test]
fn what_is_not_answered_in_time_goes_to_another() {
    let mut bench = Bench::with(Terms { max_outstanding: 1, ..QUEUE }, 0..1);
    let first = bench.put("x", &[]);
    assert_eq!(bench.next_due_ms(), bench.now.mono_ms + 60_000);
    bench.pass(59_999);
    assert!(bench.group.take_overdue(bench.now.mono_ms, &bench.terms).is_none());
    bench.pass(1);
    let back = bench.group.take_overdue(bench.now.mono_ms, &bench.terms);
    assert!(matches!(back, Some(Settled::Back(0, Some(1)))), "{back:?}");
    assert_eq!((bench.group.loans(), bench.group.backlog()), (0, 1));
    // Not to the same: its client still has it, and no more room.
    bench.terms.max_outstanding = 2;
    assert_eq!(bench.next(), None);
    assert!(matches!(bench.put("y", &[]), Choice::Send(..)));
    bench.group.join(member(1)).unwrap();
    let (name, slot, again, deliveries) = bench.next().unwrap();
    assert_eq!((&*name, slot, deliveries), ("x", 1, 1));
    assert!(matches!(bench.settle(loan(&first), Outcome::Finished), Settled::Late));
    assert!(matches!(bench.settle(loan(&first), Outcome::Finished), Settled::Unknown), "and only once");
    assert!(matches!(bench.settle(again, Outcome::Finished), Settled::Done(0)));
    let held: Vec<_> = bench.group.members().iter().map(|member| member.outstanding).collect();
    assert_eq!(held, [1, 0]);
}

#[test]
fn who_answers_late_may_have_it_again() {
    let mut bench = Bench::with(Terms { max_outstanding: 1, ..QUEUE }, 0..1);
    let first = bench.put("x", &[]);
    bench.pass(60_000);
    bench.group.take_overdue(bench.now.mono_ms, &bench.terms).unwrap();
    assert_eq!(bench.next(), None);
    assert!(matches!(bench.settle(loan(&first), Outcome::Finished), Settled::Late));
    assert_eq!(bench.next().map(|(name, _, _, deliveries)| (name, deliveries)), Some(("x".into(), 1)));
}

#[test]
fn a_share_has_no_deadline_and_counts_nothing() {
    let mut bench = Bench::with(TERMS, 0..1);
    let number = loan(&bench.put("x", &[("priority", "9")]));
    assert_eq!(bench.next_due_ms(), u64::MAX);
    for _ in 0..5 {
        let last = bench.group.last_loan;
        assert!(matches!(bench.settle(last, Outcome::Released), Settled::Back(0, None)));
        assert_eq!(bench.next().unwrap().3, 0);
    }
    assert!(bench.group.last_loan > number);
}

#[test]
fn a_message_that_is_given_back_too_often_dies() {
    let mut bench = Bench::with(QUEUE, 0..1);
    let mut number = loan(&bench.put("x", &[]));
    for deliveries in 1..3 {
        assert!(matches!(bench.settle(number, Outcome::Returned), Settled::Back(0, None)), "it was not sent");
        number = bench.next().unwrap().2;
        let back = bench.settle(number, Outcome::Released);
        assert!(matches!(back, Settled::Back(0, Some(count)) if count == deliveries), "{back:?}");
        number = bench.next().unwrap().2;
    }
    let dead = bench.settle(number, Outcome::Released);
    assert!(matches!(&dead, Settled::Dead(Gone { deliveries: 3, .. }, Death::DeliveryLimit)), "{dead:?}");
    let number = loan(&bench.put("y", &[]));
    let dead = bench.settle(number, Outcome::Rejected);
    assert!(matches!(&dead, Settled::Dead(Gone { deliveries: 0, .. }, Death::Rejected)), "{dead:?}");
    assert_eq!((bench.group.backlog(), bench.group.loans()), (0, 0));
}

#[test]
fn at_qos_0_a_queue_keeps_and_lends_as_well() {
    let mut bench = Bench::of(Terms { max_outstanding: 1, ..QUEUE });
    let careless = made("0", &[], Qos::AtMostOnce, None);
    for _ in 0..2 {
        assert!(matches!(bench.around(|group, around| group.offer(&careless, around)), Choice::Kept));
    }
    bench.group.join(Member { qos: Qos::AtMostOnce, ..member(0) }).unwrap();
    let (_, _, loan, _) = bench.next().unwrap();
    assert_eq!(bench.next(), None, "its window bounds it");
    bench.settle(loan, Outcome::Finished);
    assert!(bench.next().is_some());
}

#[test]
fn whoever_wants_a_queue_alone_gets_it_alone_or_not() {
    let alone = |slot| Member { exclusive: true, ..member(slot) };
    let mut group = Group::new(1);
    group.join(alone(0)).unwrap();
    assert_eq!(group.join(member(1)), Err(JoinError::Exclusive));
    assert_eq!(group.join(alone(0)), Ok(()), "again");
    assert_eq!(group.join(member(0)), Ok(()), "and no longer alone");
    group.join(member(1)).unwrap();
    assert_eq!(group.join(alone(0)), Err(JoinError::Exclusive));
    assert_eq!(group.members().len(), 2);
    assert!(!group.members()[0].exclusive, "a refusal changes nothing");
}

#[test]
fn a_member_gets_no_more_than_its_window_nor_than_its_memory() {
    let mut bench = Bench::of(Terms { max_window: 3, ..QUEUE });
    bench.group.join(Member { window: 1, ..member(0) }).unwrap();
    assert!(matches!((bench.put("1", &[]), bench.put("2", &[])), (Choice::Send(..), Choice::Kept)));
    bench.group.join(Member { window: 100, ..member(0) }).unwrap();
    assert!(bench.next().is_some(), "another window, the same loans");
    assert!(matches!(bench.put("3", &[]), Choice::Send(..)));
    assert!(matches!(bench.put("4", &[]), Choice::Kept), "max_window");
    let cost = made("1", &[], Qos::AtLeastOnce, None).cost();
    let mut bench = Bench::with(Terms { max_outstanding: 100, max_lent_bytes: 2 * cost, ..QUEUE }, 0..1);
    let first = bench.put("1", &[]);
    assert!(matches!((bench.put("2", &[]), bench.put("3", &[])), (Choice::Send(..), Choice::Kept)));
    bench.group.leave(session(0));
    bench.group.join(member(0)).unwrap();
    assert_eq!(bench.next(), None, "it holds them still");
    bench.settle(loan(&first), Outcome::Finished);
    assert_eq!(bench.next_name().as_deref(), Some("3"));
}

#[test]
fn a_queue_that_was_full_has_some_room_before_it_takes_more() {
    let mut bench = Bench::with(Terms { max_messages: 16, max_outstanding: 100, ..QUEUE }, 0..1);
    bench.group.set_presence(session(0), false, false);
    for _ in 0..16 {
        bench.put("x", &[]);
    }
    bench.group.set_presence(session(0), true, false);
    let congested = |bench: &Bench, was| bench.group.is_congested(&bench.terms, was);
    assert!(congested(&bench, false));
    bench.next();
    assert!(!congested(&bench, false) && congested(&bench, true));
    bench.next();
    assert!(congested(&bench, true));
    bench.next();
    assert!(!congested(&bench, true), "an eighth is free");
}
