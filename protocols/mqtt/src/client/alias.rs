//! Topic aliases that the client sets (MQTT 5, section 3.3.2.3.4).

use std::num::NonZeroU16;
use std::sync::Arc;

/// Aliases that we set: the first topics get one and keep it.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    topics: Vec<Arc<str>>,
    maximum: u16,
}

impl Outbound {
    pub(super) fn new(maximum: u16) -> Self {
        Self { topics: Vec::new(), maximum }
    }

    /// The alias for a topic and whether the server knows it already, without remembering anything: the packet may
    /// turn out to be too large.
    pub(super) fn plan(&self, topic: &str) -> Option<(NonZeroU16, bool)> {
        let known = self.topics.iter().position(|known| **known == *topic);
        let place = known.or((self.topics.len() < usize::from(self.maximum)).then_some(self.topics.len()))?;
        let alias = u16::try_from(place).ok()?.checked_add(1)?;
        Some((NonZeroU16::new(alias)?, known.is_some()))
    }

    /// Remembers a planned alias whose packet has been written.
    pub(super) fn sent(&mut self, topic: &Arc<str>) {
        self.topics.push(Arc::clone(topic));
    }
}
