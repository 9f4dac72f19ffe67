//! What an input leads to beyond itself, when it has been dealt with.

use super::Engine;
use crate::effects::Effects;
use crate::id::Now;

/// Room for wills that is kept from one turn to the next.
const SPARE_WILLS: usize = 64;

impl Engine {
    /// Does what the input has led to beyond itself: groups that may hand something out, messages that there is room
    /// for again, wills that are due. All lead to more of the like, thousands in a row if every will ends another slow
    /// consumer, so they take their turn here and are never worked off from within one another.
    #[inline]
    pub(super) fn work_off(&mut self, now: Now, fx: &mut Effects) {
        // Nearly always: a message has led to nothing else.
        if self.has_more_to_do() {
            self.do_more(now, fx);
        }
    }

    fn has_more_to_do(&self) -> bool {
        !(self.groups_to_drain.is_empty()
            && self.to_resume.is_empty()
            && self.wills.is_empty()
            && self.letters.is_empty()
            && self.evicted.is_empty()
            && !self.has_revoked()
            && !self.throttled.has_room()
            && !self.shared.kept_groups.has_news(self.groups_known))
    }

    #[cold]
    fn do_more(&mut self, now: Now, fx: &mut Effects) {
        loop {
            while self.end_next_revoked(now, fx) {}
            while let Some(session) = self.evicted.pop() {
                self.evict(now, session, fx);
            }
            self.drain_groups(now, fx);
            while let Some(conn) = self.to_resume.pop() {
                self.resume_reads(now, conn, fx);
            }
            if self.publish_next_letter(now, fx) || self.take_in_next_throttled(now, fx) {
                continue;
            }
            let Some(will) = self.wills.pop_front() else { break };
            let publisher = will.publisher();
            self.publish_own(now, will, publisher, fx);
        }
        self.wills.shrink_to(SPARE_WILLS);
    }
}
