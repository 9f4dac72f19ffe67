//! How many connections there may be, in all and from one address. Asked at every accept, told at every close.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Counts the connections of all workers.
#[derive(Debug)]
pub(super) struct Admission {
    max_connections: u32,
    max_per_address: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// Why a connection is not admitted: the key of the limit and its value.
pub(super) type Full = (&'static str, u32);

impl Admission {
    pub(super) fn new(max_connections: u32, max_per_address: u32) -> Self {
        Self { max_connections, max_per_address, counts: Mutex::default() }
    }

    /// Counts a connection in, or says which limit it would break.
    pub(super) fn enter(&self, address: IpAddr) -> Result<(), Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.max_connections {
            return Err(("limits.max_connections", self.max_connections));
        }
        let here = counts.by_address.entry(address.to_canonical()).or_default();
        if *here >= self.max_per_address {
            return Err(("limits.max_connections_per_address", self.max_per_address));
        }
        *here += 1;
        counts.all += 1;
        Ok(())
    }

    /// Counts a connection out.
    pub(super) fn leave(&self, address: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        let address = address.to_canonical();
        if let Some(here) = counts.by_address.get_mut(&address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                counts.by_address.remove(&address);
            }
        }
        // A storm's table is not kept for ever.
        if counts.by_address.capacity() > 64 && counts.by_address.len() * 4 < counts.by_address.capacity() {
            counts.by_address.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
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
        assert_eq!(admission.enter("::ffff:10.0.0.1".parse().unwrap()), Ok(()));
        assert!(admission.enter("10.0.0.1".parse().unwrap()).is_err());
    }
}
