//! Somebody without a session who asks for the retained messages whenever the broker has come back.

use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::client::{Event, Options};
use noctule_mqtt::{Subscription, Version};

use crate::journal::Entry;
use crate::link::Link;
use crate::payload;
use crate::world::{Phase, World};

/// How long nothing must come until all retained messages are thought to be there.
const QUIET: Duration = Duration::from_millis(700);

/// Reads until the last reading is done.
pub(crate) fn run(world: &World) {
    let mut link = Link::new(world, Options::new(Version::V5, "reader"));
    while link.connect().is_some() {
        let last = world.is_at(Phase::Last);
        world.journal.note(Entry::Asks);
        let wanted = [Subscription::new("kept/#", Qos::AtLeastOnce)];
        link.machine.subscribe(link.now_ms(), &wanted, None, &[]).unwrap();
        let mut quiet = Instant::now();
        while link.is_up() && !world.is_over() {
            link.turn();
            while let Some(event) = link.machine.poll_event() {
                let Event::Message(message) = event else { continue };
                quiet = Instant::now();
                // A topic that is cleared while we look has no number.
                if message.payload.is_empty() {
                    continue;
                }
                match payload::read(&message.payload) {
                    Some((from, seq)) => world.journal.note(Entry::Kept { from, seq }),
                    None => world.wrong("the reader got a damaged message".to_owned()),
                }
            }
            if last && quiet.elapsed() > QUIET {
                world.journal.note(Entry::Asked);
                return;
            }
            if !last && world.is_at(Phase::Last) {
                link.leave();
            }
        }
    }
}
