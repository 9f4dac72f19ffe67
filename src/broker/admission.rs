//! How many connections there may be, in all and from one address. Asked at every accept, told at every close.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Counts the connections of all workers.
#[derive(Debug)]
pub(super) struct Admission {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    max_connections: u32,
    max_per_address: u32,
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// Why a connection is not admitted: the key of the limit and its value.
pub(super) type Full = (&'static str, u32);

impl Admission {
    pub(super) fn new(max_connections: u32, max_per_address: u32) -> Self {
        Self { counts: Mutex::new(Counts { max_connections, max_per_address, ..Counts::default() }) }
    }

    /// Other limits; who is there stays.
    pub(super) fn set_limits(&self, max_connections: u32, max_per_address: u32) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.max_connections, counts.max_per_address) = (max_connections, max_per_address);
    }

    /// Counts a connection in, or says which limit it would break. Programs on this machine that come through a Unix socket
    /// have no address.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> Result<(), Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= counts.max_connections {
            return Err(("limits.max_connections", counts.max_connections));
        }
        counts.enter_address(address)?;
        counts.all += 1;
        Ok(())
    }

    /// Counts a connection that came through a proxy to whom it is for.
    pub(super) fn rename(&self, from: Option<IpAddr>, to: Option<IpAddr>) -> Result<(), Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.enter_address(to)?;
        counts.leave_address(from);
        Ok(())
    }

    /// Counts a connection out.
    pub(super) fn leave(&self, address: Option<IpAddr>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        counts.leave_address(address);
    }
}

impl Counts {
    fn enter_address(&mut self, address: Option<IpAddr>) -> Result<(), Full> {
        let Some(address) = address else { return Ok(()) };
        let most = self.max_per_address;
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

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn both_limits_hold_at_the_edge_and_places_are_given_back() {
        let admission = Admission::new(3, 2);
        assert_eq!(admission.enter(address(1)), Ok(()));
        assert_eq!(admission.enter(address(1)), Ok(()));
        assert_eq!(admission.enter(address(1)), Err(("limits.max_connections_per_address", 2)));
        assert_eq!(admission.enter(address(2)), Ok(()));
        assert_eq!(admission.enter(address(3)), Err(("limits.max_connections", 3)));
        admission.leave(address(1));
        assert_eq!(admission.enter(address(1)), Ok(()));
    }

    #[test]
    fn an_ipv4_peer_is_one_address_however_it_is_written() {
        let admission = Admission::new(9, 1);
        assert_eq!(admission.enter("::ffff:10.0.0.1".parse().ok()), Ok(()));
        assert!(admission.enter("10.0.0.1".parse().ok()).is_err());
    }

    #[test]
    fn who_comes_through_a_proxy_counts_where_he_comes_from() {
        let admission = Admission::new(9, 2);
        let proxy = address(9);
        for client in [1, 2, 3] {
            assert_eq!(admission.enter(proxy), Ok(()));
            assert_eq!(admission.rename(proxy, address(client)), Ok(()));
        }
        assert_eq!(admission.enter(proxy), Ok(()));
        assert_eq!(admission.rename(proxy, address(1)), Ok(()));
        assert_eq!(admission.enter(proxy), Ok(()));
        assert!(admission.rename(proxy, address(1)).is_err(), "and keeps its place until it is counted out");
        admission.leave(proxy);
        admission.leave(address(1));
        assert_eq!(admission.enter(address(1)), Ok(()));
    }

    #[test]
    fn who_has_no_address_counts_among_all() {
        let admission = Admission::new(2, 1);
        assert_eq!((admission.enter(None), admission.enter(None)), (Ok(()), Ok(())));
        assert_eq!(admission.enter(None), Err(("limits.max_connections", 2)));
        admission.leave(None);
        assert_eq!(admission.enter(None), Ok(()));
    }
}
