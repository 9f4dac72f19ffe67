//! How much of a scenario is to be run: what the command line says, and defaults where it does not.

use std::time::Duration;

use noctule_core::id::Qos;

use super::super::failure::Failure;
use super::flow::Pace;
use crate::cli::{BenchArgs, MAX_CONNECTIONS, Rate, Scenario};
use crate::descriptors;

/// Descriptors besides the connections': standard streams, the runtime's, timers.
const OTHER_DESCRIPTORS: u64 = 32;

/// Most bytes of prepared heads and of what is kept about streams, roughly: streams, by subscribers where all hear all.
const MAX_STREAMS: u64 = 20_000_000;

/// A run, all of it settled.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) publishers: u32,
    pub(super) subscribers: u32,
    pub(super) topics: u32,
    pub(super) qos: Qos,
    pub(super) size: usize,
    /// Messages or visits a second; `None` is as many as possible.
    pub(super) rate: Option<u32>,
    pub(super) window: u32,
    pub(super) messages: u32,
    pub(super) seconds: Duration,
    pub(super) warm_up: Duration,
    pub(super) prefix: String,
}

impl Plan {
    pub(super) fn new(arguments: &BenchArgs, scenario: Scenario) -> Result<Self, Failure> {
        let (publishers, subscribers) = match scenario {
            Scenario::FanIn => (200, 1),
            Scenario::FanOut => (1, 500),
            Scenario::Latency | Scenario::StompQueue => (10, 10),
            Scenario::Connect => (50, 0),
            Scenario::Retained => (1, 1),
            Scenario::OneToOne
            | Scenario::Offline
            | Scenario::StompTopic
            | Scenario::Cross
            | Scenario::List => (100, 100),
        };
        let mut publishers = arguments.clients.or(arguments.publishers).unwrap_or(publishers);
        let mut subscribers = match arguments.clients.filter(|_| scenario != Scenario::Connect) {
            Some(clients) => clients,
            None => arguments.subscribers.unwrap_or(subscribers),
        };
        match scenario {
            // Each hears itself.
            Scenario::Latency => {
                publishers =
                    arguments.clients.or(arguments.publishers).or(arguments.subscribers).unwrap_or(10);
                subscribers = publishers;
            }
            Scenario::Connect => subscribers = 0,
            _ => {}
        }
        // Nobody has more of them than there are messages.
        if matches!(scenario, Scenario::Retained | Scenario::Offline) {
            publishers = publishers.min(arguments.messages);
        }
        let default_rate = if scenario == Scenario::Latency { Rate::PerSecond(1_000) } else { Rate::Max };
        let rate = match arguments.rate.unwrap_or(default_rate) {
            Rate::Max => None,
            Rate::PerSecond(rate) => Some(rate),
        };
        let shared_out = match scenario {
            Scenario::FanOut => 20,
            _ => (2_000 / publishers.max(1)).clamp(10, 200),
        };
        let qos = arguments.qos.unwrap_or(match scenario {
            Scenario::Offline | Scenario::Retained => Qos::AtLeastOnce,
            _ => Qos::AtMostOnce,
        });
        let plan = Self {
            scenario,
            publishers,
            subscribers,
            topics: match scenario {
                Scenario::Retained => arguments.messages.div_ceil(publishers),
                _ => arguments.topics,
            },
            qos,
            size: arguments.size as usize,
            rate,
            window: arguments.window.unwrap_or(shared_out),
            messages: arguments.messages,
            seconds: arguments.seconds.as_duration(),
            warm_up: arguments.warm_up.as_duration(),
            prefix: arguments.prefix.clone(),
        };
        plan.check()?;
        Ok(plan)
    }

