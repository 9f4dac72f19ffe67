//! What the broker says of itself to its clients: `$SYS/broker/...`, by the names and in the words of Mosquitto
//! (mosquitto(8), "Broker status"), so that what watches one watches the other.
//!
//! A value is published when it has changed, while somebody subscribes to some of them, and all of them when somebody does so
//! anew; never retained or stored, and a broker at which nobody looks does nothing for it. What Mosquitto counts and we do not (packets of other
//! kinds than PUBLISH, bytes on the wire) is left out: a wrong number is worse than none.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use noctule_core::id::Qos;

use crate::broker::inspect::{Announcement, Inspector, Totals};

/// What the values of `load` are means over, minutes.
const LOADS: [(u32, &str); 3] = [(1, "1min"), (5, "5min"), (15, "15min")];

/// What `load` is told of.
const RATED: [&str; 3] = ["publish/received", "publish/sent", "publish/dropped"];

/// What was said last.
#[derive(Debug, Default)]
struct Said {
    values: HashMap<String, String>,
    most_clients: u64,
    most_memory: u64,
    /// The counts behind [`RATED`], and when they were read.
    counted: Option<([u64; 3], Instant)>,
    /// Their means per minute, for each of [`LOADS`].
    loads: [[f64; 3]; 3],
}

impl Said {
    /// What has changed.
    fn changes(&mut self, totals: &Totals, uptime: Duration, now: Instant) -> Vec<Announcement> {
        let clients = totals.sum(|stats| stats.connected);
        let sessions = totals.sum(|stats| stats.sessions);
        self.most_clients = self.most_clients.max(clients);
        self.most_memory = self.most_memory.max(totals.memory_bytes);
        let of_all = |counts: &[u64; 3]| counts.iter().sum::<u64>();
        let counted = [
            totals.sum(|stats| of_all(&stats.messages_in)),
            totals.sum(|stats| of_all(&stats.messages_out)),
            totals.sum(|stats| stats.dropped.iter().sum()),
        ];
        self.average(counted, now);
        let queued = totals.sum(|stats| stats.queued);
        let [received, sent, dropped] = counted;
        let mut values = vec![
            ("version".to_owned(), format!("noctule version {}", env!("CARGO_PKG_VERSION"))),
            ("uptime".to_owned(), format!("{} seconds", uptime.as_secs())),
        ];
        let numbers = [
            ("clients/connected", clients),
            ("clients/active", clients),
            ("clients/disconnected", sessions.saturating_sub(clients)),
            ("clients/inactive", sessions.saturating_sub(clients)),
            ("clients/total", sessions),
            ("clients/maximum", self.most_clients),
            ("publish/messages/received", received),
            ("publish/messages/sent", sent),
            ("publish/messages/dropped", dropped),
            ("publish/bytes/received", totals.sum(|stats| stats.payload_bytes_in)),
            ("publish/bytes/sent", totals.sum(|stats| stats.payload_bytes_out)),
            ("messages/inflight", totals.sum(|stats| stats.in_flight)),
            ("messages/stored", queued + totals.retained),
            ("store/messages/count", queued + totals.retained),
            ("retained messages/count", totals.retained),
            ("subscriptions/count", totals.subscriptions),
            ("heap/current", totals.memory_bytes),
            ("heap/maximum", self.most_memory),
        ];
        values.extend(numbers.map(|(name, value)| (name.to_owned(), value.to_string())));
        for (means, (_, span)) in self.loads.iter().zip(LOADS) {
            for (mean, name) in means.iter().zip(RATED) {
                values.push((format!("load/{name}/{span}"), format!("{mean:.2}")));
            }
        }
        values.retain(|(name, value)| self.values.get(name) != Some(value));
        self.values.extend(values.iter().cloned());
        let announcement = |(name, value): (String, String)| Announcement {
            topic: format!("$SYS/broker/{name}"),
            payload: value.into_bytes(),
            qos: Qos::AtMostOnce,
            // Who comes later is told all of it anew: what was true some time ago is no answer.
            retain: false,
        };
        values.into_iter().map(announcement).collect()
    }

