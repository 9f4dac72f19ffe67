//! What the store costs and gives, for people to read:
//! `cargo test --release --lib store::tests::measure -- --ignored --nocapture --test-threads 1`.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};

use super::*;

const THREADS: u64 = 4;
const IN_FLIGHT: u64 = 2_500;
const PAYLOAD: usize = 100;

/// Beside the test binary, which is on a disk and not in memory.
fn directory(name: &str) -> PathBuf {
    let directory = std::env::current_exe().unwrap().with_file_name(format!("measure-{name}"));
    let _ = fs::remove_dir_all(&directory);
    directory
}

#[test]
#[ignore = "a measurement"]
fn a_message_acknowledged_in_time() {
    let directory = directory("pair");
    let (store, _, mut workers) = serve(&settings(&directory), 1);
    let worker = &mut workers[0];
    worker.tell(StoreOp::Presence { session: SessionNumber(1), online: true });
    let rounds = 2_000_000_u64;
    for _ in 0..3 {
        let ops: Vec<_> = (0..1000).map(|record| publish(record, 1, &[1; PAYLOAD])).collect();
        let mut spent = Duration::ZERO;
        for round in 0..rounds / 1000 {
            let batch = ops.clone();
            let started = Instant::now();
            for (record, op) in batch.into_iter().enumerate() {
                worker.ask(round, op);
                worker.tell(acknowledged(1, record as u64));
                while worker.handle.poll().is_some() {}
            }
            spent += started.elapsed();
        }
        println!("submit, acknowledge and poll: {} ns a message", spent.as_nanos() / u128::from(rounds));
    }
    println!("{:?}", store.health().totals());
    drop(store);
    let _ = fs::remove_dir_all(directory);
}

/// Messages a second of a closed loop over the store.
fn stored(name: &str, acknowledge: bool, seconds: u64) -> (f64, Totals) {
    let directory = directory(name);
    let (store, _, workers) = serve(&settings(&directory), THREADS as u16);
    let stop = AtomicBool::new(false);
    // As the engines number them: across workers.
    let record = AtomicU64::new(1);
    let started = Instant::now();
    let settled: u64 = thread::scope(|scope| {
        let (stop, record) = (&stop, &record);
        let run = |mut worker: Worker| {
            let submit = |worker: &mut Worker, count: u64| {
                for _ in 0..count {
                    let record = record.fetch_add(1, Relaxed);
                    worker.ask(record, publish(record, 1 + record % 4, &[1; PAYLOAD]));
                }
            };
            submit(&mut worker, IN_FLIGHT);
            let mut settled = 0;
            while !stop.load(Relaxed) {
                let mut done = 0;
                let mut next = Some(worker.event());
                while let Some(event) = next {
                    let StoreEvent::Settled(ticket) = event else { panic!("{event:?}") };
                    if acknowledge {
                        worker.tell(acknowledged(1 + ticket.0 % 4, ticket.0));
                    }
                    done += 1;
                    next = worker.mail.try_recv().ok();
                }
                settled += done;
                submit(&mut worker, done);
            }
            settled
        };
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || run(worker))).collect();
        thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let rate = settled as f64 / started.elapsed().as_secs_f64();
    let totals = store.health().totals();
    drop(store);
    let _ = fs::remove_dir_all(directory);
    (rate, totals)
}

/// The same closed loop with nothing but a preallocated file and `fdatasync` behind it.
fn raw(seconds: u64) -> f64 {
    #[derive(Default)]
    struct Desk {
        bytes: Vec<u8>,
        whose: Vec<usize>,
    }
    let directory = directory("raw");
    fs::create_dir(&directory).unwrap();
    let file = fs::File::create(directory.join("log")).unwrap();
    let length = 64 * MIB;
    file.write_all_at(&vec![0; length as usize], 0).unwrap();
    file.sync_all().unwrap();
    let (desk, work, stop) = (Mutex::new(Desk::default()), Condvar::new(), AtomicBool::new(false));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
    let started = Instant::now();
    let settled: u64 = thread::scope(|scope| {
        let (desk, work, stop) = (&desk, &work, &stop);
        scope.spawn(move || {
            let mut at = 0;
            while !stop.load(Relaxed) {
                let mut guard = desk.lock().unwrap();
                if guard.bytes.is_empty() {
                    guard = work.wait_timeout(guard, Duration::from_millis(50)).unwrap().0;
                }
                let taken = std::mem::take(&mut *guard);
                drop(guard);
                if at + taken.bytes.len() as u64 > length {
                    at = 0;
                }
                file.write_all_at(&taken.bytes, at).unwrap();
                at += taken.bytes.len() as u64;
                file.sync_data().unwrap();
                for whose in taken.whose {
                    let _ = senders[whose].send(());
                }
            }
        });
        let run = |mail: Receiver<()>, number: usize| {
            let submit = |count: u64| {
                for _ in 0..count {
                    let mut desk = desk.lock().unwrap();
                    desk.bytes.extend_from_slice(&[1; PAYLOAD]);
                    desk.whose.push(number);
                    if desk.whose.len() == 1 {
                        work.notify_one();
                    }
                }
            };
            submit(IN_FLIGHT);
            let mut settled = 0;
            while !stop.load(Relaxed) {
                let Ok(()) = mail.recv_timeout(Duration::from_millis(50)) else { continue };
                let done = 1 + mail.try_iter().count() as u64;
                settled += done;
                submit(done);
            }
            settled
        };
        let threads: Vec<_> = receivers
            .into_iter()
            .zip(0..)
            .map(|(mail, number)| scope.spawn(move || run(mail, number)))
            .collect();
        thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let rate = settled as f64 / started.elapsed().as_secs_f64();
    let _ = fs::remove_dir_all(directory);
    rate
}

#[test]
#[ignore = "a measurement"]
fn a_closed_loop_beside_a_bare_file() {
    for _ in 0..3 {
        let bare = raw(3);
        println!("a bare file and fdatasync: {bare:.0} messages/s");
        for (what, acknowledge) in [("stored", false), ("stored and acknowledged later", true)] {
            let (rate, totals) = stored("loop", acknowledge, 3);
            println!(
                "{what}: {rate:.0} messages/s ({:.0} % of it), {:.0} bytes written a message, {:.0} messages a commit",
                100.0 * rate / bare,
                totals.bytes_written as f64 / totals.messages_stored as f64,
                totals.messages_stored as f64 / totals.commits as f64
            );
        }
    }
}
