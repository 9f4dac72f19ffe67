//! Disks that fail, at run time and at the start, and what is left afterwards.

use redb::{Database, TableDefinition};

use super::*;

#[test]
fn a_failing_disk_refuses_who_asks_and_keeps_the_rest_until_it_is_well() {
    let troubles = [(ENOSPC, Trouble::DiskFull), (EROFS, Trouble::ReadOnly), (EIO, Trouble::Failing)];
    for (errno, trouble) in troubles {
        for after in 0..8 {
            let mut rig = Rig::new();
            rig.ask(1, publish(1, &[1, 2]));
            rig.run();
            assert_eq!(rig.answers(), [Settled(0, 1)]);
            rig.disk.fails(after, Mishap::Error(errno));
            rig.submit(Ticket::NONE, acknowledged(1, 1));
            rig.ask(2, publish(2, &[1]));
            rig.ask(3, StoreOp::InboundReleased { session: SessionNumber(1), packet_id: 7 });
            rig.ask(4, subscribed(2));
            rig.submit(Ticket::NONE, publish(5, &[3]));
            rig.run();
            if rig.health().trouble().is_none() {
                assert!(after > 3, "a commit takes more than {after} writes");
                continue;
            }
            assert_eq!(rig.answers(), [Failed(0, 2), Failed(0, 4)], "after {after} writes");
            assert_eq!(rig.health().trouble(), Some(trouble));
            assert_eq!(rig.refused(publish(6, &[1])), trouble.reason());
            rig.submit(Ticket::NONE, acknowledged(2, 1));
            rig.handle.load(request(3, &[5]));
            rig.run_later();
            assert_eq!(rig.answers(), [], "it is still ill");
            rig.disk.heals();
            rig.run_later();
            rig.run_later();
            assert_eq!(rig.health().trouble(), None);
            assert_eq!(rig.answers(), [Settled(0, 3), Answer::Loaded(vec![5], vec![])]);
            rig.ask(7, publish(7, &[2]));
            rig.run();
            assert_eq!(rig.answers(), [Settled(0, 7)]);
            assert!(rig.disk.lock().aside.is_empty());
            let owed = rig.restarted().owed();
            let expected = BTreeMap::from([(2, vec![7]), (3, vec![5])]);
            assert_eq!(owed, expected, "errno {errno} after {after} writes");
        }
    }
}

#[test]
fn it_is_tried_again_after_ever_longer_pauses() {
    let mut rig = Rig::new();
    rig.disk.fails(0, Mishap::Error(EIO));
    rig.ask(1, publish(1, &[1]));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let until_us = rig.run();
        pauses.push((until_us - rig.now_us) / 1000);
        rig.now_us = until_us;
    }
    assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
    rig.disk.heals();
    rig.run();
    rig.ask(2, publish(2, &[1]));
    rig.run();
    rig.disk.fails(0, Mishap::Error(EIO));
    rig.ask(3, publish(3, &[1]));
    assert_eq!(rig.run() - rig.now_us, 250_000, "after a success from the beginning");
    assert_eq!(rig.health().totals().reopenings, 8);
}

#[test]
fn one_panic_costs_a_reopening() {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1]));
    rig.run();
    rig.disk.fails(1, Mishap::PanicOnce);
    rig.ask(2, publish(2, &[1]));
    rig.writer.turn(rig.now_us);
    rig.writer.turn(rig.now_us);
    assert_eq!(rig.health().trouble(), Some(Trouble::Damaged));
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 1), Failed(0, 2)]);
    assert_eq!(rig.health().trouble(), None);
    rig.ask(3, publish(3, &[1]));
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 3)]);
    assert_eq!(rig.health().totals().set_aside, 0);
    assert_eq!(rig.restarted().owed(), BTreeMap::from([(1, vec![1, 3])]));
}

#[test]
fn a_file_that_makes_no_sense_again_is_set_aside_and_the_broker_serves_on() {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1]));
    rig.run();
    rig.disk.lock().bytes.iter_mut().skip(64).for_each(|byte| *byte = 0xff);
    rig.disk.fails(1, Mishap::PanicOnce);
    rig.ask(2, publish(2, &[1]));
    rig.submit(Ticket::NONE, kept(1));
    rig.submit(Ticket::NONE, publish(3, &[1]));
    rig.writer.turn(rig.now_us);
    rig.writer.turn(rig.now_us);
    rig.run();
    assert_eq!(rig.health().trouble(), None);
    assert_eq!(rig.health().totals().set_aside, 1);
    assert_eq!(rig.disk.lock().aside.len(), 1);
    rig.ask(4, publish(4, &[1]));
    rig.run();
    let answers = [Settled(0, 1), Failed(0, 2), Emptied(0), Emptied(1), Settled(0, 4)];
    assert_eq!(rig.answers(), answers, "everybody is told before anything else");
    assert_eq!(
        rig.restarted().owed(),
        BTreeMap::from([(1, vec![3, 4])]),
        "what was kept is in the fresh file"
    );
}

#[test]
fn what_even_a_fresh_file_panics_at_is_left_out() {
    let mut rig = Rig::new();
    rig.submit(Ticket::NONE, acknowledged(1, 1));
    rig.ask(1, StoreOp::InboundReleased { session: SessionNumber(1), packet_id: 7 });
    rig.disk.fails(0, Mishap::Panic);
    for _ in 0..20 {
        rig.run_later();
    }
    assert_eq!(rig.disk.lock().aside.len(), 1, "not one file after the other");
    assert_eq!(rig.answers(), [Failed(0, 1)], "it was answered once");
    rig.disk.heals();
    rig.run_later();
    assert_eq!(rig.answers(), [Emptied(0), Emptied(1)], "once it takes what they submit");
    rig.ask(2, publish(2, &[1]));
    rig.run();
    assert_eq!(rig.answers(), [Settled(0, 2)]);
}