    /// Takes counts into the means, which forget what is long ago.
    fn average(&mut self, counted: [u64; 3], now: Instant) {
        let before = self.counted.replace((counted, now));
        let Some((before, then)) = before else { return };
        let minutes = (now - then).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        for (means, (span, _)) in self.loads.iter_mut().zip(LOADS) {
            let weight = 1.0 - (-minutes / f64::from(span)).exp();
            for ((mean, now), before) in means.iter_mut().zip(counted).zip(before) {
                let rate = now.saturating_sub(before) as f64 / minutes;
                *mean += weight * (rate - *mean);
            }
        }
    }
}

/// Says it every so often while somebody has subscribed to some of it, and all of it at once to who asks for it.
pub(super) async fn run(inspector: Inspector, interval: Duration) {
    let (begun, mut said) = (Instant::now(), Said::default());
    let nothing = Totals::default();
    let all = Said::default().changes(&nothing, Duration::ZERO, begun);
    let topics: Vec<_> = all.into_iter().map(|announcement| announcement.topic).collect();
    loop {
        let is_asked_for = tokio::time::timeout(interval, inspector.sys_is_wanted()).await.is_ok();
        if !is_asked_for && !inspector.is_subscribed(&topics) {
            continue;
        }
        match inspector.totals().await {
            // By now the workers have done what they were asked for.
            Ok(totals) if inspector.is_subscribed(&topics) => {
                if is_asked_for {
                    said.values.clear();
                }
                let now = Instant::now();
                let changes = said.changes(&totals, now - begun, now);
                if let Err(error) = inspector.announce(changes).await {
                    tracing::warn!("$SYS is not published: {error}");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("$SYS is not published: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use noctule_core::engine::Stats;

    use super::*;

    fn totals(received: u64, connected: u64) -> Totals {
        let stats = Stats { messages_in: [received, 0, 0], connected, sessions: 5, ..Stats::default() };
        Totals {
            workers: vec![stats, Stats::default()],
            subscriptions: 7,
            retained: 2,
            retained_bytes: 0,
            memory_bytes: 9,
        }
    }

    fn value(said: &[Announcement], name: &str) -> Option<String> {
        let found = said.iter().find(|message| message.topic == format!("$SYS/broker/{name}"))?;
        Some(String::from_utf8(found.payload.clone()).unwrap())
    }

    #[test]
    fn a_value_is_said_when_it_has_changed() {
        let (mut said, begun) = (Said::default(), Instant::now());
        let first = said.changes(&totals(10, 3), Duration::from_secs(1), begun);
        assert_eq!(value(&first, "clients/connected").as_deref(), Some("3"));
        assert_eq!(value(&first, "clients/disconnected").as_deref(), Some("2"));
        assert_eq!(value(&first, "uptime").as_deref(), Some("1 seconds"));
        assert!(first.iter().all(|message| !message.retain && message.qos == Qos::AtMostOnce));
        let later = said.changes(&totals(10, 1), Duration::from_secs(2), begun + Duration::from_secs(10));
        assert_eq!(value(&later, "clients/connected").as_deref(), Some("1"));
        assert_eq!(value(&later, "clients/maximum"), None);
        assert_eq!(value(&later, "subscriptions/count"), None);
    }

    #[test]
    fn loads_come_to_what_is_constant() {
        let (mut said, begun) = (Said::default(), Instant::now());
        let mut last = Vec::new();
        for minute in 0..=120 {
            let now = begun + Duration::from_secs(60 * minute);
            last.extend(said.changes(&totals(600 * minute, 1), Duration::ZERO, now));
        }
        last.reverse();
        for span in ["1min", "5min"] {
            assert_eq!(
                value(&last, &format!("load/publish/received/{span}")).as_deref(),
                Some("600.00"),
                "{span}"
            );
        }
    }
}
