//! `noctule bench`: measures a broker, ours or another, from a client's seat.
//!
//! A run is planned ([`plan`]), conducted ([`conduct`]) and told ([`report`]); the connections that do the work are
//! [`flow`]'s. Everything is on one thread, so that as much of the machine as possible is the broker's.

mod broker;
mod conduct;
mod flow;
mod lane;
mod outcome;
mod pacer;
mod plan;
mod process;
mod progress;
mod report;
mod stored;
mod tally;
mod visits;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::net::lookup_host;
use tokio::task::LocalSet;

use super::failure::{Failure, Place};
use super::stop::Stops;
use crate::cli::{BenchArgs, Exit, Scenario};
use broker::Broker;
use conduct::Run;
use outcome::Outcome;
use plan::Plan;
use process::Process;
use progress::Progress;

/// Carries out the command.
pub(super) async fn run(arguments: &BenchArgs) -> Result<Exit, Failure> {
    let scenario = match arguments.scenario {
        Some(scenario) if scenario != Scenario::List && !arguments.list => scenario,
        _ => {
            say(&report::scenarios())?;
            return Ok(Exit::Done);
        }
    };
    let plan = Plan::new(arguments, scenario)?;
    let brokers: Vec<Rc<Broker>> = Broker::all(arguments)?.into_iter().map(Rc::new).collect();
    LocalSet::new().run_until(rounds(arguments, &plan, &brokers)).await
}

async fn rounds(arguments: &BenchArgs, plan: &Plan, brokers: &[Rc<Broker>]) -> Result<Exit, Failure> {
    let mut stops = Stops::watch(None)?;
    let mut progress = Progress::new();
    let mut outcomes: Vec<Vec<Outcome>> = brokers.iter().map(|_| Vec::new()).collect();
    let several = brokers.len() > 1 || arguments.rounds > 1;
    'rounds: for round in 1..=arguments.rounds {
        for turn in 0..brokers.len() {
            // Nobody is always the first after a pause.
            let at = (turn + round as usize - 1) % brokers.len();
            let (Some(broker), Some(of)) = (brokers.get(at), outcomes.get_mut(at)) else { continue };
            let place = if plan.scenario.publishes_stomp() { &broker.stomp } else { &broker.mqtt };
            let process = match arguments.pid {
                Some(pid) => Some(Process(pid)),
                None => listening(place).await,
            };
            progress.begin();
            let number = RandomState::new().build_hasher().finish() as u32;
            let (stops, progress) = (&mut stops, &mut progress);
            let run = Run { plan, broker, process, stops, progress: &mut *progress, number };
            let done = run.run().await;
            progress.clear();
            let outcome = done?;
            if arguments.json {
                say(&format!("{}\n", outcome.json(plan, &broker.name, round)))?;
            } else {
                say(&report::run(plan, &broker.name, several.then_some(round), &outcome))?;
            }
            let interrupted = outcome.interrupted;
            of.push(outcome);
            if interrupted {
                break 'rounds;
            }
        }
    }
    if several && !arguments.json {
        let names: Vec<&str> = brokers.iter().map(|broker| broker.name.as_str()).collect();
        say(&report::comparison(&names, &outcomes))?;
    }
    Ok(Exit::Done)
}

impl Run<'_> {
    async fn run(self) -> Result<Outcome, Failure> {
        match self.plan.scenario {
            Scenario::OneToOne
            | Scenario::FanIn
            | Scenario::FanOut
            | Scenario::Latency
            | Scenario::StompTopic
            | Scenario::StompQueue
            | Scenario::Cross => self.load().await,
            Scenario::Retained | Scenario::Offline => self.stored().await,
            Scenario::Connect => self.visits().await,
            // It has been told before.
            Scenario::List => Ok(Outcome::default()),
        }
    }
}

/// The process that listens at a place on this machine, if that is to be seen.
async fn listening(place: &Place) -> Option<Process> {
    let addresses: Vec<IpAddr> =
        lookup_host((place.host.as_str(), place.port)).await.ok()?.map(|address| address.ip()).collect();
    let here = |address: &IpAddr| {
        // Only an address of this machine can be bound to.
        std::net::UdpSocket::bind((*address, 0)).is_ok()
    };
    addresses.into_iter().filter(here).find_map(|address| Process::listening(address, place.port))
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)
}
