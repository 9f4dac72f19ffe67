//! What a run has come to, in figures: for each of its phases, and as JSON.

use serde_json::{Value, json};

use super::super::failure::Failure;
use super::plan::Plan;
use super::process::Process;
use super::tally::Tally;

/// A run on one broker.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) phases: Vec<Phase>,
    pub(super) broker_pid: Option<u32>,
    pub(super) interrupted: bool,
    /// Connections that were lost on the way.
    pub(super) disconnected: u32,
    /// What the first of them was lost to, or another reason why figures are not what they seem.
    pub(super) trouble: Option<String>,
    /// Messages that the broker did not take.
    pub(super) refused: u64,
}

/// A part of a run that is measured by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    pub(super) sent: u64,
    pub(super) expected: u64,
    pub(super) delivered: u64,
    pub(super) duplicated: u64,
    /// `None` where no order is promised.
    pub(super) misordered: Option<u64>,
    /// Due by the schedule and never sent.
    pub(super) not_sent: u64,
    /// How often nothing came for so long that the windows were opened anew.
    pub(super) stalls: u32,
    pub(super) per_s: f64,
    /// p50, p99, p99.9 and the longest, µs.
    pub(super) latency_us: Option<[f64; 4]>,
    /// Per delivery, µs.
    pub(super) bench_cpu_us: Option<f64>,
    pub(super) cpu_us: Option<f64>,
    pub(super) rss_bytes: Option<u64>,
    pub(super) rss_growth_bytes: Option<i64>,
}

impl Phase {
    pub(super) fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.delivered)
    }

    /// Takes over what was counted.
    pub(super) fn count(&mut self, tally: &Tally, is_ordered: bool) {
        self.sent = tally.sent;
        self.expected = tally.expected;
        self.delivered = tally.delivered;
        self.duplicated = tally.duplicated;
        self.misordered = is_ordered.then_some(tally.late);
        let latency = &tally.latency_ns;
        let us = |ns: u64| ns as f64 / 1_000.0;
        self.latency_us = (!latency.is_empty()).then(|| {
            let at = |quantile| us(latency.value_at_quantile(quantile));
            [at(0.5), at(0.99), at(0.999), us(latency.max())]
        });
    }

    /// What it cost between two looks, for so many deliveries.
    pub(super) fn cost(&mut self, before: &Look, after: &Look, deliveries: u64) {
        let each = |before: Option<u64>, after: Option<u64>| {
            let spent = after?.checked_sub(before?)?;
            (deliveries > 0).then(|| spent as f64 / deliveries as f64)
        };
        self.cpu_us = each(before.broker_us, after.broker_us);
        self.bench_cpu_us = each(before.own_us, after.own_us);
        self.rss_bytes = after.rss_bytes;
        self.rss_growth_bytes = match (before.rss_bytes, after.rss_bytes) {
            (Some(before), Some(after)) => Some(after as i64 - before as i64),
            _ => None,
        };
    }

    fn json(&self) -> Value {
        let latency = self.latency_us.map(|[p50, p99, p99_9, max]| {
            json!({ "p50": round(p50), "p99": round(p99), "p99_9": round(p99_9), "max": round(max) })
        });
        json!({
            "name": self.name,
            "seconds": round(self.seconds),
            "sent": self.sent,
            "expected": self.expected,
            "delivered": self.delivered,
            "lost": self.lost(),
            "duplicated": self.duplicated,
            "misordered": self.misordered,
            "not_sent": self.not_sent,
            "stalls": self.stalls,
            "per_s": round(self.per_s),
            "latency_us": latency,
            "bench_cpu_us": self.bench_cpu_us.map(round),
            "cpu_us": self.cpu_us.map(round),
            "rss_bytes": self.rss_bytes,
            "rss_growth_bytes": self.rss_growth_bytes,
        })
    }
}

impl Outcome {
    /// Makes note of what went wrong on the way.
    pub(super) fn blame(&mut self, failure: Option<Failure>) {
        if let Some(failure) = failure {
            self.trouble.get_or_insert(failure.to_string());
        }
    }

    pub(super) fn json(&self, plan: &Plan, broker: &str, round: u32) -> Value {
        let phases: Vec<Value> = self.phases.iter().map(Phase::json).collect();
        json!({
            "scenario": plan.scenario.name(),
            "broker": broker,
            "round": round,
            "qos": plan.qos.level(),
            "size": plan.size,
            "publishers": plan.publishers,
            "subscribers": plan.subscribers,
            "topics": plan.topics,
            "rate": plan.rate,
            "interrupted": self.interrupted,
            "disconnected": self.disconnected,
            "trouble": self.trouble,
            "refused": self.refused,
            "broker_pid": self.broker_pid,
            "phases": phases,
        })
    }
}

/// To what is worth telling.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// What broker and bench have cost so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    broker_us: Option<u64>,
    own_us: Option<u64>,
    rss_bytes: Option<u64>,
}

impl Look {
    pub(super) fn at(broker: Option<Process>) -> Self {
        Self {
            broker_us: broker.and_then(Process::cpu_us),
            own_us: Process::own().cpu_us(),
            rss_bytes: broker.and_then(Process::rss_bytes),
        }
    }
}
