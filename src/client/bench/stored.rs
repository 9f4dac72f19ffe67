//! What a broker keeps: retained messages and their replay, queues of those who are away. Both put a number of messages
//! in, wait until the broker has acknowledged all of them, and take them out again.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::failure::Failure;
use super::broker::Session;
use super::conduct::{Part, Run, subscriber_id};
use super::flow::{Pace, Stage};
use super::outcome::{Look, Outcome, Phase};
use super::tally::Tally;
use crate::cli::Scenario;

/// How long nothing may happen before the rest is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// How long either way may take at all.
const LONGEST: Duration = Duration::from_secs(3_600);

/// How long it may take to leave the broker as it was.
const TIDYING: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// The scenarios `retained` and `offline`. What was kept is taken away again, also after an interruption.
    pub(super) async fn stored(mut self) -> Result<Outcome, Failure> {
        let done = self.in_and_out().await;
        let tidied = match self.plan.scenario {
            Scenario::Offline => self.forget_all().await,
            _ => {
                let streams = self.plan.publishers.saturating_mul(self.plan.topics);
                let topics: Vec<String> =
                    (0..streams).map(|stream| self.plan.topic(self.number, stream)).collect();
                self.broker.clear(&format!("nb-{:08x}-c", self.number), &topics, TIDYING).await
            }
        };
        let mut outcome = done?;
        outcome.blame(tidied.err());
        Ok(outcome)
    }

    async fn in_and_out(&mut self) -> Result<Outcome, Failure> {
        let plan = self.plan;
        let (is_offline, each) = match plan.scenario {
            Scenario::Offline => (true, plan.messages.div_ceil(plan.publishers)),
            _ => (false, plan.topics),
        };
        if is_offline {
            self.leave_sessions().await?;
        }
        let flow = self.flow(Pace::Quota(each.into()), plan.fans())?;
        let publishers: Vec<Part> = (0..plan.publishers).map(Part::Publisher).collect();
        let mut members = JoinSet::new();
        self.open(&flow, &publishers, &mut members).await?;

        let mut phase = Phase { name: if is_offline { "in" } else { "set" }, ..Phase::default() };
        let total = u64::from(each) * u64::from(plan.publishers);
        let (before, began) = (Look::at(self.process), Instant::now());
        flow.enter(Stage::Running);
        let (interrupted, last) = self.wait(&flow, SILENCE, LONGEST, |tally| tally.taken >= total).await;
        phase.seconds = (last - began).as_secs_f64();
        let after = Look::at(self.process);
        let (sent, taken, refused) = {
            let tally = flow.tally.borrow();
            (tally.sent, tally.taken, tally.refused)
        };
        // Here what is awaited of the broker is that it takes them.
        (phase.sent, phase.expected, phase.delivered) = (sent, total, taken.saturating_sub(refused));
        phase.per_s = phase.delivered as f64 / phase.seconds.max(f64::MIN_POSITIVE);
        phase.cost(&before, &after, taken);
        let mut outcome = Outcome { phases: vec![phase], interrupted, refused, ..Outcome::default() };
        outcome.broker_pid = self.process.map(|process| process.0);
        if !outcome.interrupted {
            let phase = self.take_out(&flow, &mut members, &mut outcome.interrupted, is_offline).await?;
            outcome.phases.push(phase);
        }
        self.close(&flow, members).await;
        outcome.disconnected = flow.disconnected.get();
        outcome.blame(flow.failure.take());
        Ok(outcome)
    }

    async fn take_out(
        &mut self,
        flow: &std::rc::Rc<super::flow::Flow>,
        members: &mut JoinSet<()>,
        interrupted: &mut bool,
        is_offline: bool,
    ) -> Result<Phase, Failure> {
        let session = if is_offline { Session::Resumed } else { Session::Passing };
        let subscribers: Vec<Part> =
            (0..self.plan.subscribers).map(|index| Part::Subscriber(index, session)).collect();
        let mut phase = Phase { name: if is_offline { "out" } else { "replay" }, ..Phase::default() };
        let (before, began) = (Look::at(self.process), Instant::now());
        self.open(flow, &subscribers, members).await?;
        // What was refused before does not come.
        let all_here = |tally: &Tally| tally.delivered >= tally.expected.saturating_sub(tally.refused);
        let last;
        (*interrupted, last) = self.wait(flow, SILENCE, LONGEST, all_here).await;
        phase.seconds = (last - began).as_secs_f64();
        let after = Look::at(self.process);
        let tally = flow.tally.borrow();
        phase.count(&tally, true);
        // They were due long ago: what they waited for says nothing.
        phase.latency_us = None;
        phase.per_s = phase.delivered as f64 / phase.seconds.max(f64::MIN_POSITIVE);
        phase.cost(&before, &after, tally.heard);
        Ok(phase)
    }

    /// Subscribes, and goes away.
    async fn leave_sessions(&mut self) -> Result<(), Failure> {
        let flow = self.flow(Pace::Quota(0), self.plan.fans())?;
        let parts: Vec<Part> =
            (0..self.plan.subscribers).map(|index| Part::Subscriber(index, Session::Kept)).collect();
        let mut members = JoinSet::new();
        self.open(&flow, &parts, &mut members).await?;
        self.subscribed(&flow).await?;
        self.close(&flow, members).await;
        Ok(())
    }

    async fn forget_all(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        for index in 0..self.plan.subscribers {
            if began.elapsed() > TIDYING {
                let left = self.plan.subscribers - index;
                return Err(Failure::Bench(format!(
                    "{left} sessions of this run stay with the broker for an hour"
                )));
            }
            self.broker.forget(&subscriber_id(self.number, index)).await?;
        }
        Ok(())
    }
}
