//! The loop against real sockets on the loopback, with a handler that obeys its clients.
//!
//! A frame is a length (u32), a command and a body; see `World::obey`. Every read has a timeout, so that what hangs
//! fails.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use noctule_core::{
    id::{ConnId, Qos, SessionId, WorkerId},
    message::{Fields, Message, Publish},
    topic::TopicName,
};

use super::*;

const BIG: usize = 100_000;
const PAUSE_MS: u64 = 60;

enum Mail {
    Stop,
    Moved(Box<Detached<NoLayer>>),
    /// Begin to count: post so many numbers to the other worker.
    Go(u32),
    Number(u32),
}

/// What the tests want to know of the handlers.
#[derive(Default)]
struct Seen {
    closed: Mutex<Vec<String>>,
    most_waiting: AtomicUsize,
    pulls: AtomicUsize,
    accept_failures: AtomicUsize,
    connections: AtomicUsize,
}

struct World {
    seen: Arc<Seen>,
    big: Arc<Message>,
    /// Who has how many big messages coming.
    floods: Vec<(ConnId, u32)>,
    paused: Vec<(u64, ConnId)>,
    /// Who is to get something later, whether it ends its side before or not.
    owed: Vec<(u64, ConnId)>,
    /// Who has ended its side.
    ended: Vec<ConnId>,
    to_post: u32,
    posted: u32,
    expected: u32,
    counted: mpsc::Sender<u32>,
}

impl World {
    fn obey(&mut self, io: &mut Io<Self>, conn: ConnId, command: u8, body: &[u8], rest: &[u8]) {
        match command {
            b'e' => io.out(conn).unwrap().put().extend_from_slice(body),
            b'w' => {
                let worker = io.worker().0.to_be_bytes()[1];
                io.out(conn).unwrap().put().extend_from_slice(&[worker]);
            }
            b'c' => {
                io.out(conn).unwrap().put().extend_from_slice(&[b'c'; 5 * BIG]);
                io.close(conn, Close::AfterFlush);
                assert!(io.out(conn).is_none());
            }
            b'x' => io.close(conn, Close::Now),
            b'p' => {
                io.pause_reads(conn);
                self.paused.push((io.now().mono_ms + PAUSE_MS, conn));
            }
            b'o' => self.owed.push((io.now().mono_ms + u64::from(body[0]) * 100, conn)),
            b'f' => {
                self.floods.push((conn, u32::from(body[0])));
                io.mark_dirty(conn);
            }
            b'm' => {
                let moved = Mail::Moved(Box::new(io.detach(conn, rest).unwrap()));
                io.post_control(WorkerId(1 - io.worker().0), moved);
            }
            other => panic!("command {other}"),
        }
    }
}

impl Handler for World {
    type Mail = Mail;
    type Layer = NoLayer;

    fn accepted(&mut self, _: &mut Io<Self>, _: ConnId, peer: Origin, listener: usize) -> Accept<NoLayer> {
        assert_eq!((peer.is_local(), listener), (true, 0));
        Accept::Keep
    }

    fn read(&mut self, io: &mut Io<Self>, conn: ConnId, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some((length, body)) = rest.split_first_chunk::<4>() {
            let Some((frame, behind)) = body.split_at_checked(u32::from_be_bytes(*length) as usize) else {
                break;
            };
            rest = behind;
            self.obey(io, conn, frame[0], &frame[1..], rest);
            if frame[0] == b'm' {
                return bytes.len();
            }
            if matches!(frame[0], b'p' | b'c' | b'x') {
                break;
            }
        }
        bytes.len() - rest.len()
    }

    fn mail(&mut self, io: &mut Io<Self>, from: WorkerId, mail: Mail) {
        match mail {
            Mail::Stop => io.stop(),
            Mail::Moved(detached) => drop(io.adopt(*detached).unwrap()),
            Mail::Go(count) => self.to_post = count,
            Mail::Number(number) => {
                assert_eq!((from.0, number), (1 - io.worker().0, self.expected));
                self.expected += 1;
                let _ = self.counted.send(number);
            }
        }
    }

