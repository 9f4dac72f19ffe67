//! Publishers and subscribers at work: one task for each connection, and what they share.
//!
//! Reading and writing are as batched as the sockets let them: a publisher fills its buffer while its window and the
//! schedule allow and writes it once; a subscriber counts whatever one read has brought by one look at the clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::failure::{Failure, Place};
use super::super::tls::Stream as Socket;
use super::lane::{Head, Incoming, Lane};
use super::tally::{Arrival, Stamp, Stream, Tally};

/// Bytes read at once, into a buffer that all connections share.
const READ_BYTES: usize = 256 * 1024;

/// Output that may wait before no more is made, bytes.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Rounds that a connection may take before the others have their turn.
const ROUNDS: usize = 8;

/// What the connections are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Subscribe, and wait.
    Waiting,
    /// Publish.
    Running,
    /// Send what was due before the end, and hear what comes.
    Draining,
    /// Say good-bye.
    Closing,
}

/// How messages are spread over time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many messages of each publisher are on their way, from end to end.
    Window(u64),
    /// So many a second, all publishers together.
    PerSecond(u32),
    /// So many by each publisher, as fast as the broker acknowledges them.
    Quota(u64),
}

/// What all connections of a phase share.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) origin: Instant,
    pub(super) run: u32,
    pub(super) pace: Pace,
    pub(super) stage: Cell<Stage>,
    pub(super) start_ns: Cell<u64>,
    pub(super) measure_ns: Cell<u64>,
    pub(super) until_ns: Cell<u64>,
    pub(super) tally: RefCell<Tally>,
    pub(super) subscribed: Cell<usize>,
    /// Connections that were lost, and why the first one was.
    pub(super) disconnected: Cell<u32>,
    pub(super) failure: RefCell<Option<Failure>>,
    /// By publisher: deliveries that its messages lead to, and those that are awaited.
    pub(super) fan: Vec<u64>,
    pub(super) awaited: Vec<Cell<u64>>,
    pub(super) topics: u32,
    filler: Vec<u8>,
    /// By connection, publishers first.
    wakers: RefCell<Vec<Option<Waker>>>,
    scratch: RefCell<Box<[u8]>>,
}

impl Flow {
    pub(super) fn new(run: u32, pace: Pace, size: usize, topics: u32, fan: Vec<u64>) -> Option<Rc<Self>> {
        Some(Rc::new(Self {
            origin: Instant::now(),
            run,
            pace,
            stage: Cell::new(Stage::Waiting),
            start_ns: Cell::new(u64::MAX),
            measure_ns: Cell::new(0),
            until_ns: Cell::new(u64::MAX),
            tally: RefCell::new(Tally::new()?),
            subscribed: Cell::new(0),
            disconnected: Cell::new(0),
            failure: RefCell::new(None),
            awaited: fan.iter().map(|_| Cell::new(0)).collect(),
            fan,
            topics,
            filler: vec![b'.'; size.saturating_sub(Stamp::LEN)],
            wakers: RefCell::new(Vec::new()),
            scratch: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        }))
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// When the `nth` message of all is due, ns.
    pub(super) fn due_ns(&self, nth: u64) -> Option<u64> {
        let Pace::PerSecond(rate) = self.pace else { return None };
        let after_ns = u128::from(nth) * 1_000_000_000 / u128::from(rate);
        Some(self.start_ns.get().saturating_add(u64::try_from(after_ns).unwrap_or(u64::MAX)))
    }

    /// How many messages of all are due before a time.
    pub(super) fn due_before(&self, at_ns: u64) -> u64 {
        let Pace::PerSecond(rate) = self.pace else { return 0 };
        let since_ns = u128::from(at_ns.saturating_sub(self.start_ns.get()));
        u64::try_from((since_ns * u128::from(rate)).div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }

    pub(super) fn publishers(&self) -> u64 {
        self.fan.len() as u64
    }

    pub(super) fn wake(&self, connection: usize) {
        if let Some(Some(waker)) = self.wakers.borrow().get(connection) {
            waker.wake_by_ref();
        }
    }

    /// Goes on to a stage, and tells everybody.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    /// Whether a message of this time counts.
    pub(super) fn counts(&self, due_ns: u64) -> bool {
        (self.measure_ns.get()..self.until_ns.get()).contains(&due_ns)
    }

    fn lost(&self, failure: Failure) {
        self.disconnected.set(self.disconnected.get().saturating_add(1));
        self.failure.borrow_mut().get_or_insert(failure);
    }

    /// A place for a connection's waker.
    pub(super) fn register(&self, slot: usize) {
        let mut wakers = self.wakers.borrow_mut();
        let wanted = wakers.len().max(slot.saturating_add(1));
        wakers.resize(wanted, None);
    }

    /// A delivery has come.
    fn heard(&self, publisher: u64) {
        let Some(awaited) = usize::try_from(publisher).ok().and_then(|at| self.awaited.get(at)) else {
            return;
        };
        let left = awaited.get().saturating_sub(1);
        awaited.set(left);
        if let Pace::Window(window) = self.pace
            && let Some(fan) = self.fan.get(publisher as usize)
            // Once, when half of the window is open: what is sent together is cheaper for everybody. Of whole messages, or a
            // window of one would never be seen to open.
            && left == window / 2 * fan
        {
            self.wake(publisher as usize);
        }
    }
}

/// A connection's publishing side.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) index: u64,
    /// Its topics, and the number of the next message to each.
    pub(super) streams: Vec<(Head, u64)>,
    pub(super) sent: u64,
    pub(super) is_done: bool,
}

/// A connection's subscribing side.
#[derive(Debug)]
pub(super) struct Hearing {
    pub(super) topics: Vec<String>,
    /// What has come of each stream; several consumers of a queue share it.
    pub(super) streams: Rc<RefCell<Vec<Stream>>>,
    /// Where a publisher's streams stand there: its index divided by this.
    pub(super) divisor: u64,
}

/// A connection of a flow.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) place: Place,
    pub(super) socket: Socket,
    pub(super) lane: Lane,
    pub(super) unread: BytesMut,
    pub(super) out: BytesMut,
    pub(super) publishing: Option<Publishing>,
    pub(super) hearing: Option<Hearing>,
    pub(super) slot: usize,
}

