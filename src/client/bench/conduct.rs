//! A run on one broker: opens the connections, tells them when to begin and to end, watches.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use noctule_core::id::Qos;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::failure::Failure;
use super::super::stop::Stops;
use super::broker::{Broker, Session};
use super::flow::{Flow, Hearing, Member, Pace, Publishing, Stage};
use super::outcome::{Look, Outcome, Phase};
use super::pacer;
use super::plan::Plan;
use super::process::Process;
use super::progress::Progress;
use super::tally::{Stream, Tally};
use crate::cli::Scenario;

/// Connections that are begun at once.
const AT_ONCE: usize = 64;

/// Between two looks at how it goes.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// How long nothing may come before the windows are opened anew, or what is missing is given up.
const SILENCE: Duration = Duration::from_secs(2);

/// How long what was sent may take to arrive, however steadily it comes.
const LONGEST_DRAIN: Duration = Duration::from_secs(60);

/// How long subscriptions may take.
const SUBSCRIBING: Duration = Duration::from_secs(20);

/// How long good-byes may take.
const CLOSING: Duration = Duration::from_secs(3);

/// A run, and whom to tell about it.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) broker: &'a Rc<Broker>,
    pub(super) process: Option<Process>,
    pub(super) stops: &'a mut Stops,
    pub(super) progress: &'a mut Progress,
    /// Its number, which nobody else's messages have.
    pub(super) number: u32,
}

/// Which connections are wanted, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Publishes; where each hears itself, subscribes too.
    Publisher(u32),
    Subscriber(u32, Session),
}

