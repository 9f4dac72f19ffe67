//! The mailboxes under threads, and under loom every order of posting and falling asleep.

use super::*;

const ME: WorkerId = WorkerId(0);
const OTHER: WorkerId = WorkerId(1);

fn batch(control: &[u32], bulk: &[u32]) -> Lanes<u32> {
    let lane = |mail: &[u32]| mail.iter().map(|mail| (OTHER, *mail)).collect();
    Lanes { control: lane(control), bulk: lane(bulk) }
}

/// A worker that sleeps while there is no mail must see every piece, in order, whenever it is posted.
#[cfg(loom)]
#[test]
fn no_wake_is_lost() {
    loom::model(|| {
        let mailboxes = Mailboxes::new(1);
        let sender = mailboxes.clone();
        let posting = loom::thread::spawn(move || {
            sender.post_batch(ME, &mut batch(&[], &[1]));
            sender.post_batch(ME, &mut batch(&[9], &[2]));
        });
        let mut inbox = Lanes::default();
        loom::future::block_on(std::future::poll_fn(|cx| {
            mailboxes.register(ME, cx.waker().clone());
            loop {
                mailboxes.collect(ME, &mut inbox);
                if inbox.bulk.len() == 2 {
                    return std::task::Poll::Ready(());
                }
                if mailboxes.sleep(ME) {
                    return std::task::Poll::Pending;
                }
            }
        }));
        assert_eq!(inbox.bulk, [(OTHER, 1), (OTHER, 2)]);
        assert_eq!(inbox.control, [(OTHER, 9)]);
        posting.join().unwrap();
    });
}

#[cfg(not(loom))]
mod plain {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        task::{Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_a_sleeping_worker_is_woken_and_once() {
        let (mailboxes, wakes) = (Mailboxes::new(1), Arc::new(Counter::default()));
        let woken = || wakes.0.load(Ordering::Relaxed);
        mailboxes.register(ME, Waker::from(Arc::clone(&wakes)));
        mailboxes.post_batch(ME, &mut batch(&[], &[1]));
        assert_eq!(woken(), 0, "it is awake and will look");
        assert!(!mailboxes.sleep(ME), "there is mail");
        mailboxes.collect(ME, &mut Lanes::default());
        assert!(mailboxes.sleep(ME));
        mailboxes.post_batch(ME, &mut batch(&[2], &[]));
        mailboxes.post(ME, 3);
        assert_eq!(woken(), 1);
    }

    #[test]
    fn lanes_keep_their_order() {
        let mailboxes = Mailboxes::new(1);
        mailboxes.post_batch(ME, &mut batch(&[], &[1, 2]));
        mailboxes.post_batch(ME, &mut batch(&[7], &[3]));
        mailboxes.post(ME, 8);
        mailboxes.post_behind(ME, 4);
        let mut inbox = Lanes::default();
        mailboxes.collect(ME, &mut inbox);
        assert_eq!(inbox.bulk, [(OTHER, 1), (OTHER, 2), (OTHER, 3), (OUTSIDE, 4)]);
        assert_eq!(inbox.control, [(OTHER, 7), (OUTSIDE, 8)]);
    }

    #[test]
    fn mail_for_nobody_is_dropped() {
        let mailboxes = Mailboxes::new(1);
        mailboxes.post(OTHER, 1);
        let mut inbox = Lanes::default();
        mailboxes.collect(ME, &mut inbox);
        assert!(inbox.is_empty());
    }
}
