//! Transactions on a disk that fails: refused only if nothing of them is there.

use super::*;

fn transaction() -> StoreOp {
    StoreOp::Transaction([publish(2, &[2]), acknowledged(1, 1), publish(3, &[1, 3])].into())
}

/// The message 1 is for session 1 when the transaction is submitted.
fn begun() -> Rig {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1]));
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 1)]);
    rig
}

fn before() -> BTreeMap<u64, Vec<u64>> {
    BTreeMap::from([(1, vec![1])])
}

fn after() -> BTreeMap<u64, Vec<u64>> {
    BTreeMap::from([(1, vec![3]), (2, vec![2]), (3, vec![3])])
}

#[test]
fn a_transaction_is_settled_when_all_of_it_is_there() {
    let mut rig = begun();
    rig.ask(2, transaction());
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 2)]);
    assert_eq!(rig.health().totals().messages_stored, 3);
    assert_eq!(rig.restarted().owed(), after());
}

#[test]
fn the_process_may_end_at_any_write() {
    let mut seen = [0; 2];
    for writes in 0..16 {
        let mut rig = begun();
        rig.disk.fails(writes, Mishap::Error(EIO));
        rig.ask(2, transaction());
        rig.writer.turn(rig.now_us);
        rig.writer.turn(rig.now_us);
        let owed = rig.restarted().owed();
        assert!([before(), after()].contains(&owed), "after {writes} writes: {owed:?}");
        seen[usize::from(owed == after())] += 1;
    }
    assert!(seen.iter().all(|&times| times > 0), "{seen:?}");
}

#[test]
fn one_that_was_not_made_is_refused_as_soon_as_that_is_certain() {
    for (errno, writes) in [(ENOSPC, 0), (ENOSPC, 2), (EROFS, 1), (EIO, 1)] {
        let mut rig = begun();
        rig.disk.fails(writes, Mishap::Error(errno));
        rig.submit(Ticket::NONE, acknowledged(3, 99));
        rig.ask(2, transaction());
        rig.ask(3, StoreOp::Transaction([acknowledged(1, 99), acknowledged(2, 99)].into()));
        rig.ask(4, publish(4, &[1]));
        rig.run();
        assert_eq!(rig.answers(), [Failed(0, 4)], "{errno} after {writes} writes: the other is in doubt");
        rig.run_later();
        assert_eq!(rig.answers(), [], "nor can the file be opened");
        rig.disk.heals();
        rig.run_later();
        rig.run_later();
        assert_eq!(rig.answers(), [Failed(0, 2), Settled(0, 3)], "{errno} after {writes} writes");
        assert_eq!(rig.restarted().owed(), before(), "{errno} after {writes} writes");
    }
}

#[test]
fn one_that_was_made_is_written_again_until_that_has_returned() {
    let mut made = 0;
    for syncs in 0..4 {
        let mut rig = begun();
        rig.disk.lock().on_sync = Some((syncs, Mishap::Error(EIO)));
        rig.ask(2, transaction());
        rig.run();
        if rig.health().trouble().is_none() {
            assert_eq!(rig.answers(), [Settled(0, 2)]);
            continue;
        }
        assert_eq!(rig.answers(), []);
        rig.disk.heals();
        // It is open again, and fails once more: what was made once is not refused.
        rig.disk.fails(0, Mishap::Error(ENOSPC));
        rig.run_later();
        rig.run_later();
        let answers = rig.answers();
        rig.disk.heals();
        rig.run_later();
        rig.run_later();
        if answers == [Failed(0, 2)] {
            assert_eq!(rig.restarted().owed(), before(), "after {syncs} syncs");
            continue;
        }
        assert_eq!((answers, rig.answers()), (vec![], vec![Settled(0, 2)]), "after {syncs} syncs");
        rig.ask(5, StoreOp::Transaction([acknowledged(2, 2), publish(5, &[2])].into()));
        rig.run();
        assert_eq!(rig.answers(), [Settled(0, 5)]);
        let mut owed = after();
        owed.insert(2, vec![5]);
        assert_eq!(rig.restarted().owed(), owed, "after {syncs} syncs");
        made += 1;
    }
    assert!(made > 0, "no sync failed behind a commit that was made");
}

#[test]
fn a_file_that_is_set_aside_takes_those_in_doubt_along() {
    let mut rig = begun();
    rig.disk.lock().bytes.iter_mut().skip(64).for_each(|byte| *byte = 0xff);
    rig.disk.fails(1, Mishap::PanicOnce);
    rig.ask(2, transaction());
    rig.submit(Ticket::NONE, kept(1));
    rig.run();
    rig.run();
    assert_eq!(rig.health().totals().set_aside, 1);
    assert_eq!(rig.answers(), [Failed(0, 2), Emptied(0), Emptied(1)]);
    assert_eq!(rig.restarted().owed(), BTreeMap::new());
}

#[test]
fn the_end_answers_those_in_doubt() {
    let mut rig = begun();
    rig.disk.fails(1, Mishap::Error(EIO));
    rig.ask(2, transaction());
    rig.run();
    assert_eq!(rig.answers(), []);
    rig.shared.lock().close();
    rig.disk.lock().on_read = Some((0, Mishap::Error(EIO)));
    while rig.writer.turn(rig.now_us) != Turn::Done {}
    let Rig { writer, shared, mailboxes, .. } = rig;
    assert!(writer.close().is_err());
    assert!(shared.lock().is_closing());
    let posted = mailboxes.0.lock().unwrap();
    assert!(
        matches!(posted.as_slice(), [(_, events)] if matches!(events.as_slice(), [StoreEvent::Failed(Ticket(2))]))
    );
}
