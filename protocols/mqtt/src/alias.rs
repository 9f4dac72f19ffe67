//! Topic aliases that the peer sets on a connection (MQTT 5, section 3.3.2.3.4); those that we set are each side's own
//! affair, since each chooses them otherwise.

use std::num::NonZeroU16;

use thiserror::Error;

/// Why an alias means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum AliasError {
    /// 0x94, Topic Alias invalid.
    #[error("topic alias {alias} is above the maximum of {maximum} [MQTT-3.3.2-9]")]
    AboveMaximum {
        /// As sent.
        alias: NonZeroU16,
        /// What the peer was told.
        maximum: u16,
    },
    /// 0x82, Protocol Error.
    #[error("topic alias {alias} was never set on this connection [MQTT-3.3.2-7]")]
    NeverSet {
        /// As sent.
        alias: NonZeroU16,
    },
}

/// Aliases set by the peer; never more than it was allowed.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    topics: Vec<Option<Box<str>>>,
}

impl Inbound {
    /// Sets the alias if a topic comes with it; returns the topic that it stands for.
    ///
    /// # Errors
    /// When the alias is not allowed or was never set.
    pub(crate) fn resolve<'a>(
        &'a mut self,
        alias: NonZeroU16,
        topic: &'a str,
        maximum: u16,
    ) -> Result<&'a str, AliasError> {
        if alias.get() > maximum {
            return Err(AliasError::AboveMaximum { alias, maximum });
        }
        let place = usize::from(alias.get()) - 1;
        if topic.is_empty() {
            return self.topics.get(place).and_then(Option::as_deref).ok_or(AliasError::NeverSet { alias });
        }
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        if let Some(known) = self.topics.get_mut(place)
            && known.as_deref() != Some(topic)
        {
            *known = Some(topic.into());
        }
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    #[test]
    fn aliases_are_set_used_replaced_and_bounded() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.resolve(alias(2), "a/b", 2), Ok("a/b"));
        assert_eq!(inbound.resolve(alias(2), "", 2), Ok("a/b"));
        assert_eq!(inbound.resolve(alias(2), "c", 2), Ok("c"));
        assert_eq!(inbound.resolve(alias(2), "", 2), Ok("c"));
        assert_eq!(inbound.resolve(alias(1), "", 2), Err(AliasError::NeverSet { alias: alias(1) }));
        let above = AliasError::AboveMaximum { alias: alias(3), maximum: 2 };
        assert_eq!(inbound.resolve(alias(3), "x", 2), Err(above));
    }
}
