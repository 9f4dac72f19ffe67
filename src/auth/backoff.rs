//! Who has guessed wrong too often has to wait, longer each time.
//!
//! A whole plant may sit behind one address: one device with an old password must not lock out the others. So it is first
//! the pair of address and user that waits, and the address only after many more failures; what is refused because it
//! has to wait counts for neither, and what a pair fails after its waiting has begun does not count for the address: the
//! old password of one device costs its neighbours nothing, a stranger who tries name after name does. Everything is
//! forgotten in time, and both tables are bounded.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// When to make somebody wait. Times in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Failures of a user at an address before he waits.
    pub free: u32,
    /// Failures at an address, of whomever, before all there wait.
    pub free_per_address: u32,
    /// The first wait; each further failure doubles it.
    pub first_ms: u64,
    /// The longest.
    pub longest_ms: u64,
    /// The longest for a whole address.
    pub longest_per_address_ms: u64,
    /// In this time half of the failures are forgotten.
    pub half_life_ms: u64,
    /// Most pairs, and most addresses, that are remembered.
    pub remembered: usize,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            free: 5,
            free_per_address: 50,
            first_ms: 1_000,
            longest_ms: 5 * 60_000,
            longest_per_address_ms: 60_000,
            half_life_ms: 10 * 60_000,
            remembered: 4_096,
        }
    }
}

/// An address as far as one party has it: one IPv4 address, or a /64, of which everybody has as many addresses as he likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    V4([u8; 4]),
    V6([u8; 8]),
    /// A Unix socket.
    Here,
}

impl Place {
    fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Here,
            Some(IpAddr::V4(address)) => Self::V4(address.octets()),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    number: u32,
    /// Since when they have not been halved.
    since_ms: u64,
    /// Until when to wait.
    until_ms: u64,
}

/// The failures of late.
#[derive(Debug)]
pub struct Backoff {
    settings: BackoffSettings,
    pairs: HashMap<(Place, Box<str>), Failures>,
    places: HashMap<Place, Failures>,
}

impl Backoff {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, pairs: HashMap::new(), places: HashMap::new() }
    }

    /// Other settings from now on; failures are kept.
    pub fn set(&mut self, settings: BackoffSettings) {
        self.settings = settings;
    }

    /// How long, in ms, `user` (empty for none) at `address` (`None`: a Unix socket) still has to wait; 0: not at all.
    /// `mono_ms` is the monotonic clock.
    #[must_use]
    pub fn wait_ms(&self, address: Option<IpAddr>, user: &str, mono_ms: u64) -> u64 {
        let place = Place::of(address);
        let left = |failures: &Failures| failures.until_ms.saturating_sub(mono_ms);
        let all = self.places.get(&place).map_or(0, left);
        if self.pairs.is_empty() {
            return all;
        }
        all.max(self.pairs.get(&(place, user.into())).map_or(0, left))
    }

    /// `user` at `address` has given a wrong proof.
    pub fn failed(&mut self, address: Option<IpAddr>, user: &str, mono_ms: u64) {
        let (place, settings) = (Place::of(address), self.settings);
        let pair = (settings.free, settings.longest_ms);
        let number = count(&mut self.pairs, (place, user.into()), pair, settings, mono_ms);
        if number <= settings.free.max(1) {
            let all = (settings.free_per_address, settings.longest_per_address_ms);
            count(&mut self.places, place, all, settings, mono_ms);
        }
    }

    /// `user` at `address` has given a right one: what he failed before was a slip. The address's count stays, or whoever
    /// has one account could guess at the others for ever.
    pub fn succeeded(&mut self, address: Option<IpAddr>, user: &str) {
        if !self.pairs.is_empty() {
            self.pairs.remove(&(Place::of(address), user.into()));
        }
    }
}

/// Counts one more failure, and how many that makes.
fn count<K: Hash + Eq + Clone + Ord>(
    table: &mut HashMap<K, Failures>,
    key: K,
    (free, longest_ms): (u32, u64),
    settings: BackoffSettings,
    mono_ms: u64,
) -> u32 {
    if !table.contains_key(&key) && table.len() >= settings.remembered.max(1) {
        make_room(table, settings, mono_ms);
    }
    let failures = table.entry(key).or_insert(Failures { number: 0, since_ms: mono_ms, until_ms: 0 });
    failures.decay(settings, mono_ms);
    failures.number = failures.number.saturating_add(1);
    if let Some(beyond) = failures.number.checked_sub(free).and_then(|beyond| beyond.checked_sub(1)) {
        let wait = 1_u64.checked_shl(beyond).and_then(|times| settings.first_ms.checked_mul(times));
        failures.until_ms = mono_ms.saturating_add(wait.unwrap_or(u64::MAX).min(longest_ms));
    }
    failures.number
}

impl Failures {
    /// Halves them once for each half-life that has passed; what is left of one counts towards the next.
    fn decay(&mut self, settings: BackoffSettings, mono_ms: u64) {
        let half_life_ms = settings.half_life_ms.max(1);
        let halvings = mono_ms.saturating_sub(self.since_ms) / half_life_ms;
        self.since_ms = self.since_ms.saturating_add(halvings.saturating_mul(half_life_ms));
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        self.number = self.number.checked_shr(halvings).unwrap_or(0);
    }
}

