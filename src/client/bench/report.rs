//! What a person sees: the scenarios, a block for a run, brokers side by side.

use std::fmt::Write;

use super::outcome::{Outcome, Phase};
use super::plan::Plan;
use crate::cli::Scenario;

/// The scenarios, a line each.
pub(super) fn scenarios() -> String {
    let mut text = String::new();
    for (name, about) in Scenario::all() {
        let _ = writeln!(text, "{name:<12} {about}");
    }
    text
}

/// One run.
pub(super) fn run(plan: &Plan, broker: &str, round: Option<u32>, outcome: &Outcome) -> String {
    let mut text = String::new();
    let rate = plan.rate.map_or_else(|| "as fast as it goes".to_owned(), |rate| format!("{rate}/s"));
    let round = round.map(|round| format!(" (round {round})")).unwrap_or_default();
    let who = match plan.subscribers {
        0 => format!("{} clients", plan.publishers),
        _ => format!("{} to {}, {} bytes", plan.publishers, plan.subscribers, plan.size),
    };
    let name = plan.scenario.name();
    let qos =
        if plan.scenario.publishes_stomp() { String::new() } else { format!(", QoS {}", plan.qos.level()) };
    let _ = writeln!(text, "{name} at {broker}{round}: {who}{qos}, {rate}");
    for phase in &outcome.phases {
        body(&mut text, plan, phase);
    }
    if outcome.refused > 0 {
        let _ = writeln!(text, "  refused by the broker: {}", outcome.refused);
    }
    if outcome.disconnected > 0 {
        let _ = writeln!(text, "  connections lost on the way: {}", outcome.disconnected);
    }
    if let Some(trouble) = &outcome.trouble {
        let _ = writeln!(text, "  {trouble}");
    }
    if outcome.interrupted {
        let _ = writeln!(text, "  interrupted: these are the figures until then");
    }
    text
}

fn body(text: &mut String, plan: &Plan, phase: &Phase) {
    let each = if plan.scenario == Scenario::Connect { "visit" } else { "message" };
    let _ = writeln!(
        text,
        "  {:<8} {:.0}/s for {:.1} s; {} sent, {} of {} came",
        phase.name, phase.per_s, phase.seconds, phase.sent, phase.delivered, phase.expected
    );
    if let Some([p50, p99, p99_9, max]) = phase.latency_us {
        let _ = writeln!(
            text,
            "  latency  p50 {p50:.0} µs, p99 {p99:.0} µs, p99.9 {p99_9:.0} µs, longest {max:.0} µs"
        );
    }
    let lost = phase.lost();
    let share = 100.0 * lost as f64 / phase.expected.max(1) as f64;
    let _ = match lost {
        0 => write!(text, "  lost     none"),
        _ => write!(text, "  LOST     {lost} of {} ({share:.2} %)", phase.expected),
    };
    let _ = write!(text, "; {} came twice", phase.duplicated);
    if let Some(misordered) = phase.misordered {
        let _ = write!(text, ", {misordered} out of order");
    }
    let _ = writeln!(text);
    if phase.not_sent > 0 {
        let _ = writeln!(
            text,
            "  {} were due and could not be sent: broker or bench did not keep up",
            phase.not_sent
        );
    }
    if phase.stalls > 0 {
        let _ =
            writeln!(text, "  {} times nothing came for two seconds, and it was begun anew", phase.stalls);
    }
    if let Some(cpu_us) = phase.cpu_us {
        let rss = phase.rss_bytes.unwrap_or_default() as f64 / 1e6;
        let _ = writeln!(text, "  broker   {cpu_us:.2} µs of CPU per {each}, {rss:.1} MB");
    }
    if let Some(own_us) = phase.bench_cpu_us {
        let _ = writeln!(text, "  bench    {own_us:.2} µs of CPU per {each}");
    }
}

/// Brokers side by side: of each figure the median of all rounds, and how it stands to the first broker's.
pub(super) fn comparison(names: &[&str], outcomes: &[Vec<Outcome>]) -> String {
    let mut text = String::new();
    let phases: Vec<&'static str> = match outcomes.iter().flatten().next() {
        Some(outcome) => outcome.phases.iter().map(|phase| phase.name).collect(),
        None => return text,
    };
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default().max(6);
    let rounds = outcomes.iter().map(Vec::len).max().unwrap_or_default();
    for (at, phase) in phases.iter().enumerate() {
        let _ = writeln!(text, "{phase}, medians of {rounds} (in brackets: to the first one's)");
        let _ = writeln!(
            text,
            "  {:<width$}  {:>18} {:>16} {:>16} {:>16} {:>10} {:>10}",
            "broker", "per s", "p50 µs", "p99 µs", "CPU µs", "RSS MB", "lost"
        );
        let columns: [fn(&Phase) -> Option<f64>; 4] = [
            |phase| Some(phase.per_s),
            |phase| phase.latency_us.map(|[p50, ..]| p50),
            |phase| phase.latency_us.map(|[_, p99, ..]| p99),
            |phase| phase.cpu_us,
        ];
        let median_of = |outcomes: &[Outcome], column: fn(&Phase) -> Option<f64>| {
            median(outcomes.iter().filter_map(|outcome| outcome.phases.get(at).and_then(column)).collect())
        };
        for (name, of) in names.iter().zip(outcomes) {
            let _ = write!(text, "  {name:<width$} ");
            for (column, digits, width) in
                [(columns[0], 0, 18), (columns[1], 0, 16), (columns[2], 0, 16), (columns[3], 2, 16)]
            {
                let first = outcomes.first().and_then(|first| median_of(first, column));
                let _ = write!(text, " {:>width$}", with_ratio(median_of(of, column), first, digits));
            }
            let rss = median_of(of, |phase| phase.rss_bytes.map(|bytes| bytes as f64 / 1e6));
            let rss = rss.map_or_else(|| "–".to_owned(), |rss| format!("{rss:.1}"));
            let lost: u64 = of.iter().filter_map(|outcome| outcome.phases.get(at)).map(Phase::lost).sum();
            let _ = writeln!(text, " {rss:>10} {lost:>10}");
        }
    }
    text
}

fn with_ratio(value: Option<f64>, first: Option<f64>, digits: usize) -> String {
    match (value, first) {
        (None, _) => "–".to_owned(),
        (Some(value), Some(first)) if first > 0.0 => format!("{value:.digits$} ({:.2})", value / first),
        (Some(value), _) => format!("{value:.digits$}"),
    }
}

/// The middle one; of two in the middle, what lies between them.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    match values.len() % 2 {
        0 => values.get(middle.checked_sub(1)?).map(|lower| f64::midpoint(*lower, upper)),
        _ => Some(upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![3.0, 1.0, 9.0, 5.0]), Some(4.0));
    }

    #[test]
    fn brokers_stand_side_by_side_with_ratios() {
        let outcome = |per_s| {
            let phase = Phase { name: "load", per_s, expected: 10, delivered: 9, ..Phase::default() };
            Outcome { phases: vec![phase], ..Outcome::default() }
        };
        let rounds = |rates: [f64; 3]| rates.map(outcome).into();
        let table = comparison(&["one", "other"], &[rounds([10.0, 30.0, 20.0]), rounds([5.0, 50.0, 40.0])]);
        let line = table.lines().last().unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["other", "40", "(2.00)", "–", "–", "–", "–", "3"], "{table}");
    }
}
