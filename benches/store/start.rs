//! A start with many messages in the store.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::client::Client;
use crate::offline::{fill, leave_sessions};

pub(crate) fn heading(messages: usize) {
    println!("\n## A start with {messages} messages kept\n");
    println!("| broker | ended by | listens after, ms | first session is there after, ms | RSS then, MB |");
    println!("| --- | --- | --- | --- | --- |");
}

/// One line of the table for each way to end: a kill, and for all the orderly one.
pub(crate) async fn measure(broker: &mut Broker, messages: usize) {
    leave_sessions(broker.address).await;
    fill(broker.address, messages).await;
    // Mosquitto writes its messages at its end (and twice an hour): a kill leaves nothing to start with.
    let ends: &[&str] = if broker.keeps_at_once() { &["SIGKILL", "SIGTERM"] } else { &["SIGTERM"] };
    for end in ends {
        if *end == "SIGKILL" {
            broker.kill();
        } else {
            broker.stop();
        }
        let began = Instant::now();
        let listens = broker.start_again();
        let (client, present) = Client::connect(broker.address, "away-7").await.unwrap();
        let there = began.elapsed();
        assert!(present, "{} has lost a session", broker.name());
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let rss = broker.rss_bytes() as f64 / 1e6;
        println!("| {} | {end} | {:.0} | {:.0} | {rss:.1} |", broker.name(), ms(listens), ms(there));
        drop(client);
    }
}