impl Member {
    /// Works until the flow is closing or the connection is lost.
    pub(super) async fn work(mut self, flow: Rc<Flow>) {
        if let Err(failure) = self.work_on(&flow).await {
            flow.lost(failure);
        }
    }

    async fn work_on(&mut self, flow: &Flow) -> Result<(), Failure> {
        if let Some(hearing) = &self.hearing {
            self.lane.subscribe(&hearing.topics, &mut self.out)?;
        }
        let unread = std::mem::take(&mut self.unread);
        self.digest(flow, &unread)?;
        std::future::poll_fn(|cx| self.poll(cx, flow)).await?;
        // The last words: nobody waits for them long.
        self.lane.farewell(&mut self.out);
        let closing = std::future::poll_fn(|cx| {
            while let Poll::Ready(Ok(())) = self.poll_discard(cx, flow) {}
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_shutdown(cx),
                other => other,
            }
        });
        let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
        Ok(())
    }

    /// Ready when the flow is closing.
    fn poll(&mut self, cx: &mut Context<'_>, flow: &Flow) -> Poll<Result<(), Failure>> {
        if let Some(slot) = flow.wakers.borrow_mut().get_mut(self.slot)
            && !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *slot = Some(cx.waker().clone());
        }
        for _ in 0..ROUNDS {
            if flow.stage.get() == Stage::Closing {
                return Poll::Ready(Ok(()));
            }
            let filled = self.fill(flow);
            let had_output = !self.out.is_empty();
            let written = self.poll_write(cx);
            match self.poll_read(cx, flow) {
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(Ok(false)) => return Poll::Ready(Err(self.gone(None))),
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => {}
            }
            match written {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.gone(Some(error)))),
                Poll::Ready(Ok(())) if filled && had_output => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn gone(&self, error: Option<io::Error>) -> Failure {
        Failure::Lost { place: self.place.clone(), error }
    }

    /// Writes messages into the output as far as schedule, windows and room allow: whether there were any.
    fn fill(&mut self, flow: &Flow) -> bool {
        let Some(publishing) = &mut self.publishing else { return false };
        if publishing.is_done || !(Stage::Running..=Stage::Draining).contains(&flow.stage.get()) {
            return false;
        }
        let index = publishing.index as usize;
        let (Some(awaited), Some(&fan)) = (flow.awaited.get(index), flow.fan.get(index)) else {
            return false;
        };
        let (now_ns, until_ns) = (flow.now_ns(), flow.until_ns.get());
        let before = publishing.sent;
        let mut tally = flow.tally.borrow_mut();
        while self.out.len() < OUTPUT_BYTES && self.lane.has_room() {
            let due_ns = match flow.pace {
                Pace::PerSecond(_) => {
                    let nth = publishing.sent * flow.publishers() + publishing.index;
                    let Some(due_ns) = flow.due_ns(nth) else { break };
                    if due_ns >= until_ns {
                        publishing.is_done = true;
                    }
                    if due_ns > now_ns || publishing.is_done {
                        break;
                    }
                    due_ns
                }
                Pace::Window(window) => {
                    if now_ns >= until_ns || awaited.get() + fan > window * fan {
                        break;
                    }
                    now_ns
                }
                Pace::Quota(quota) => {
                    if publishing.sent >= quota || now_ns >= until_ns {
                        break;
                    }
                    now_ns
                }
            };
            let turn = (publishing.sent % u64::from(flow.topics)) as usize;
            let Some((head, number)) = publishing.streams.get_mut(turn) else { break };
            let stream = (publishing.index * u64::from(flow.topics)) as u32 + turn as u32;
            let stamp = Stamp { run: flow.run, stream, number: *number, due_ns };
            self.lane.publish(head, &stamp.write(), &flow.filler, &mut self.out);
            *number += 1;
            publishing.sent += 1;
            awaited.set(awaited.get() + fan);
            if flow.counts(due_ns) {
                tally.sent += 1;
                tally.expected += fan;
            }
        }
        publishing.sent > before
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.out.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Whether anything has come; false at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, flow: &Flow) -> Poll<Result<bool, Failure>> {
        let mut scratch = flow.scratch.borrow_mut();
        let mut buf = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.gone(Some(error)))),
            Poll::Ready(Ok(())) => {}
        }
        let read = buf.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(false));
        }
        if self.unread.is_empty() {
            self.digest(flow, read)?;
        } else {
            // The rest of a packet that was cut: only this one is copied.
            self.unread.extend_from_slice(read);
            let whole = std::mem::take(&mut self.unread);
            self.digest(flow, &whole)?;
        }
        Poll::Ready(Ok(true))
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>, flow: &Flow) -> Poll<io::Result<()>> {
        let mut scratch = flow.scratch.borrow_mut();
        let mut buf = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            other => other,
        }
    }

    /// Takes all whole packets of `bytes`; the rest stays with the connection.
    fn digest(&mut self, flow: &Flow, bytes: &[u8]) -> Result<(), Failure> {
        let now_ns = flow.now_ns();
        let mut rest = bytes;
        let mut tally = flow.tally.borrow_mut();
        let in_time = flow.counts(now_ns);
        while !rest.is_empty() {
            let taken = self.lane.take(rest, &mut self.out);
            let taken = taken.map_err(|error| Failure::Ended { place: self.place.clone(), error })?;
            let Some((len, incoming)) = taken else { break };
            rest = rest.get(len..).unwrap_or_default();
            match incoming {
                Incoming::Message(payload) => {
                    let Some(hearing) = &self.hearing else { continue };
                    let Some(stamp) = Stamp::read(payload).filter(|stamp| stamp.run == flow.run) else {
                        continue;
                    };
                    let publisher = u64::from(stamp.stream / flow.topics);
                    let place = publisher / hearing.divisor * u64::from(flow.topics)
                        + u64::from(stamp.stream % flow.topics);
                    let mut streams = hearing.streams.borrow_mut();
                    let Some(stream) = streams.get_mut(place as usize) else { continue };
                    let arrival = stream.arrive(stamp.number);
                    tally.heard += 1;
                    tally.in_time += u64::from(in_time);
                    if flow.counts(stamp.due_ns) {
                        tally.arrived(arrival, now_ns.saturating_sub(stamp.due_ns));
                    }
                    drop(streams);
                    if arrival != Arrival::Duplicate {
                        flow.heard(publisher);
                    }
                }
                Incoming::Taken => tally.taken += 1,
                Incoming::Refused => {
                    tally.taken += 1;
                    tally.refused += 1;
                }
                Incoming::Subscribed(filters) => flow.subscribed.set(flow.subscribed.get() + filters),
                Incoming::Denied(why) => {
                    return Err(Failure::Bench(format!("{} refuses the subscription: {why}", self.place)));
                }
                Incoming::Other => {}
            }
        }
        if !rest.is_empty() {
            self.unread.extend_from_slice(rest);
        }
        Ok(())
    }
}
