//! How many connections there may be, in all, of a listener and from one address, and how many may come in a second.
//! Asked at every accept, told at every close.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rate::{Bucket, Rate};
use crate::config;

/// Of the connections of a second, what may come at once: what comes in this time, and one in any case.
const AT_ONCE_MS: u64 = 100;

/// How long after a connection could not be accepted the broker counts as one that lets nobody in.
const A_MOMENT: Duration = Duration::from_secs(5);

/// Counts the connections of all workers.
#[derive(Debug)]
pub(super) struct Admission {
    counts: Mutex<Counts>,
}

/// What holds for all listeners together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    max_connections: u32,
    max_per_address: u32,
    connect_rate: Option<Rate>,
}

impl From<&config::Limits> for Limits {
    fn from(limits: &config::Limits) -> Self {
        Self {
            max_connections: limits.max_connections,
            max_per_address: limits.max_connections_per_address,
            connect_rate: Rate::new(limits.connect_rate.into()),
        }
    }
}

/// What holds for the connections of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Door {
    max_connections: Option<u32>,
    /// Of its own: none, without any bound if it is 0 a second.
    connect_rate: Option<Option<Rate>>,
}

impl Door {
    /// Without a `connect_rate` it counts among the others that have none; 0 is any number.
    pub(super) fn new(max_connections: Option<u32>, connect_rate: Option<u32>) -> Self {
        Self { max_connections, connect_rate: connect_rate.map(|rate| Rate::new(rate.into())) }
    }
}

#[derive(Debug)]
struct Counts {
    limits: Limits,
    all: u32,
    by_address: HashMap<IpAddr, u32>,
    by_listener: HashMap<u16, Behind>,
    /// Of the listeners that have no rate of their own.
    came: Bucket,
    /// When there was last no descriptor for one.
    lacked_descriptors: Option<Instant>,
}

/// What has come in by one listener.
#[derive(Debug, Default)]
struct Behind {
    here: u32,
    came: Bucket,
}

/// Why a connection is not admitted: the key of the limit and its value.
pub(super) type Full = (&'static str, u32);

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        let by_address = HashMap::new();
        let (by_listener, came) = (HashMap::new(), Bucket::default());
        let counts = Counts { limits, all: 0, by_address, by_listener, came, lacked_descriptors: None };
        Self { counts: Mutex::new(counts) }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other limits; who is there stays.
    pub(super) fn set_limits(&self, limits: Limits) {
        self.counts().limits = limits;
    }

    /// Whether one more may come through that door, or when, monotonic ms. Workers that ask at the same moment may let in
    /// one each; the next comes so much later.
    pub(super) fn may_enter(&self, door: (u16, Door), now_ms: u64) -> Result<(), u64> {
        let mut counts = self.counts();
        let Some((came, rate)) = counts.bucket(door) else { return Ok(()) };
        came.empty_until(rate, AT_ONCE_MS, now_ms).map_or(Ok(()), Err)
    }

    /// Counts a connection in, or says which limit it would break. Programs on this machine that come through a Unix socket
    /// have no address.
    pub(super) fn enter(&self, address: Option<IpAddr>, door: (u16, Door), now_ms: u64) -> Result<(), Full> {
        let mut counts = self.counts();
        // Who is turned away has cost something as well.
        if let Some((came, rate)) = counts.bucket(door) {
            came.take(rate, 1, now_ms);
        }
        if counts.all >= counts.limits.max_connections {
            return Err(("limits.max_connections", counts.limits.max_connections));
        }
        let (listener, Door { max_connections, .. }) = door;
        if let Some(most) = max_connections.filter(|most| counts.behind(listener).here >= *most) {
            return Err(("listener.max_connections", most));
        }
        counts.enter_address(address)?;
        counts.behind(listener).here += 1;
        counts.all += 1;
        Ok(())
    }

    /// Which limit lets nobody in any more, wherever he comes from.
    pub(super) fn is_full(&self) -> Option<Full> {
        let counts = self.counts();
        let most = counts.limits.max_connections;
        (counts.all >= most).then_some(("limits.max_connections", most))
    }

    /// A connection could not be accepted, as there was no descriptor for it.
    pub(super) fn lacked_descriptors(&self, now: Instant) {
        self.counts().lacked_descriptors = Some(now);
    }

    /// Whether that was so a moment ago: it is tried again all the time.
    pub(super) fn lacks_descriptors(&self, now: Instant) -> bool {
        self.counts().lacked_descriptors.is_some_and(|then| now.saturating_duration_since(then) < A_MOMENT)
    }

    /// Counts a connection that came through a proxy to whom it is for.
    pub(super) fn rename(&self, from: Option<IpAddr>, to: Option<IpAddr>) -> Result<(), Full> {
        let mut counts = self.counts();
        counts.enter_address(to)?;
        counts.leave_address(from);
        Ok(())
    }

    /// Counts a connection out.
    pub(super) fn leave(&self, address: Option<IpAddr>, listener: u16) {
        let mut counts = self.counts();
        counts.all = counts.all.saturating_sub(1);
        let behind = counts.behind(listener);
        behind.here = behind.here.saturating_sub(1);
        counts.leave_address(address);
    }
}

impl Counts {
    fn behind(&mut self, listener: u16) -> &mut Behind {
        self.by_listener.entry(listener).or_default()
    }