    /// Refuses what cannot be carried out.
    fn check(&self) -> Result<(), Failure> {
        let connections = self.connections();
        if connections > u64::from(MAX_CONNECTIONS) {
            return Err(Failure::Bench(format!(
                "{connections} connections are asked for; {MAX_CONNECTIONS} is the most, have fewer --publishers or --subscribers"
            )));
        }
        let streams = u64::from(self.publishers) * u64::from(self.topics);
        let kept = if self.hears_all() { streams * u64::from(self.subscribers).max(1) } else { streams };
        if kept > MAX_STREAMS {
            return Err(Failure::Bench(format!(
                "{kept} streams of messages would have to be kept apart; {MAX_STREAMS} is the most, have fewer --topics, --messages or --subscribers"
            )));
        }
        let needed = connections + OTHER_DESCRIPTORS;
        match descriptors::raise() {
            Ok(allowed) if allowed < needed => Err(Failure::Bench(format!(
                "{connections} connections need {needed} open files, and this process may have {allowed}: raise `ulimit -n`, or have fewer --clients"
            ))),
            _ => Ok(()),
        }
    }

    fn connections(&self) -> u64 {
        match self.scenario {
            Scenario::Latency => u64::from(self.publishers),
            // With a timer each.
            Scenario::Connect if self.rate.is_some() => 2 * u64::from(self.publishers),
            _ => u64::from(self.publishers) + u64::from(self.subscribers),
        }
    }

    /// Whether each subscriber hears every publisher.
    pub(super) fn hears_all(&self) -> bool {
        matches!(self.scenario, Scenario::FanIn | Scenario::FanOut | Scenario::Retained)
    }

    /// Whether a message goes to one consumer of several.
    pub(super) fn is_queue(&self) -> bool {
        self.scenario == Scenario::StompQueue
    }

    /// How messages are spread over time while a load runs.
    pub(super) fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::PerSecond(rate),
            None => Pace::Window(u64::from(self.window)),
        }
    }

    /// For each publisher: deliveries that one of its messages leads to.
    pub(super) fn fans(&self) -> Vec<u64> {
        let (publishers, subscribers) = (u64::from(self.publishers), u64::from(self.subscribers));
        (0..publishers)
            .map(|index| match () {
                () if self.hears_all() => subscribers,
                () if self.is_queue() || subscribers < publishers => 1,
                () => (subscribers - index).div_ceil(publishers),
            })
            .collect()
    }

    /// The publishers that a subscriber hears.
    pub(super) fn heard_by(&self, subscriber: u32) -> Vec<u32> {
        if self.hears_all() {
            (0..self.publishers).collect()
        } else if self.subscribers >= self.publishers {
            vec![subscriber % self.publishers]
        } else {
            (subscriber..self.publishers).step_by(self.subscribers as usize).collect()
        }
    }

    /// What a publisher's index is to be divided by to find its place among those that a subscriber hears.
    pub(super) fn divisor(&self) -> u64 {
        if self.hears_all() {
            1
        } else if self.subscribers >= self.publishers {
            u64::from(self.publishers)
        } else {
            u64::from(self.subscribers)
        }
    }

    /// A stream's topic as its publisher writes it.
    pub(super) fn topic(&self, run: u32, stream: u32) -> String {
        let prefix = &self.prefix;
        match self.scenario {
            Scenario::StompTopic => format!("/topic/{prefix}-{run:08x}-{stream}"),
            Scenario::StompQueue => format!("/queue/{prefix}-{run:08x}-{stream}"),
            // One level: brokers differ in how they write several in STOMP.
            Scenario::Cross => format!("{prefix}-{run:08x}-{stream}"),
            _ => format!("{prefix}/{run:08x}/{stream}"),
        }
    }

    /// What a subscriber asks for.
    pub(super) fn filters(&self, run: u32, subscriber: u32) -> Vec<String> {
        let streams = u64::from(self.publishers) * u64::from(self.topics);
        if self.hears_all() && streams > 1 {
            return vec![format!("{}/{run:08x}/+", self.prefix)];
        }
        let heard = self.heard_by(subscriber).into_iter();
        heard
            .flat_map(|publisher| (0..self.topics).map(move |turn| publisher * self.topics + turn))
            .map(|stream| match self.scenario {
                Scenario::Cross => format!("/topic/{}", self.topic(run, stream)),
                _ => self.topic(run, stream),
            })
            .collect()
    }
}
