//! Messages for sessions whose clients are there: how long the publisher waits, and what is written after all.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep_until};

use crate::broker::Broker;
use crate::client::{Client, Got};

/// Pairs of a publisher and a subscriber.
const PAIRS: usize = 50;

/// Time between two messages of one publisher.
const PERIOD: Duration = Duration::from_millis(50);

pub(crate) fn heading(seconds: u64) {
    let rate = PAIRS as u128 * 1_000 / PERIOD.as_millis();
    println!(
        "\n## Everybody is there: {PAIRS} pairs at QoS 1, all sessions kept, {rate} messages/s for {seconds} s\n"
    );
    println!(
        "| broker | subscriber acknowledges after, ms | publisher's p50, ms | p99, ms | messages written | \
         bytes written per message | CPU µs/message |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
}

/// One line of the table; the broker has ended then.
pub(crate) async fn measure(broker: &mut Broker, seconds: u64, delay_ms: u64) {
    let mut publishers = Vec::with_capacity(PAIRS);
    let mut answering = Vec::with_capacity(PAIRS);
    for pair in 0..PAIRS {
        let (mut subscriber, _) = Client::connect(broker.address, &format!("taker-{pair}")).await.unwrap();
        subscriber.subscribe(&format!("live/{pair}/state")).await.unwrap();
        answering.push(spawn_local(answer(subscriber, Duration::from_millis(delay_ms))));
        publishers.push(Client::connect(broker.address, &format!("giver-{pair}")).await.unwrap().0);
    }
    // Sessions and subscriptions are written by now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (written, cpu) = (broker.written_bytes(), broker.cpu_s());
    let count = (seconds * 1_000 / PERIOD.as_millis() as u64) as usize;
    let mut publishing = JoinSet::new();
    for (pair, client) in publishers.into_iter().enumerate() {
        let first = Instant::now() + PERIOD * pair as u32 / PAIRS as u32;
        publishing.spawn_local(publish(client, format!("live/{pair}/state"), first, count));
    }
    let mut waits = Vec::with_capacity(count * PAIRS);
    while let Some(waited) = publishing.join_next().await {
        waits.extend(waited.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    waits.sort_unstable();
    let quantile = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e3;
    let each = |amount: f64| amount / waits.len() as f64;
    let bytes = each((broker.written_bytes() - written) as f64);
    let cpu_us = each((broker.cpu_s() - cpu) * 1e6);
    answering.into_iter().for_each(|task| task.abort());
    let share = broker.stop().map_or_else(
        || "not told".to_owned(),
        |(stored, spared)| format!("{:.1} %", stored as f64 * 100.0 / (stored + spared) as f64),
    );
    println!(
        "| {} | {delay_ms} | {:.2} | {:.2} | {share} | {bytes:.0} | {cpu_us:.1} |",
        broker.name(),
        quantile(50),
        quantile(99),
    );
}

/// Publishes in time, whatever the answers do; how long each took, counted from when it was due.
async fn publish(mut client: Client, topic: String, first: Instant, count: usize) -> Vec<Duration> {
    let mut due = VecDeque::with_capacity(count);
    let mut waits = Vec::with_capacity(count);
    let mut sent = 0;
    while waits.len() < count {
        let next = first + PERIOD * sent as u32;
        tokio::select! {
            () = sleep_until(next), if sent < count => {
                client.publish(&topic, NonZeroU16::new(sent as u16 % 60_000 + 1).unwrap());
                client.flush().await.unwrap();
                due.push_back(next);
                sent += 1;
            }
            read = client.read() => {
                read.unwrap();
                while let Some(got) = client.next() {
                    // Answers come in the order of the messages [MQTT-4.6.0-2].
                    if let (Got::Acked(_), Some(due)) = (got, due.pop_front()) {
                        waits.push(due.elapsed());
                    }
                }
            }
        }
    }
    waits
}

/// Takes messages and acknowledges each so much later.
async fn answer(mut client: Client, delay: Duration) {
    let mut owed: VecDeque<(Instant, NonZeroU16)> = VecDeque::new();
    loop {
        let next = owed.front().map(|(due, _)| *due);
        tokio::select! {
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            read = client.read() => {
                if read.is_err() {
                    return;
                }
            }
        }
        while let Some(got) = client.next() {
            if let Got::Message(id) = got {
                owed.push_back((Instant::now() + delay, id));
            }
        }
        while let Some((_, id)) = owed.front().filter(|(due, _)| *due <= Instant::now()) {
            client.ack(*id);
            owed.pop_front();
        }
        if client.flush().await.is_err() {
            return;
        }
    }
}
