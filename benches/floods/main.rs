//! What floods cost the broker and those who have done nothing: memory before, at most and afterwards, and the round trip
//! of a well-behaved client at QoS 1 before and meanwhile.
//!
//! `cargo bench --bench floods -- --run [--seconds 3] [--only "slow readers"]` starts a broker of its own for each flood, with
//! its defaults, on the loopback. The floods come from this process, so that on a small machine part of what a round trip
//! takes is the flood itself being made; the first row has nothing but a thread that keeps a core busy, for comparison.

#![allow(clippy::print_stdout, reason = "the figures are its output")]

mod attacks;
mod broker;
mod client;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use attacks::{ATTACKS, Attack};
use broker::{Broker, Failure};
use client::WellBehaved;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` without arguments builds and runs everything.
    if !arguments.iter().any(|argument| argument == "--run") {
        println!("floods: needs --run; see the head of benches/floods/main.rs");
        return Ok(());
    }
    let given = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).cloned()
    };
    let seconds = given("--seconds").and_then(|text| text.parse().ok()).unwrap_or(3);
    let only = given("--only");
    println!(
        "| flood | made | RSS before, MB | at most | afterwards | CPU | p50 before, ms | p50 meanwhile | p99 before | p99 meanwhile |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for attack in ATTACKS {
        if only.as_ref().is_none_or(|only| only == attack.name) {
            measure(attack, Duration::from_secs(seconds))?;
        }
    }
    Ok(())
}

/// Sets a flag even if what comes in between fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn measure(attack: &Attack, time: Duration) -> Result<(), Failure> {
    let broker = Broker::start()?;
    (attack.prepare)(&broker)?;
    let mut client = WellBehaved::new(&broker)?;
    let before = client.round_trips(time / 2)?;
    let (rss_before, cpu_before) = (broker.rss_kib()?, broker.cpu_ms()?);
    let (over, most) = (AtomicBool::new(false), Mutex::new(rss_before));
    let (broker, over, most) = (&broker, &over, &most);
    let (meanwhile, made) = std::thread::scope(|scope| -> Result<_, Failure> {
        let threads = (0..attack.threads)
            .map(|number| {
                scope.spawn(move || (number, (attack.flood)(broker, number, &|| over.load(Relaxed))))
            })
            .collect::<Vec<_>>();
        let meanwhile = {
            let _over = Over(over);
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    if let (Ok(rss), Ok(mut most)) = (broker.rss_kib(), most.lock()) {
                        *most = (*most).max(rss);
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            client.round_trips(time)
        }
        .map_err(|error| format!("{}: the well-behaved client has failed: {error}", attack.name))?;
        let mut made = 0;
        for thread in threads {
            let (number, result) = thread.join().map_err(|_| "a flood panicked")?;
            made += result.map_err(|error| format!("{}, thread {number}: {error}", attack.name))?;
        }
        Ok((meanwhile, made))
    })?;
    let cpu = broker.cpu_ms()?.saturating_sub(cpu_before) as f64 / time.as_secs_f64() / 10.0;
    // What was flooded has left; time for what is given back after a while.
    let left = Instant::now();
    while left.elapsed() < Duration::from_secs(3) {
        client.round_trips(Duration::from_millis(200))?;
    }
    let mb = |kib: u64| kib as f64 / 1_024.0;
    let most = *most.lock().map_err(|_| "the memory was not watched")?;
    println!(
        "| {} | {made} {} | {:.1} | {:.1} | {:.1} | {cpu:.0} % | {:.2} | {:.2} | {:.2} | {:.2} |",
        attack.name,
        attack.unit,
        mb(rss_before),
        mb(most),
        mb(broker.rss_kib()?),
        before.ms(50),
        meanwhile.ms(50),
        before.ms(99),
        meanwhile.ms(99),
    );
    Ok(())
}