impl Run<'_> {
    /// Messages through the broker for a time.
    pub(super) async fn load(mut self) -> Result<Outcome, Failure> {
        let flow = self.flow(self.plan.pace(), self.plan.fans())?;
        let publishers = (0..self.plan.publishers).map(Part::Publisher);
        let subscribers = (0..self.plan.subscribers).map(|index| Part::Subscriber(index, Session::Passing));
        let alone = self.plan.scenario == Scenario::Latency;
        let parts: Vec<Part> = publishers.chain(subscribers.filter(|_| !alone)).collect();
        let mut members = JoinSet::new();
        self.open(&flow, &parts, &mut members).await?;
        self.subscribed(&flow).await?;

        let start_ns = flow.now_ns();
        flow.start_ns.set(start_ns);
        flow.measure_ns.set(start_ns + self.plan.warm_up.as_nanos() as u64);
        flow.until_ns.set(flow.measure_ns.get() + self.plan.seconds.as_nanos() as u64);
        flow.enter(Stage::Running);
        if matches!(flow.pace, Pace::PerSecond(_)) {
            let paced = Rc::clone(&flow);
            members.spawn_local(async move {
                if let Err(error) = pacer::pace(Rc::clone(&paced)).await {
                    let trouble = Failure::Bench(format!("the schedule can't be kept: {error}"));
                    paced.failure.borrow_mut().get_or_insert(trouble);
                }
            });
        }
        let mut outcome = Outcome { broker_pid: self.process.map(|process| process.0), ..Outcome::default() };
        let mut phase = Phase { name: "load", ..Phase::default() };
        outcome.interrupted = self.watch(&flow, flow.measure_ns.get(), &mut phase.stalls).await;
        if outcome.interrupted {
            // Nothing of it was measured yet, so that what has passed is all there is.
            flow.until_ns.set(flow.now_ns());
            return Err(Failure::Stopped { waiting: 0, published: 0 });
        }
        phase.stalls = 0;
        let before = Look::at(self.process);
        outcome.interrupted = self.watch(&flow, flow.until_ns.get(), &mut phase.stalls).await;
        flow.until_ns.set(flow.until_ns.get().min(flow.now_ns()));
        let after = Look::at(self.process);
        let measured_ns = flow.until_ns.get().saturating_sub(flow.measure_ns.get());
        phase.seconds = measured_ns as f64 / 1e9;
        let in_time = flow.tally.borrow().in_time;
        phase.per_s = in_time as f64 / phase.seconds.max(f64::MIN_POSITIVE);
        phase.cost(&before, &after, in_time);

        flow.enter(Stage::Draining);
        let due = flow.due_before(flow.until_ns.get()).saturating_sub(flow.due_before(flow.measure_ns.get()));
        let all_here = |tally: &Tally| tally.sent >= due && tally.delivered >= tally.expected;
        self.wait(&flow, SILENCE, LONGEST_DRAIN, all_here).await;
        self.close(&flow, members).await;
        let tally = flow.tally.borrow();
        phase.count(&tally, !self.plan.is_queue());
        phase.not_sent = due.saturating_sub(tally.sent);
        outcome.refused = tally.refused;
        outcome.disconnected = flow.disconnected.get();
        outcome.blame(flow.failure.take());
        outcome.phases.push(phase);
        Ok(outcome)
    }

    pub(super) fn flow(&self, pace: Pace, fans: Vec<u64>) -> Result<Rc<Flow>, Failure> {
        Flow::new(self.number, pace, self.plan.size, self.plan.topics, fans)
            .ok_or_else(|| Failure::Bench("no histogram can be made".to_owned()))
    }

    /// Connects the parts, and sets them to work.
    pub(super) async fn open(
        &mut self,
        flow: &Rc<Flow>,
        parts: &[Part],
        members: &mut JoinSet<()>,
    ) -> Result<(), Failure> {
        let shared = self.shared_streams();
        for some in parts.chunks(AT_ONCE) {
            let mut opening = JoinSet::new();
            for part in some {
                let connecting = connect(Rc::clone(self.broker), self.ask(*part));
                let part = *part;
                opening.spawn_local(async move { (part, connecting.await) });
            }
            while let Some(opened) = self
                .stops
                .or(opening.join_next())
                .await
                .map_err(|_| Failure::Stopped { waiting: 0, published: 0 })?
            {
                let Ok((part, opened)) = opened else { continue };
                let (socket, unread, lane) = opened?;
                let (publishing, hearing) = self.duties(part, &lane, &shared)?;
                let place = if matches!(lane, super::lane::Lane::Stomp(_)) {
                    &self.broker.stomp
                } else {
                    &self.broker.mqtt
                };
                let slot = match part {
                    Part::Publisher(index) => index as usize,
                    Part::Subscriber(index, _) => index.saturating_add(self.plan.publishers) as usize,
                };
                flow.register(slot);
                let place = place.clone();
                let out = BytesMut::new();
                let member = Member { place, socket, lane, unread, out, publishing, hearing, slot };
                members.spawn_local(member.work(Rc::clone(flow)));
            }
        }
        Ok(())
    }

    fn ask(&self, part: Part) -> Ask {
        let (scenario, number) = (self.plan.scenario, self.number);
        let (id, session, stomp) = match part {
            Part::Publisher(index) => {
                (format!("nb-{number:08x}-p{index}"), Session::Passing, scenario.publishes_stomp())
            }
            Part::Subscriber(index, session) => {
                (subscriber_id(number, index), session, scenario.hears_stomp())
            }
        };
        Ask { id, session, qos: self.plan.qos, stomp, confirms: self.plan.is_queue() }
    }

    /// Where several consumers take turns: what has come of the queue to any of them.
    fn shared_streams(&self) -> Vec<Rc<RefCell<Vec<Stream>>>> {
        if !self.plan.is_queue() {
            return Vec::new();
        }
        let groups = self.plan.subscribers.min(self.plan.publishers);
        (0..groups).map(|group| Rc::new(RefCell::new(self.streams(group)))).collect()
    }

    fn streams(&self, subscriber: u32) -> Vec<Stream> {
        vec![Stream::default(); self.plan.heard_by(subscriber).len() * self.plan.topics as usize]
    }

    fn duties(
        &self,
        part: Part,
        lane: &super::lane::Lane,
        shared: &[Rc<RefCell<Vec<Stream>>>],
    ) -> Result<(Option<Publishing>, Option<Hearing>), Failure> {
        let plan = self.plan;
        let hearing = |index: u32, is_resumed: bool| Hearing {
            topics: if is_resumed { Vec::new() } else { plan.filters(self.number, index) },
            streams: match shared.get(index as usize % shared.len().max(1)) {
                Some(shared) => Rc::clone(shared),
                None => Rc::new(RefCell::new(self.streams(index))),
            },
            divisor: plan.divisor(),
        };
        Ok(match part {
            Part::Subscriber(index, session) => (None, Some(hearing(index, session == Session::Resumed))),
            Part::Publisher(index) => {
                let retain = plan.scenario == Scenario::Retained;
                let streams = (0..plan.topics).map(|turn| {
                    let topic = plan.topic(self.number, index * plan.topics + turn);
                    Ok((lane.head(&topic, retain, plan.size)?, 0))
                });
                let streams = streams.collect::<Result<_, Failure>>()?;
                let publishing = Publishing { index: index.into(), streams, sent: 0, is_done: false };
                let own = (plan.scenario == Scenario::Latency).then(|| hearing(index, false));
                (Some(publishing), own)
            }
        })
    }

    /// Returns when all subscriptions are in force.
    pub(super) async fn subscribed(&mut self, flow: &Rc<Flow>) -> Result<(), Failure> {
        let wanted: usize =
            (0..self.plan.subscribers).map(|index| self.plan.filters(self.number, index).len()).sum();
        let began = Instant::now();
        while flow.subscribed.get() < wanted {
            if let Some(failure) = flow.failure.take() {
                return Err(failure);
            }
            if began.elapsed() > SUBSCRIBING {
                return Err(Failure::Bench(format!(
                    "{}: {} of {wanted} subscriptions were granted within {} s",
                    self.broker.name,
                    flow.subscribed.get(),
                    SUBSCRIBING.as_secs()
                )));
            }
            self.nap(Duration::from_millis(2)).await?;
        }
        Ok(())
    }

    async fn nap(&mut self, time: Duration) -> Result<(), Failure> {
        self.stops.or(sleep(time)).await.map_err(|_| Failure::Stopped { waiting: 0, published: 0 })
    }

    /// Watches until a time of the flow: whether it was interrupted.
    async fn watch(&mut self, flow: &Flow, until_ns: u64, stalls: &mut u32) -> bool {
        let (mut heard, mut since) = (flow.tally.borrow().heard, Instant::now());
        loop {
            let left = Duration::from_nanos(until_ns.saturating_sub(flow.now_ns()));
            if left.is_zero() {
                return false;
            }
            if self.stops.or(sleep(left.min(TICK))).await.is_err() {
                return true;
            }
            let now_heard = flow.tally.borrow().heard;
            self.progress.tell(&self.broker.name, now_heard);
            if now_heard != heard {
                (heard, since) = (now_heard, Instant::now());
            } else if since.elapsed() > SILENCE && matches!(flow.pace, Pace::Window(_)) {
                // Lost messages never come to open the windows again.
                flow.awaited.iter().for_each(|awaited| awaited.set(0));
                flow.wake_all();
                *stalls += 1;
                since = Instant::now();
            }
        }
    }

    /// Waits for `is_done`, as long as something comes at least every `silence`: whether it was interrupted, and when the last
    /// came. What never comes is waited for in silence, and that is no part of the work.
    pub(super) async fn wait(
        &mut self,
        flow: &Flow,
        silence: Duration,
        longest: Duration,
        is_done: impl Fn(&Tally) -> bool,
    ) -> (bool, Instant) {
        let began = Instant::now();
        let seen = |tally: &Tally| (tally.heard, tally.taken, tally.sent);
        let (mut before, mut since) = (seen(&flow.tally.borrow()), Instant::now());
        while !is_done(&flow.tally.borrow()) && began.elapsed() < longest && since.elapsed() < silence {
            if self.stops.or(sleep(Duration::from_millis(1))).await.is_err() {
                return (true, Instant::now());
            }
            let now = seen(&flow.tally.borrow());
            if now != before {
                (before, since) = (now, Instant::now());
            }
            self.progress.tell(&self.broker.name, now.0.max(now.1));
        }
        (false, since)
    }

    pub(super) async fn close(&mut self, flow: &Flow, mut members: JoinSet<()>) {
        flow.enter(Stage::Closing);
        let leaving = async { while members.join_next().await.is_some() {} };
        // Whoever takes longer is cut off with the set.
        let _ = timeout(CLOSING, leaving).await;
    }
}

/// A client id short enough for 3.1's 23 characters.
pub(super) fn subscriber_id(number: u32, index: u32) -> String {
    format!("nb-{number:08x}-s{index}")
}

/// A connection that is wanted.
struct Ask {
    id: String,
    session: Session,
    qos: Qos,
    stomp: bool,
    confirms: bool,
}

async fn connect(
    broker: Rc<Broker>,
    ask: Ask,
) -> Result<(super::super::tls::Stream, BytesMut, super::lane::Lane), Failure> {
    if ask.stomp {
        broker.open_stomp(ask.confirms).await
    } else {
        broker.open_mqtt(&ask.id, ask.qos, ask.session).await
    }
}