#[test]
fn a_load_that_fails_twice_finds_nothing_and_costs_nobody_else() {
    let mut rig = Rig::new();
    // More than redb keeps in memory.
    for record in 1..=40 {
        rig.ask(record, publish_payload(record, &[1], &[b'x'; 60_000]));
    }
    rig.run();
    let mut rig = rig.restarted();
    rig.handle.load(request(1, &[1]));
    rig.handle.load(request(1, &[40]));
    rig.disk.lock().on_read = Some((0, Mishap::Error(EIO)));
    rig.run();
    assert!(rig.health().trouble().is_some(), "the test needs a load that reads the disk");
    assert_eq!(rig.answers(), []);
    rig.disk.heals();
    let before = rig.disk.lock().reads;
    rig.run_later();
    assert_eq!(rig.answers(), [Answer::Loaded(vec![1], vec![]), Answer::Loaded(vec![40], vec![])]);
    let reads = rig.disk.lock().reads - before;
    // Now the file opens as before, and the last read of the two loads fails again.
    rig.handle.load(request(1, &[1]));
    rig.handle.load(request(1, &[40]));
    rig.disk.lock().on_read = Some((0, Mishap::Error(EIO)));
    rig.run();
    rig.disk.lock().on_read = Some((reads - 1, Mishap::Error(EIO)));
    rig.run_later();
    rig.disk.heals();
    rig.run_later();
    assert_eq!(rig.answers(), [Answer::Loaded(vec![1], vec![]), Answer::Loaded(vec![], vec![40])]);
    assert_eq!((rig.health().trouble(), rig.health().totals().records_lost), (None, 1));
}

#[test]
fn a_file_that_was_taken_away_is_opened_anew_before_anything_is_written() {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1]));
    rig.run_later();
    let opened = rig.disk.lock().opened;
    rig.disk.lock().is_elsewhere = true;
    rig.ask(2, publish(2, &[1]));
    rig.run_later();
    assert_eq!(rig.answers(), [Settled(0, 1), Settled(0, 2)], "nobody had to be refused");
    assert_eq!((rig.disk.lock().opened, rig.health().trouble()), (opened + 1, None));
}

#[test]
fn the_end_on_a_failing_disk_says_so_and_answers_everybody() {
    let mut rig = Rig::new();
    rig.disk.fails(0, Mishap::Error(ENOSPC));
    rig.ask(1, publish(1, &[1]));
    rig.ask(2, StoreOp::InboundReleased { session: SessionNumber(1), packet_id: 7 });
    rig.run();
    rig.handle.load(request(1, &[1]));
    rig.submit(Ticket::NONE, acknowledged(1, 9));
    rig.shared.lock().close();
    assert_eq!(rig.run(), 0);
    let mailboxes = Arc::clone(&rig.mailboxes);
    let error = rig.writer.close().unwrap_err().to_string();
    assert!(error.contains("operations were not written to the store: the disk is full"), "{error}");
    let answers: Vec<_> = mem::take(&mut *mailboxes.0.lock().unwrap())
        .into_iter()
        .flat_map(|(worker, events)| events.into_iter().map(move |event| answer(worker, event)))
        .collect();
    assert_eq!(answers, [Failed(0, 1), Answer::Loaded(vec![], vec![1]), Failed(0, 2)]);
}

#[test]
fn a_damaged_file_does_not_keep_the_broker_from_starting() {
    let mut rig = Rig::new();
    rig.ask(1, publish(1, &[1]));
    rig.run();
    let disk = rig.disk.clone();
    drop(rig);
    // The superheader itself; then pages behind it, for which redb has panics.
    for damage in [0..64_usize, 4096..1 << 20] {
        let disk = TestDisk(Arc::new(Mutex::new(Platter {
            bytes: disk.lock().bytes.clone(),
            ..Platter::default()
        })));
        disk.lock().bytes.iter_mut().skip(damage.start).take(damage.len()).for_each(|byte| *byte = 0);
        let mut rig = Rig::open(disk);
        assert_eq!(rig.health().totals().set_aside, 1, "{damage:?}");
        rig.ask(1, publish(1, &[1]));
        rig.run();
        assert_eq!(rig.answers(), [Settled(0, 1)]);
    }
}

#[test]
fn a_version_that_was_never_ours_is_damage() {
    let Rig { writer, disk, .. } = Rig::new();
    drop(writer);
    // The first byte of redb's two commit slots.
    for slot in [64, 192] {
        disk.lock().bytes[slot] = 2;
    }
    assert_eq!(Rig::open(disk).health().totals().set_aside, 1);
}

#[test]
fn somebody_elses_database_is_not_touched() {
    let disk = TestDisk::default();
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("accounts")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let Err(fault) = Rig::try_open(disk.clone()) else { panic!("it was taken for ours") };
    assert!(matches!(fault, Fault::Foreign(_)), "{fault:?}");
    assert!(disk.lock().aside.is_empty());
}

#[test]
fn a_disk_that_fails_at_the_start_is_an_error() {
    for errno in [EIO, EROFS, ENOSPC] {
        let disk = TestDisk::default();
        disk.fails(0, Mishap::Error(errno));
        let Err(fault) = Rig::try_open(disk.clone()) else { panic!("errno {errno} was overlooked") };
        assert!(matches!(fault, Fault::Trouble(..)), "{fault:?}");
        assert!(disk.lock().aside.is_empty(), "nothing is wrong with the file");
    }
}
