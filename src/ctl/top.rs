//! `noctule ctl top`: what passes and what waits, anew each second.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::CtlError;
use super::ask::Broker;

/// How long between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Sums of metrics, over whatever labels they have.
#[derive(Debug, Default)]
struct Counts(HashMap<String, f64>);

impl Counts {
    /// Out of the text format of Prometheus: `name{labels} value`.
    fn read(text: &str) -> Self {
        let mut sums = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or(series);
            if let Ok(value) = value.parse::<f64>() {
                *sums.entry(name.to_owned()).or_insert(0.0) += value;
            }
        }
        Self(sums)
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }
}

/// One look beside the one before.
fn describe(now: &Counts, before: &Counts, seconds: f64) -> String {
    let rate = |name: &str| (now.get(name) - before.get(name)).max(0.0) / seconds;
    let lines = [
        ("messages in", format!("{:.0}/s", rate("noctule_messages_in_total"))),
        ("messages out", format!("{:.0}/s", rate("noctule_messages_out_total"))),
        ("payload in", format!("{}/s", bytes(rate("noctule_payload_bytes_in_total")))),
        ("payload out", format!("{}/s", bytes(rate("noctule_payload_bytes_out_total")))),
        (
            "dropped",
            format!(
                "{:.0}/s, {:.0} in all",
                rate("noctule_messages_dropped_total"),
                now.get("noctule_messages_dropped_total")
            ),
        ),
        (
            "clients",
            format!(
                "{:.0} connected, {:.0} sessions",
                now.get("noctule_clients_connected"),
                now.get("noctule_sessions")
            ),
        ),
        (
            "waiting",
            format!(
                "{:.0} messages, {:.0} in flight",
                now.get("noctule_queued_messages"),
                now.get("noctule_in_flight_messages")
            ),
        ),
        ("subscriptions", format!("{:.0}", now.get("noctule_subscriptions"))),
        (
            "retained",
            format!(
                "{:.0}, {}",
                now.get("noctule_retained_messages"),
                bytes(now.get("noctule_retained_bytes"))
            ),
        ),
        ("workers", format!("{:.1} % of one CPU", rate("noctule_worker_cpu_microseconds_total") / 10_000.0)),
        (
            "memory",
            format!(
                "{} of {}",
                bytes(now.get("noctule_memory_bytes")),
                bytes(now.get("noctule_memory_budget_bytes"))
            ),
        ),
        (
            "store",
            format!(
                "{} in the file, {}/s written, {:.0} commits/s",
                bytes(now.get("noctule_store_file_bytes")),
                bytes(rate("noctule_store_bytes_written_total")),
                rate("noctule_store_commits_total")
            ),
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        text.push_str(&format!("{name:<14} {value}\n"));
    }
    text
}

/// As a person reads it.
fn bytes(count: f64) -> String {
    let mut count = count;
    for unit in ["B", "KiB", "MiB"] {
        if count < 1_024.0 {
            return if unit == "B" { format!("{count:.0} B") } else { format!("{count:.1} {unit}") };
        }
        count /= 1_024.0;
    }
    format!("{count:.1} GiB")
}

/// Looks so often (0: until it is ended), and shows what it sees; on a terminal in place.
pub(super) async fn run(broker: &Broker, times: u32, out: &mut impl Write) -> Result<(), CtlError> {
    let is_terminal = std::io::stdout().is_terminal();
    let mut before = Counts::read(&broker.get("/metrics").await?.text()?);
    let mut then = Instant::now();
    let mut looked = 0;
    while times == 0 || looked < times {
        tokio::time::sleep(PERIOD).await;
        let now = Counts::read(&broker.get("/metrics").await?.text()?);
        let seconds = then.elapsed().as_secs_f64();
        then = Instant::now();
        if is_terminal {
            // From the top, over what was there (ECMA-48: CUP and ED).
            write!(out, "\x1b[H\x1b[2J")?;
        } else if looked > 0 {
            writeln!(out)?;
        }
        write!(out, "{}", describe(&now, &before, seconds))?;
        out.flush()?;
        before = now;
        looked += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_and_rates_are_of_a_second() {
        let text = |count: u32| {
            format!(
                "# HELP x y\nnoctule_messages_in_total{{protocol=\"mqtt\",qos=\"0\"}} {count}\nnoctule_messages_in_total{{protocol=\"stomp\",qos=\"1\"}} 4\nnoctule_clients_connected{{worker=\"0\"}} 3\n"
            )
        };
        let told = describe(&Counts::read(&text(110)), &Counts::read(&text(10)), 2.0);
        assert!(told.contains("messages in    50/s\n"), "{told}");
        assert!(told.contains("clients        3 connected"), "{told}");
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        assert_eq!(
            [0.0, 1_023.0, 1_536.0, 3.0 * 1_048_576.0].map(bytes),
            ["0 B", "1023 B", "1.5 KiB", "3.0 MiB"]
        );
    }
}