    fn pull(&mut self, io: &mut Io<Self>, conn: ConnId, out: &mut OutBuf) -> Pull {
        assert_eq!(io.waiting_bytes(conn), 0, "the buffer is at hand, not in its place");
        self.seen.pulls.fetch_add(1, Relaxed);
        let Some(flood) = self.floods.iter_mut().find(|flood| flood.0 == conn) else { return Pull::Done };
        while flood.1 > 0 {
            if !out.has_room() {
                return Pull::More;
            }
            flood.1 -= 1;
            out.put().extend_from_slice(b"BIG:");
            out.put_payload(&self.big);
            self.seen.most_waiting.fetch_max(out.len(), Relaxed);
        }
        Pull::Done
    }

    fn ended(&mut self, _: &mut Io<Self>, conn: ConnId) -> Ended {
        assert!(!self.ended.contains(&conn), "it is told twice");
        self.ended.push(conn);
        if self.owed.iter().any(|owed| owed.1 == conn) { Ended::Wait } else { Ended::Close }
    }

    fn closed(&mut self, _: &mut Io<Self>, conn: ConnId, why: Closed) {
        let why = match why {
            Closed::PeerClosed => "peer".to_owned(),
            Closed::Ours => "ours".to_owned(),
            Closed::Error(error) => error.to_string(),
        };
        self.seen.closed.lock().unwrap().push(why);
        self.paused.retain(|paused| paused.1 != conn);
        self.owed.retain(|owed| owed.1 != conn);
    }

    fn turn(&mut self, io: &mut Io<Self>) -> Option<u64> {
        self.seen.connections.store(io.len(), Relaxed);
        let now = io.now().mono_ms;
        let (due, later) = self.paused.drain(..).partition(|paused| paused.0 <= now);
        self.paused = later;
        let due: Vec<_> = due;
        for (_, conn) in due {
            io.resume_reads(conn);
        }
        let (due, later): (Vec<_>, _) = self.owed.drain(..).partition(|owed| owed.0 <= now);
        self.owed = later;
        for (_, conn) in &self.owed {
            // Nothing is read of who has ended, whatever the handler asks for.
            io.resume_reads(*conn);
        }
        for (_, conn) in due {
            io.out(conn).unwrap().put().extend_from_slice(b"owed");
            io.close(conn, Close::AfterFlush);
        }
        // A few at a time, so that the receiver falls asleep in between as often as may be.
        for number in self.posted..self.to_post.min(self.posted + 7) {
            io.post(WorkerId(1 - io.worker().0), Mail::Number(number));
            self.posted = number + 1;
        }
        let due = self.paused.iter().chain(&self.owed).map(|(due, _)| *due).min();
        if self.posted < self.to_post { Some(now) } else { due }
    }

    fn accept_failed(&mut self, _: &mut Io<Self>, _: usize, _: &std::io::Error) {
        self.seen.accept_failures.fetch_add(1, Relaxed);
    }
}

struct Server {
    address: SocketAddr,
    mailboxes: Mailboxes<Mail>,
    seen: Arc<Seen>,
    counted: mpsc::Receiver<u32>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Workers of which only the first listens, so that tests know where a connection begins.
    fn start(workers: u16, config: Config) -> Self {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let mailboxes = Mailboxes::new(workers);
        let seen = Arc::new(Seen::default());
        let (counted_tx, counted) = mpsc::channel();
        let payload = vec![b'b'; BIG];
        let publish = Publish {
            topic: TopicName::from_validated("t"),
            fields: Fields::default(),
            payload: &payload,
            qos: Qos::AtMostOnce,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        };
        let big = Message::new(&publish, SessionId::NOBODY, 0);
        let mut listeners = vec![listener];
        let threads = (0..workers)
            .map(|worker| {
                let world = World {
                    seen: Arc::clone(&seen),
                    big: Arc::clone(&big),
                    floods: Vec::new(),
                    paused: Vec::new(),
                    owed: Vec::new(),
                    ended: Vec::new(),
                    to_post: 0,
                    posted: 0,
                    expected: 0,
                    counted: counted_tx.clone(),
                };
                let (mailboxes, listeners) = (mailboxes.clone(), std::mem::take(&mut listeners));
                thread::spawn(move || {
                    drop(
                        run(
                            WorkerId(worker),
                            config,
                            mailboxes,
                            listeners.into_iter().map(Socket::from).collect(),
                            world,
                        )
                        .unwrap(),
                    );
                })
            })
            .collect();
        Self { address, mailboxes, seen, counted, threads }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Waits for a connection's end to be told, and that nothing else is.
    fn closed(&self, why: &[&str]) {
        until(|| self.seen.closed.lock().unwrap().len() >= why.len());
        assert_eq!(*self.seen.closed.lock().unwrap(), why);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for worker in 0..self.threads.len() {
            self.mailboxes.post(WorkerId(worker as u16), Mail::Stop);
        }
        for thread in self.threads.drain(..) {
            // A handler's failed assertion is a failed test.
            if thread.join().is_err() && !thread::panicking() {
                panic!("a worker has panicked");
            }
        }
    }
}

fn until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(10), "waited in vain");
        thread::sleep(Duration::from_millis(1));
    }
}

