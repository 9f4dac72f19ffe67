//! Which of the messages that match a session's filters it wants: selectors, and what its own connection published.

use std::sync::Arc;

use super::Engine;
use crate::id::Qos;
use crate::matches::Target;
use crate::message::Message;
use crate::queue::{Entry, Extra};

impl Engine {
    /// The message as a session is to get it that does not want all that its filters match; `None` if it doesn't want
    /// this one. `target` says what the session would get without its selectors.
    pub(super) fn selected(&self, slot: u32, message: &Arc<Message>, target: &Target) -> Option<Entry> {
        let session = self.sessions.get(slot as usize)?;
        let publisher = message.publisher();
        if session.consumer.as_ref().is_some_and(|consumer| consumer.not_from == Some(publisher)) {
            return None;
        }
        let topic = message.topic();
        let own = self.session_id(slot) == publisher;
        let wanted = session.subscriptions.iter().filter(|subscription| {
            subscription.group.is_none()
                && !(own && subscription.options.no_local)
                && subscription.filter.matches(&topic)
                && subscription.selector.as_ref().is_none_or(|selector| selector.matches(message))
        });
        let (mut any, mut qos, mut retain, mut ids) = (false, Qos::AtMostOnce, false, Vec::new());
        for subscription in wanted {
            any = true;
            qos = qos.max(subscription.options.qos);
            retain |= subscription.options.retain_as_published;
            ids.extend(subscription.options.id);
        }
        if !any {
            return None;
        }
        ids.sort_unstable();
        let extra = (!ids.is_empty())
            .then(|| Box::new(Extra { subscription_ids: Some(ids.into()), ..Extra::default() }));
        Some(Entry {
            message: Arc::clone(message),
            extra,
            qos: message.qos().min(qos),
            retain: message.retain() && retain,
            stored: target.durable && message.record() != 0,
        })
    }
}
