//! Point-to-point queues at their home.

use std::sync::Arc;

use super::Engine;
use crate::effects::{Effects, JoinError};
use crate::id::{ConnId, Now};
use crate::trie::GroupKey;

impl Engine {
    /// Makes a queue if it is not there.
    pub(super) fn ensure_queue(&mut self, _key: &Arc<GroupKey>, _fx: &mut Effects) -> Result<(), JoinError> {
        Ok(())
    }

    /// Reads nothing more from a publisher until the queue has room.
    pub(super) fn throttle(&mut self, _now: Now, _conn: ConnId, _key: &Arc<GroupKey>, _fx: &mut Effects) {}
}
