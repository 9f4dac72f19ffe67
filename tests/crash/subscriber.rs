//! Somebody whose session stays, who takes what comes, and who may be away for most of the time.

use std::num::NonZeroU16;
use std::time::Instant;

use noctule_mqtt::Subscription;
use noctule_mqtt::client::{Event, Options};

use crate::cast::SUBSCRIBERS;
use crate::journal::Entry;
use crate::link::Link;
use crate::payload;
use crate::rng::Rng;
use crate::world::{Phase, World};

/// Receive Maximum of MQTT 5 subscribers: few enough to be reached.
const RECEIVE_MAXIMUM: NonZeroU16 = NonZeroU16::MIN.saturating_add(15);

/// Takes what comes until the run is over.
pub(crate) fn run(world: &World, by: usize, mut rng: Rng) {
    let about = &SUBSCRIBERS[by];
    let mut options = Options::new(about.version, about.name);
    options.clean_start = false;
    options.session_expiry_s = about.version.is_v5().then_some(86_400);
    options.receive_maximum = RECEIVE_MAXIMUM;
    let mut link = Link::new(world, options);
    let mut stood = false;
    while let Some(present) = link.connect() {
        if !present {
            if stood {
                world.wrong(format!("{} has lost its session", about.name));
            }
            let wanted = [Subscription::new(about.filter, about.qos)];
            link.machine.subscribe(link.now_ms(), &wanted, None, &[]).unwrap();
        }
        let mut until = Instant::now() + rng.millis(10, 150);
        loop {
            while let Some(event) = link.machine.poll_event() {
                match event {
                    Event::Message(message) => match payload::read(&message.payload) {
                        Some((from, seq)) => world.journal.note(Entry::Got { by, from, seq }),
                        None => world.wrong(format!("{} got a damaged message", about.name)),
                    },
                    Event::Subscribed { granted, .. } if granted != [Ok(about.qos)] => {
                        world.wrong(format!("{} was granted {granted:?}", about.name));
                    }
                    Event::Subscribed { .. } if !stood => {
                        stood = true;
                        world.stand();
                        until = Instant::now() + rng.millis(10, 150);
                    }
                    _ => {}
                }
            }
            // After the events: a broker's DISCONNECT may come with the last messages.
            if !link.is_up() || world.is_over() {
                break;
            }
            if about.wanders && stood && Instant::now() > until && !world.is_at(Phase::Drain) {
                if rng.once_in(2) {
                    link.leave();
                } else {
                    link.lose();
                }
                let back = Instant::now() + rng.millis(50, 400);
                crate::world::wait(back - Instant::now(), || world.is_at(Phase::Drain));
                break;
            }
            link.turn();
        }
    }
}