/// Forgets what has decayed, and if that is nothing the one with the fewest failures: who floods the table with new names
/// does not get the old ones forgotten that are waiting.
fn make_room<K: Hash + Eq + Clone + Ord>(
    table: &mut HashMap<K, Failures>,
    settings: BackoffSettings,
    mono_ms: u64,
) {
    let before = table.len();
    table.retain(|_, failures| {
        failures.decay(settings, mono_ms);
        failures.until_ms > mono_ms || failures.number > 0
    });
    if table.len() < before {
        return;
    }
    let least = table.iter().min_by_key(|(key, failures)| (failures.until_ms, failures.number, *key));
    if let Some(key) = least.map(|(key, _)| key.clone()) {
        table.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn fail(backoff: &mut Backoff, times: u32, address: &str, user: &str) {
        for _ in 0..times {
            backoff.failed(ip(address), user, 0);
        }
    }

    #[test]
    fn waits_begin_after_the_free_ones_and_double_to_the_longest() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        let mut waits = Vec::new();
        for _ in 0..16 {
            backoff.failed(ip("10.0.0.1"), "alice", 0);
            waits.push(backoff.wait_ms(ip("10.0.0.1"), "alice", 0) / 1_000);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "alice", 299_999), 1);
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "alice", 300_000), 0);
        fail(&mut backoff, 60, "10.0.0.1", "alice");
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "alice", 0), 300_000, "no shift goes too far");
    }

    #[test]
    fn one_bad_device_does_not_lock_out_its_neighbours() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        // It tries for a day, each time as soon as it may.
        let (mut now, mut tries) = (0, 0);
        while now < 86_400_000 {
            backoff.failed(ip("10.0.0.1"), "old", now);
            tries += 1;
            assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "good", now), 0, "at {now}");
            now += backoff.wait_ms(ip("10.0.0.1"), "old", now).max(1);
        }
        for bad in 0..9 {
            fail(&mut backoff, 1_000, "10.0.0.2", &format!("bad{bad}"));
        }
        assert_eq!(backoff.wait_ms(ip("10.0.0.2"), "good", 0), 0, "nor do several");
        assert!(tries < 1_500, "{tries} guesses a day");
    }

    #[test]
    fn many_names_from_one_address_make_it_wait() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        for number in 0..50 {
            backoff.failed(ip("10.0.0.1"), &format!("user{number}"), 0);
        }
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "good", 0), 0);
        backoff.failed(ip("10.0.0.1"), "another", 0);
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "good", 0), 1_000);
        backoff.succeeded(ip("10.0.0.1"), "good");
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "good", 0), 1_000, "not washed off by one's own account");
        for number in 0..20 {
            backoff.failed(ip("10.0.0.1"), &format!("more{number}"), 0);
        }
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "good", 0), 60_000, "the longest");
        assert_eq!(backoff.wait_ms(ip("10.0.0.2"), "good", 0), 0);
    }

    #[test]
    fn addresses_are_told_apart_as_far_as_they_are_anybodys() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        for (number, host) in ["1", "2", "3", "4", "ffff:5", "6:7:8:9"].iter().enumerate() {
            let address = if host.matches(':').count() == 3 {
                format!("2001:db8:0:1:{host}")
            } else {
                format!("2001:db8:0:1::{host}")
            };
            assert_eq!(backoff.wait_ms(ip(&address), "a", 0), 0, "{number}");
            backoff.failed(ip(&address), "a", 0);
        }
        assert_eq!(backoff.wait_ms(ip("2001:db8:0:1::9"), "a", 0), 1_000, "the same /64");
        assert_eq!(backoff.wait_ms(ip("2001:db8:0:2::1"), "a", 0), 0, "another");
        fail(&mut backoff, 6, "10.0.0.1", "a");
        assert_eq!(backoff.wait_ms(ip("::ffff:10.0.0.1"), "a", 0), 1_000, "the same in IPv6's clothes");
        assert_eq!(backoff.wait_ms(None, "a", 0), 0, "a Unix socket");
    }

    #[test]
    fn a_right_password_and_time_forgive() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        fail(&mut backoff, 5, "10.0.0.1", "a");
        backoff.succeeded(ip("10.0.0.1"), "a");
        fail(&mut backoff, 5, "10.0.0.1", "a");
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "a", 0), 0);
        // 5 are 2 after a half-life, and the third is free again.
        backoff.failed(ip("10.0.0.1"), "a", 600_000);
        assert_eq!(backoff.wait_ms(ip("10.0.0.1"), "a", 600_000), 0);
    }

    #[test]
    fn the_tables_are_bounded_and_who_waits_is_not_flushed_out() {
        let settings = BackoffSettings { remembered: 64, ..BackoffSettings::default() };
        let mut backoff = Backoff::new(settings);
        fail(&mut backoff, 10, "10.0.0.1", "guesser");
        for number in 0..10_000_u32 {
            backoff.failed(Some(std::net::Ipv4Addr::from(0x0b00_0000 + number).into()), "x", 1);
        }
        assert_eq!((backoff.pairs.len(), backoff.places.len()), (64, 64));
        assert!(backoff.wait_ms(ip("10.0.0.1"), "guesser", 1) > 0);
        // Long after, all of them go at once.
        backoff.failed(ip("10.9.9.9"), "x", 86_400_000);
        assert_eq!((backoff.pairs.len(), backoff.places.len()), (1, 1));
    }

    #[test]
    fn odd_settings_do_no_harm() {
        let odd = BackoffSettings {
            half_life_ms: 0,
            remembered: 0,
            first_ms: u64::MAX,
            free: 0,
            ..BackoffSettings::default()
        };
        let mut backoff = Backoff::new(odd);
        backoff.failed(None, "", u64::MAX);
        backoff.failed(None, "b", 0);
        assert_eq!(backoff.wait_ms(None, "b", 0), 300_000);
    }
}
