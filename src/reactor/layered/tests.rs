//! What layers keep of a peer that does not read, and what it costs to keep a frame until it is whole.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use noctule_core::id::{ConnId, WorkerId};
use noctule_core::refusal::Refusal;

use crate::reactor::{
    Accept, Closed, Config, Handler, Io, Layer, Mailboxes, Next, Opened, Origin, OutBuf, Pull, listen, run,
};

const BUDGET: usize = 4 << 20;
const CHUNK: usize = 64 << 10;

/// How many bytes of one read are answered at most.
const ANSWERED: usize = 32;

/// Changes nothing.
#[derive(Debug)]
struct Glass;

impl Layer for Glass {
    fn open(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, _: &mut BytesMut) -> Opened {
        plain.extend_from_slice(wire);
        Opened { consumed: wire.len(), next: Next::GoOn, news: false }
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut BytesMut) -> Result<(), Refusal> {
        sealed.extend_from_slice(plain);
        Ok(())
    }

    fn close(&mut self, _: &mut BytesMut) {}

    fn is_costly(&self) -> bool {
        false
    }
}

/// Has something for everybody, without end, or a long answer to every byte.
struct Flood {
    answers: bool,
    /// Most bytes that have waited for one peer.
    most: Arc<AtomicUsize>,
}

impl Handler for Flood {
    type Mail = ();
    type Layer = Glass;

    fn accepted(&mut self, io: &mut Io<Self>, conn: ConnId, _: Origin, _: usize) -> Accept<Glass> {
        io.mark_dirty(conn);
        Accept::Behind(Glass)
    }

    fn read(&mut self, io: &mut Io<Self>, conn: ConnId, bytes: &[u8]) -> usize {
        for _ in bytes.iter().take(ANSWERED) {
            io.out(conn).unwrap().put().extend_from_slice(&[7; CHUNK]);
        }
        self.most.fetch_max(io.waiting_bytes(conn), Relaxed);
        bytes.len()
    }

    fn mail(&mut self, io: &mut Io<Self>, _: WorkerId, (): ()) {
        io.stop();
    }

    fn pull(&mut self, io: &mut Io<Self>, conn: ConnId, out: &mut OutBuf) -> Pull {
        if self.answers {
            return Pull::Done;
        }
        while out.has_room() {
            out.put().extend_from_slice(&[7; CHUNK]);
        }
        self.most.fetch_max(io.waiting_bytes(conn) + out.len(), Relaxed);
        Pull::More
    }

    fn closed(&mut self, _: &mut Io<Self>, _: ConnId, _: Closed) {}

    fn turn(&mut self, _: &mut Io<Self>) -> Option<u64> {
        None
    }

    fn accept_failed(&mut self, _: &mut Io<Self>, _: usize, _: &std::io::Error) {}
}

/// A worker with that handler, while `talk` does; most bytes that have waited.
fn most_waiting(answers: bool, talk: impl FnOnce(TcpStream)) -> usize {
    let socket = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let mailboxes = Mailboxes::new(1);
    let most = Arc::new(AtomicUsize::new(0));
    let (handler, posted) = (Flood { answers, most: Arc::clone(&most) }, mailboxes.clone());
    let worker = thread::spawn(move || {
        let config = Config { budget_bytes: BUDGET, ..Config::default() };
        run(WorkerId(0), config, mailboxes, vec![socket.into()], handler).map(drop)
    });
    let peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    talk(peer);
    posted.post(WorkerId(0), ());
    worker.join().unwrap().unwrap();
    let most = most.load(Relaxed);
    assert!(most > BUDGET, "nothing has waited");
    most
}

#[track_caller]
fn read(peer: &mut TcpStream, chunks: usize) {
    let mut chunk = vec![0; CHUNK];
    for _ in 0..chunks {
        peer.read_exact(&mut chunk).unwrap();
        assert!(chunk.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn what_is_sealed_for_a_slow_reader_counts_against_its_budget() {
    // Each time that the socket takes a little it is pulled for again.
    let most = most_waiting(false, |mut peer| read(&mut peer, 24 * BUDGET / CHUNK));
    assert!(most <= 2 * BUDGET + CHUNK, "{most} bytes have waited");
}

#[test]
fn answers_that_are_sealed_and_not_read_stop_the_reading_too() {
    let most = most_waiting(true, |mut peer| {
        for _ in 0..100 {
            peer.write_all(&[1; ANSWERED]).unwrap();
            thread::sleep(Duration::from_millis(2));
            // Half of what it has asked for.
            read(&mut peer, ANSWERED / 2);
        }
    });
    assert!(most <= 2 * BUDGET + ANSWERED * CHUNK, "{most} bytes have waited");
}

/// Consumes nothing, says a byte to every read, and tells the processor's time of its thread, ns, at each.
struct Hoard {
    behind: bool,
    times: Arc<Mutex<Vec<u64>>>,
}

impl Handler for Hoard {
    type Mail = ();
    type Layer = Glass;

    fn accepted(&mut self, _: &mut Io<Self>, _: ConnId, _: Origin, _: usize) -> Accept<Glass> {
        if self.behind { Accept::Behind(Glass) } else { Accept::Keep }
    }

    fn read(&mut self, io: &mut Io<Self>, conn: ConnId, bytes: &[u8]) -> usize {
        if bytes.len() >= FRAME {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            self.times.lock().unwrap().push(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64);
            io.out(conn).unwrap().put().extend_from_slice(&[7]);
        }
        0
    }

    fn mail(&mut self, io: &mut Io<Self>, _: WorkerId, (): ()) {
        io.stop();
    }

    fn pull(&mut self, _: &mut Io<Self>, _: ConnId, _: &mut OutBuf) -> Pull {
        Pull::Done
    }

    fn closed(&mut self, _: &mut Io<Self>, _: ConnId, _: Closed) {}

    fn turn(&mut self, _: &mut Io<Self>) -> Option<u64> {
        None
    }

    fn accept_failed(&mut self, _: &mut Io<Self>, _: usize, _: &std::io::Error) {}
}

/// What of a frame has come when the rest comes byte by byte.
const FRAME: usize = 16 << 20;

/// The processor's time for so many more bytes, ns.
fn cost(behind: bool, bytes: usize) -> u64 {
    let socket = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let mailboxes = Mailboxes::new(1);
    let times = Arc::default();
    let (handler, posted) = (Hoard { behind, times: Arc::clone(&times) }, mailboxes.clone());
    let worker = thread::spawn(move || {
        run(WorkerId(0), Config::default(), mailboxes, vec![socket.into()], handler).map(drop)
    });
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_nodelay(true).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    peer.write_all(&vec![1; FRAME]).unwrap();
    peer.read_exact(&mut [0]).unwrap();
    for _ in 0..bytes {
        peer.write_all(&[1]).unwrap();
        peer.read_exact(&mut [0]).unwrap();
    }
    posted.post(WorkerId(0), ());
    worker.join().unwrap().unwrap();
    let times: std::sync::MutexGuard<'_, Vec<u64>> = times.lock().unwrap();
    times.last().unwrap() - times.first().unwrap()
}

#[test]
fn what_is_kept_of_a_large_frame_is_not_copied_for_each_byte_that_follows() {
    let (bare, behind) = (cost(false, 200), cost(true, 200));
    // Copied, it would be a thousand times as much.
    assert!(behind < 20 * bare, "{behind} ns behind a layer, {bare} ns without");
}
