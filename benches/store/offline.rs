//! Messages for sessions whose clients are away: taken as fast as they are acknowledged, kept, given back.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_local};

use crate::broker::Broker;
use crate::client::{Client, Got};

/// Publishers, and messages that each has under way.
const PUBLISHERS: usize = 100;
const WINDOW: usize = 100;

/// Sessions whose clients are away; every message is for one of them.
const SESSIONS: usize = 200;

/// What nobody waits for is written within this.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn heading(messages: usize) {
    println!(
        "\n## {messages} messages of 100 bytes at QoS 1, {PUBLISHERS} publishers with {WINDOW} under way, {SESSIONS} \
         sessions away\n"
    );
    println!(
        "| broker | acknowledged/s | CPU µs/message | bytes written per message | RSS before, MB | RSS per message, \
         bytes | given back/s | CPU µs/message | bytes written per message to forget it |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
}

/// One line of the table.
pub(crate) async fn measure(broker: &mut Broker, messages: usize) {
    leave_sessions(broker.address).await;
    tokio::time::sleep(SETTLE).await;
    let (written, cpu, rss) = (broker.written_bytes(), broker.cpu_s(), broker.rss_bytes());
    let taking = fill(broker.address, messages).await;
    tokio::time::sleep(SETTLE).await;
    let kept = (broker.written_bytes(), broker.cpu_s(), broker.rss_bytes());
    let (giving, count) = empty(broker.address, messages).await;
    assert_eq!(count, messages, "{} lost some", broker.name());
    tokio::time::sleep(SETTLE).await;
    let each = |amount: f64| amount / messages as f64;
    println!(
        "| {} | {:.0} | {:.1} | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} | {:.0} |",
        broker.name(),
        messages as f64 / taking.as_secs_f64(),
        each((kept.1 - cpu) * 1e6),
        each((kept.0 - written) as f64),
        rss as f64 / 1e6,
        each(kept.2.saturating_sub(rss) as f64),
        messages as f64 / giving.as_secs_f64(),
        each((broker.cpu_s() - kept.1) * 1e6),
        each((broker.written_bytes() - kept.0) as f64),
    );
}

/// Makes the sessions and leaves them alone.
pub(crate) async fn leave_sessions(address: SocketAddr) {
    for session in 0..SESSIONS {
        let (mut client, _) = Client::connect(address, &format!("away-{session}")).await.unwrap();
        client.subscribe(&format!("away/{session}/state")).await.unwrap();
    }
}

/// Publishes until everything is acknowledged; how long that took.
pub(crate) async fn fill(address: SocketAddr, messages: usize) -> Duration {
    let mut clients = Vec::with_capacity(PUBLISHERS);
    for number in 0..PUBLISHERS {
        clients.push(Client::connect(address, &format!("publisher-{number}")).await.unwrap().0);
    }
    let mut publishing = JoinSet::new();
    let began = Instant::now();
    for (number, client) in clients.into_iter().enumerate() {
        let share = messages / PUBLISHERS + usize::from(number < messages % PUBLISHERS);
        publishing.spawn_local(publish(client, number, share));
    }
    while let Some(done) = publishing.join_next().await {
        done.unwrap();
    }
    began.elapsed()
}

async fn publish(mut client: Client, number: usize, messages: usize) {
    let topic = |message: usize| format!("away/{}/state", (number + message) % SESSIONS);
    let mut sent = 0;
    for id in (1..).map_while(NonZeroU16::new).take(WINDOW.min(messages)) {
        client.publish(&topic(sent), id);
        sent += 1;
    }
    let mut acked = 0;
    loop {
        client.flush().await.unwrap();
        if acked == messages {
            return;
        }
        client.read().await.unwrap();
        while let Some(got) = client.next() {
            let Got::Acked(id) = got else { continue };
            acked += 1;
            if sent < messages {
                client.publish(&topic(sent), id);
                sent += 1;
            }
        }
    }
}

/// The clients come back and take everything; how long that took, and how much it was.
async fn empty(address: SocketAddr, messages: usize) -> (Duration, usize) {
    let began = Instant::now();
    let taking: Vec<_> = (0..SESSIONS)
        .map(|session| {
            // Session s gets the messages of publisher p whose number n has (p + n) % SESSIONS = s.
            let due = (0..PUBLISHERS)
                .map(|number| {
                    let share = messages / PUBLISHERS + usize::from(number < messages % PUBLISHERS);
                    let first = (session + SESSIONS - number % SESSIONS) % SESSIONS;
                    share.saturating_sub(first).div_ceil(SESSIONS)
                })
                .sum();
            spawn_local(take(address, session, due))
        })
        .collect();
    let mut count = 0;
    for taken in taking {
        count += taken.await.unwrap();
    }
    (began.elapsed(), count)
}

async fn take(address: SocketAddr, session: usize, due: usize) -> usize {
    let (mut client, present) = Client::connect(address, &format!("away-{session}")).await.unwrap();
    assert!(present, "the session of away-{session} is lost");
    let mut taken = 0;
    loop {
        while let Some(got) = client.next() {
            if let Got::Message(id) = got {
                taken += 1;
                client.ack(id);
            }
        }
        client.flush().await.unwrap();
        if taken >= due {
            return taken;
        }
        // Only what is lost is waited for so long.
        if tokio::time::timeout(Duration::from_secs(20), client.read()).await.is_err() {
            return taken;
        }
    }
}