    /// The bucket that counts for a door, and at what rate it fills.
    fn bucket(&mut self, (listener, door): (u16, Door)) -> Option<(&mut Bucket, Rate)> {
        match door.connect_rate {
            Some(own) => Some((&mut self.behind(listener).came, own?)),
            None => Some((&mut self.came, self.limits.connect_rate?)),
        }
    }

    fn enter_address(&mut self, address: Option<IpAddr>) -> Result<(), Full> {
        let Some(address) = address else { return Ok(()) };
        let most = self.limits.max_per_address;
        let here = self.by_address.entry(address.to_canonical()).or_default();
        if *here >= most {
            return Err(("limits.max_connections_per_address", most));
        }
        *here += 1;
        Ok(())
    }

    fn leave_address(&mut self, address: Option<IpAddr>) {
        let Some(address) = address.map(|address| address.to_canonical()) else { return };
        if let Some(here) = self.by_address.get_mut(&address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                self.by_address.remove(&address);
            }
        }
        // A storm's table is not kept for ever.
        if self.by_address.capacity() > 64 && self.by_address.len() * 4 < self.by_address.capacity() {
            self.by_address.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: (u16, Door) = (0, Door { max_connections: None, connect_rate: None });

    fn limited(max_connections: u32, max_per_address: u32) -> Admission {
        Admission::new(Limits { max_connections, max_per_address, connect_rate: None })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, last]))
    }

    fn enter(admission: &Admission, address: Option<IpAddr>) -> Result<(), Full> {
        admission.enter(address, OPEN, 0)
    }

    #[test]
    fn both_limits_hold_at_the_edge_and_places_are_given_back() {
        let admission = limited(3, 2);
        assert_eq!(enter(&admission, address(1)), Ok(()));
        assert_eq!(enter(&admission, address(1)), Ok(()));
        assert_eq!(enter(&admission, address(1)), Err(("limits.max_connections_per_address", 2)));
        assert_eq!(enter(&admission, address(2)), Ok(()));
        assert_eq!(enter(&admission, address(3)), Err(("limits.max_connections", 3)));
        admission.leave(address(1), 0);
        assert_eq!(enter(&admission, address(1)), Ok(()));
    }

    #[test]
    fn an_ipv4_peer_is_one_address_however_it_is_written() {
        let admission = limited(9, 1);
        assert_eq!(enter(&admission, "::ffff:10.0.0.1".parse().ok()), Ok(()));
        assert!(enter(&admission, "10.0.0.1".parse().ok()).is_err());
    }

    #[test]
    fn who_comes_through_a_proxy_counts_where_he_comes_from() {
        let admission = limited(9, 2);
        let proxy = address(9);
        for client in [1, 2, 3] {
            assert_eq!(enter(&admission, proxy), Ok(()));
            assert_eq!(admission.rename(proxy, address(client)), Ok(()));
        }
        assert_eq!(enter(&admission, proxy), Ok(()));
        assert_eq!(admission.rename(proxy, address(1)), Ok(()));
        assert_eq!(enter(&admission, proxy), Ok(()));
        assert!(admission.rename(proxy, address(1)).is_err(), "and keeps its place until it is counted out");
        admission.leave(proxy, 0);
        admission.leave(address(1), 0);
        assert_eq!(enter(&admission, address(1)), Ok(()));
    }

    #[test]
    fn who_has_no_address_counts_among_all() {
        let admission = limited(2, 1);
        assert_eq!((enter(&admission, None), enter(&admission, None)), (Ok(()), Ok(())));
        assert_eq!(enter(&admission, None), Err(("limits.max_connections", 2)));
        admission.leave(None, 0);
        assert_eq!(enter(&admission, None), Ok(()));
    }

    #[test]
    fn a_listener_may_have_a_limit_of_its_own() {
        let admission = limited(9, 9);
        let narrow = (3, Door::new(Some(1), None));
        assert_eq!(admission.enter(address(1), narrow, 0), Ok(()));
        assert_eq!(admission.enter(address(2), narrow, 0), Err(("listener.max_connections", 1)));
        assert_eq!(enter(&admission, address(2)), Ok(()));
        admission.leave(address(1), 3);
        assert_eq!(admission.enter(address(2), narrow, 0), Ok(()));
    }

    #[test]
    fn who_comes_too_fast_is_told_when_to_come() {
        let limits = Limits { max_connections: 9, max_per_address: 9, connect_rate: Rate::new(2) };
        let admission = Admission::new(limits);
        let (own, free) = ((1, Door::new(None, Some(1))), (2, Door::new(None, Some(0))));
        assert_eq!(admission.may_enter(OPEN, 0), Ok(()));
        assert_eq!(admission.enter(None, OPEN, 0), Ok(()));
        assert_eq!(admission.may_enter(OPEN, 0), Err(500));
        assert_eq!(
            admission.may_enter((4, Door::default()), 0),
            Err(500),
            "all that have no rate of their own"
        );
        for _ in 0..2 {
            assert_eq!(admission.may_enter(free, 0), Ok(()));
            assert_eq!(admission.enter(None, free, 0), Ok(()));
        }
        assert_eq!(admission.may_enter(own, 0), Ok(()));
        assert_eq!(admission.enter(None, own, 0), Ok(()));
        assert_eq!(admission.may_enter(own, 0), Err(1_000));
        assert_eq!(admission.may_enter(OPEN, 500), Ok(()));
    }
}