fn frame(command: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = (1 + body.len() as u32).to_be_bytes().to_vec();
    frame.push(command);
    frame.extend_from_slice(body);
    frame
}

fn expect(stream: &mut TcpStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == wanted, "got {:?}", String::from_utf8_lossy(&got[..got.len().min(80)]));
}

fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn frames_split_at_every_byte() {
    let server = Server::start(1, Config::default());
    let frames = [frame(b'e', b"one"), frame(b'e', b""), frame(b'e', b"three")].concat();
    let mut stream = server.connect();
    for split in 0..=frames.len() {
        stream.write_all(&frames[..split]).unwrap();
        thread::sleep(Duration::from_millis(2));
        stream.write_all(&frames[split..]).unwrap();
        expect(&mut stream, b"onethree");
    }
    for byte in &frames {
        stream.write_all(&[*byte]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    expect(&mut stream, b"onethree");
}

#[test]
fn a_large_frame_and_its_answer_pass_in_pieces() {
    let server = Server::start(1, Config::default());
    let body: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
    let mut reading = server.connect();
    socket2::SockRef::from(&reading).set_recv_buffer_size(64 * 1024).unwrap();
    let mut writing = reading.try_clone().unwrap();
    let frames = [frame(b'e', &body), frame(b'e', b"small"), frame(b'e', &body)].concat();
    let writer = thread::spawn(move || writing.write_all(&frames).unwrap());
    // Slowly at first, so that the server's writes are short.
    for piece in body.chunks(50_000).take(4) {
        thread::sleep(Duration::from_millis(5));
        expect(&mut reading, piece);
    }
    expect(&mut reading, &body[200_000..]);
    expect(&mut reading, b"small");
    expect(&mut reading, &body);
    writer.join().unwrap();
}

#[test]
fn a_slow_reader_is_bounded_and_hinders_nobody() {
    let config = Config::default();
    let server = Server::start(1, config);
    let mut slow = server.connect();
    slow.write_all(&frame(b'f', &[200])).unwrap();
    thread::sleep(Duration::from_millis(50));
    let mut quick = server.connect();
    let begin = Instant::now();
    for _ in 0..100 {
        quick.write_all(&frame(b'e', b"quick")).unwrap();
        expect(&mut quick, b"quick");
    }
    assert!(begin.elapsed() < Duration::from_secs(20));
    let most = server.seen.most_waiting.load(Relaxed);
    assert!(most > config.budget_bytes && most < config.budget_bytes + BIG + 4, "{most} bytes");
    let message = [b"BIG:".to_vec(), vec![b'b'; BIG]].concat();
    for _ in 0..200 {
        expect(&mut slow, &message);
    }
}

#[test]
fn who_is_only_answered_is_not_pulled() {
    let server = Server::start(1, Config::default());
    let mut stream = server.connect();
    for command in [frame(b'e', b"one"), [frame(b'e', b"two"), frame(b'f', &[1])].concat()] {
        assert_eq!(server.seen.pulls.load(Relaxed), 0);
        stream.write_all(&command).unwrap();
        expect(&mut stream, command.get(5..8).unwrap());
    }
    // Marked behind an answer that had it flushed already.
    expect(&mut stream, b"BIG:");
    assert_eq!(server.seen.pulls.load(Relaxed), 1);
}

#[test]
fn who_has_a_large_message_unread_is_still_read() {
    let server = Server::start(1, Config { budget_bytes: BIG / 4, ..Config::default() });
    let mut lagging = server.connect();
    lagging.write_all(&frame(b'f', &[200])).unwrap();
    until(|| server.seen.most_waiting.load(Relaxed) > BIG);
    thread::sleep(Duration::from_millis(50));
    // Its command is obeyed although more than twice the budget waits for it.
    lagging.write_all(&frame(b'x', b"")).unwrap();
    server.closed(&["ours"]);
}

#[test]
fn who_asks_without_reading_is_not_read() {
    let server = Server::start(1, Config::default());
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let ask = frame(b'e', &[b'a'; 10_000]);
    let mut sent = 0;
    // The kernel's buffers take some megabytes; an unbounded server would take all of it.
    let refused = (0..10_000).find_map(|_| match stream.write(&ask[sent % ask.len()..]) {
        Ok(written) => {
            sent += written;
            None
        }
        Err(error) => Some(error.kind()),
    });
    assert!(matches!(refused, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{refused:?} after {sent}");
    let whole = sent / ask.len();
    expect(&mut stream, &vec![b'a'; whole * 10_000]);
}

#[test]
fn answers_still_reach_a_peer_that_closed_its_side() {
    let server = Server::start(1, Config::default());
    let mut stream = server.connect();
    stream.write_all(&frame(b'e', b"last")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    expect(&mut stream, b"last");
    expect_end(&mut stream);
    server.closed(&["peer"]);
}

#[test]
fn who_ended_its_side_still_gets_what_it_is_owed_if_it_comes_in_time() {
    let server = Server::start(1, Config { owed_ms: 20_000, ..Config::default() });
    for bytes in [frame(b'o', &[1]), [frame(b'e', b"now "), frame(b'o', &[1])].concat()] {
        let mut stream = server.connect();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        if bytes.len() > 6 {
            expect(&mut stream, b"now ");
        }
        expect(&mut stream, b"owed");
        expect_end(&mut stream);
    }
    server.closed(&["ours", "ours"]);
    // Nobody is kept for longer, and nobody who has vanished.
    let server = Server::start(1, Config { owed_ms: 180, ..Config::default() });
    let mut late = server.connect();
    late.write_all(&frame(b'o', &[255])).unwrap();
    late.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut late);
    server.closed(&["peer"]);
}

#[test]
fn closing_writes_everything_first_and_does_not_reset() {
    let server = Server::start(1, Config::default());
    let mut stream = server.connect();
    stream.write_all(&[frame(b'c', b""), frame(b'e', &[0; 60_000])].concat()).unwrap();
    thread::sleep(Duration::from_millis(20));
    stream.write_all(&frame(b'e', &[0; 60_000])).unwrap();
    expect(&mut stream, &[b'c'; 5 * BIG]);
    expect_end(&mut stream);
    assert!(server.seen.closed.lock().unwrap().is_empty(), "it waits for our end");
    drop(stream);
    server.closed(&["ours"]);
}

#[test]
fn closing_does_not_wait_for_ever() {
    let server = Server::start(1, Config { linger_ms: 50, ..Config::default() });
    let (mut silent, deaf) = (server.connect(), server.connect());
    silent.write_all(&frame(b'c', b"")).unwrap();
    expect(&mut silent, &[b'c'; 5 * BIG]);
    server.closed(&["ours"]);
    (&deaf).write_all(&[frame(b'f', &[200]), frame(b'c', b"")].concat()).unwrap();
    server.closed(&["ours", "ours"]);
}

#[test]
fn closing_at_once() {
    let server = Server::start(1, Config::default());
    let mut stream = server.connect();
    stream.write_all(&frame(b'x', b"")).unwrap();
    expect_end(&mut stream);
    server.closed(&["ours"]);
}

#[test]
fn a_paused_connection_is_read_where_it_stopped() {
    let server = Server::start(1, Config::default());
    let mut stream = server.connect();
    let begin = Instant::now();
    stream
        .write_all(&[frame(b'p', b""), frame(b'e', b"kept"), frame(b'e', b"half")[..6].to_vec()].concat())
        .unwrap();
    thread::sleep(Duration::from_millis(20));
    stream.write_all(&[&frame(b'e', b"half")[6..], &frame(b'e', b"unread")].concat()).unwrap();
    expect(&mut stream, b"kepthalfunread");
    // Counted from the whole millisecond in which its turn began.
    assert!(begin.elapsed() >= Duration::from_millis(PAUSE_MS - 1));
}

#[test]
fn a_connection_moves_with_what_is_unread() {
    let server = Server::start(2, Config::default());
    let mut stream = server.connect();
    let there_and_back =
        [frame(b'w', b""), frame(b'm', b""), frame(b'w', b""), frame(b'm', b""), frame(b'w', b"")];
    stream.write_all(&[frame(b'e', b"unsent"), there_and_back.concat()].concat()).unwrap();
    expect(&mut stream, b"unsent\x00\x01\x00");
    stream.write_all(&[frame(b'm', b""), frame(b'e', b"later")[..3].to_vec()].concat()).unwrap();
    thread::sleep(Duration::from_millis(20));
    stream.write_all(&[&frame(b'e', b"later")[3..], &frame(b'w', b"")].concat()).unwrap();
    expect(&mut stream, b"later\x01");
    drop(stream);
    server.closed(&["peer"]);
}

#[test]
fn mail_between_workers_arrives_whole_and_in_order() {
    const COUNT: u32 = 50_000;
    let server = Server::start(2, Config::default());
    server.mailboxes.post(WorkerId(0), Mail::Go(COUNT));
    server.mailboxes.post(WorkerId(1), Mail::Go(COUNT));
    for received in 0..2 * COUNT {
        if server.counted.recv_timeout(Duration::from_secs(20)).is_err() {
            panic!("{received} of {} arrived", 2 * COUNT);
        }
    }
}

#[test]
fn an_idle_connection_owns_no_buffer() {
    // What a slot costs is paid by every connection; tokio's registration and the waker come on top.
    assert!(size_of::<conn::Conn<NoLayer>>() <= 112, "{} bytes", size_of::<conn::Conn<NoLayer>>());
}

#[test]
fn a_second_server_is_refused_the_port() {
    let server = Server::start(1, Config::default());
    assert_eq!(listen(server.address).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn accepted_sockets_are_watched_by_the_kernel() {
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    listener.set_nonblocking(false).unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(120));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(30));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    assert!(socket.tcp_nodelay().unwrap());
}

/// Runs the next test alone, in a process that may open few descriptors.
#[test]
fn running_out_of_descriptors_does_not_spin() {
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 48 && exec \"$0\" --exact reactor::tests::with_few_descriptors --ignored"])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

#[test]
#[ignore = "needs a process of its own with few descriptors"]
fn with_few_descriptors() {
    let server = Server::start(1, Config { accept_pause_ms: 50, ..Config::default() });
    let mut streams = vec![TcpStream::connect(server.address).unwrap()];
    // The server's thread opens descriptors of its own, before there are none.
    streams[0].write_all(&frame(b'e', b"up")).unwrap();
    expect(&mut streams[0], b"up");
    while let Ok(stream) = TcpStream::connect(server.address) {
        streams.push(stream);
        assert!(streams.len() < 100, "the limit is not in force");
    }
    until(|| server.seen.accept_failures.load(Relaxed) > 0);
    let (begin, before) = (Instant::now(), server.seen.accept_failures.load(Relaxed));
    thread::sleep(Duration::from_millis(300));
    until(|| server.seen.accept_failures.load(Relaxed) > before);
    let more = server.seen.accept_failures.load(Relaxed) - before;
    // This machine may have slept for longer.
    let most = begin.elapsed().as_millis() as usize / 50 + 5;
    assert!(more <= most, "{more} attempts, {most} at most");
    // The first was accepted; when others go, those that wait are.
    let last = streams.pop().unwrap();
    streams.truncate(1);
    for mut stream in [streams.pop().unwrap(), last] {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&frame(b'e', b"served")).unwrap();
        expect(&mut stream, b"served");
    }
}
