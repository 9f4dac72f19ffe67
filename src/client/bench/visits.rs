//! Connect, subscribe, disconnect, again and again: what a broker pays for clients that come and go.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::failure::Failure;
use super::broker::Broker;
use super::conduct::{Run, TICK};
use super::flow::{Flow, Pace};
use super::outcome::{Look, Outcome, Phase};
use super::tally::Arrival;
use crate::timer::Timer;

/// How long visits that have begun may take after the end.
const LAST_VISITS: Duration = Duration::from_secs(5);

/// After a visit that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// What the visitors share.
#[derive(Debug)]
struct Visits {
    /// For its clock, schedule and counts; it has no connections of its own.
    flow: Rc<Flow>,
    broker: Rc<Broker>,
    topic: String,
    /// The next one of the schedule.
    next: Cell<u64>,
    failed: Cell<u64>,
    failure: RefCell<Option<Failure>>,
}

impl Run<'_> {
    /// The scenario `connect`.
    pub(super) async fn visits(self) -> Result<Outcome, Failure> {
        let plan = self.plan;
        let topic = plan.topic(self.number, 0);
        // Whoever can't be visited at all is found out at once.
        let first = format!("nb-{:08x}-v", self.number);
        let visited = self.stops.or(self.broker.visit(&first, &topic, plan.qos)).await;
        visited.map_err(|_| Failure::Stopped { waiting: 0, published: 0 })??;

        let pace = match plan.rate {
            Some(rate) => Pace::PerSecond(rate),
            None => Pace::Window(1),
        };
        let flow = self.flow(pace, Vec::new())?;
        let start_ns = flow.now_ns();
        flow.start_ns.set(start_ns);
        flow.measure_ns.set(start_ns + plan.warm_up.as_nanos() as u64);
        flow.until_ns.set(flow.measure_ns.get() + plan.seconds.as_nanos() as u64);
        let visits = Rc::new(Visits {
            flow: Rc::clone(&flow),
            broker: Rc::clone(self.broker),
            topic,
            next: Cell::new(0),
            failed: Cell::new(0),
            failure: RefCell::new(None),
        });
        let mut visitors = JoinSet::new();
        for index in 0..plan.publishers {
            let (visits, id, qos) =
                (Rc::clone(&visits), format!("nb-{:08x}-v{index}", self.number), plan.qos);
            visitors.spawn_local(async move { visits.visit_on(&id, qos).await });
        }
        let mut before = None;
        let mut interrupted = false;
        loop {
            let now_ns = flow.now_ns();
            if now_ns >= flow.measure_ns.get() && before.is_none() {
                before = Some((now_ns, Look::at(self.process)));
            }
            let next_ns = if before.is_none() { flow.measure_ns.get() } else { flow.until_ns.get() };
            let left = Duration::from_nanos(next_ns.saturating_sub(now_ns));
            if left.is_zero() {
                break;
            }
            if self.stops.or(sleep(left.min(TICK))).await.is_err() {
                interrupted = true;
                break;
            }
            self.progress.tell(&self.broker.name, flow.tally.borrow().heard);
        }
        flow.until_ns.set(flow.until_ns.get().min(flow.now_ns()));
        let after = Look::at(self.process);
        let Some((_, before)) = before else { return Err(Failure::Stopped { waiting: 0, published: 0 }) };
        let in_time = flow.tally.borrow().in_time;
        let ending = async { while visitors.join_next().await.is_some() {} };
        let _ = timeout(LAST_VISITS, ending).await;

        let measured_ns = flow.until_ns.get().saturating_sub(flow.measure_ns.get());
        let seconds = measured_ns as f64 / 1e9;
        let mut phase = Phase { name: "visits", seconds, ..Phase::default() };
        phase.per_s = in_time as f64 / seconds.max(f64::MIN_POSITIVE);
        phase.cost(&before, &after, in_time);
        phase.count(&flow.tally.borrow(), false);
        let due = flow.due_before(flow.until_ns.get()).saturating_sub(flow.due_before(flow.measure_ns.get()));
        phase.not_sent = due.saturating_sub(phase.sent);
        let mut outcome = Outcome { phases: vec![phase], interrupted, ..Outcome::default() };
        outcome.broker_pid = self.process.map(|process| process.0);
        outcome.disconnected = u32::try_from(visits.failed.get()).unwrap_or(u32::MAX);
        outcome.blame(visits.failure.take());
        Ok(outcome)
    }
}

impl Visits {
    /// One visitor, until the end.
    async fn visit_on(&self, id: &str, qos: noctule_core::id::Qos) {
        let flow = &self.flow;
        let timer = match flow.due_ns(0).map(|_| Timer::new()).transpose() {
            Ok(timer) => timer,
            Err(error) => {
                let trouble = Failure::Bench(format!("the schedule can't be kept: {error}"));
                self.failure.borrow_mut().get_or_insert(trouble);
                return;
            }
        };
        loop {
            let nth = self.next.replace(self.next.get() + 1);
            let due_ns = flow.due_ns(nth).unwrap_or_else(|| flow.now_ns());
            if due_ns >= flow.until_ns.get() {
                return;
            }
            let early_ns = due_ns.saturating_sub(flow.now_ns());
            if let Some(timer) = timer.as_ref().filter(|_| early_ns > 0)
                && timer.wait(Duration::from_nanos(early_ns)).await.is_err()
            {
                return;
            }
            let counts = flow.counts(due_ns);
            if counts {
                let mut tally = flow.tally.borrow_mut();
                tally.sent += 1;
                tally.expected += 1;
            }
            match self.broker.visit(id, &self.topic, qos).await {
                Ok(()) => {
                    let now_ns = flow.now_ns();
                    let mut tally = flow.tally.borrow_mut();
                    tally.heard += 1;
                    tally.in_time += u64::from(flow.counts(now_ns));
                    if counts {
                        tally.arrived(Arrival::New, now_ns.saturating_sub(due_ns));
                    }
                }
                Err(failure) => {
                    self.failed.set(self.failed.get() + 1);
                    self.failure.borrow_mut().get_or_insert(failure);
                    sleep(PAUSE).await;
                }
            }
        }
    }
}
