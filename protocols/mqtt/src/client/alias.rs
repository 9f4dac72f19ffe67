//! Topic aliases of one connection as its client has them, both ways (MQTT 5, section 3.3.2.3.4).

use std::num::NonZeroU16;
use std::sync::Arc;

use super::error::ClientError;
use crate::reason::Reason;

/// Aliases set by the server; never more than it was allowed.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    topics: Vec<Box<str>>,
}

impl Inbound {
    /// Sets the alias if a topic comes with it; returns the topic that it stands for.
    pub(super) fn resolve<'a>(
        &'a mut self,
        alias: NonZeroU16,
        topic: &'a str,
        maximum: u16,
    ) -> Result<&'a str, ClientError> {
        if alias.get() > maximum {
            return Err(ClientError::Violation {
                reason: Reason::TOPIC_ALIAS_INVALID,
                detail: format!("topic alias {alias} is above the maximum of {maximum} [MQTT-3.1.2-26]"),
            });
        }
        let place = usize::from(alias.get()) - 1;
        if !topic.is_empty() {
            if self.topics.len() <= place {
                self.topics.resize(place + 1, Box::default());
            }
            if let Some(known) = self.topics.get_mut(place) {
                *known = topic.into();
            }
            return Ok(topic);
        }
        match self.topics.get(place) {
            Some(known) if !known.is_empty() => Ok(known),
            _ => Err(ClientError::Violation {
                reason: Reason::PROTOCOL_ERROR,
                detail: format!("topic alias {alias} was never set on this connection [MQTT-3.3.2-7]"),
            }),
        }
    }
}

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
