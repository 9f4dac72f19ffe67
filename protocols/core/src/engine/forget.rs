//! Durable subscriptions, and shares that stay, are ended by those who know their names.
//!
//! Each ends at its home; the receipt of the frame that asked for it waits until the last has ended and the store has
//! been told for good, or a crash would bring one back.

use std::sync::Arc;

use super::Engine;
use super::answers::{Place, Waiting};
use crate::consumer::Receipt;
use crate::effects::{Effect, Effects, JoinError, PeerMsg, Reply};
use crate::id::{ConnId, Now};
use crate::refusal::{Kind, Refusal};
use crate::store::{SessionNumber, StoreOp};
use crate::topic::{Subscribed, TopicLimits};
use crate::trie::GroupKey;

/// Groups that end one after the other, and what is answered when they have.
#[derive(Debug)]
pub(super) struct Forgetting {
    place: Place,
    receipt: Option<Receipt>,
    /// With the numbers that the store knows them by.
    groups: Vec<(Arc<GroupKey>, Option<SessionNumber>)>,
    /// How many of them have ended.
    ended: usize,
}

impl Engine {
    /// What [`crate::consumer::Request::Forget`] asks for.
    pub(super) fn forget(
        &mut self,
        now: Now,
        conn: ConnId,
        filter: &str,
        durable: &str,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) {
        match self.groups_to_forget(conn, filter, durable) {
            Ok(groups) => self.forget_groups(now, conn, groups, receipt, fx),
            Err(refusal) => self.refuse_request(now, conn, receipt, refusal, fx),
        }
    }

    fn groups_to_forget(
        &mut self,
        conn: ConnId,
        filter: &str,
        durable: &str,
    ) -> Result<Vec<Arc<GroupKey>>, Refusal> {
        if filter.is_empty() {
            let is_name = durable.contains('/');
            return Ok(if is_name { self.shared.kept_groups.named(durable) } else { Vec::new() });
        }
        // One that is too long now may have been within the limits when it was made.
        let (group, filter) = Subscribed::parse(filter, &TopicLimits::WIDEST)
            .map_err(|error| Refusal::new(Kind::TopicFilterInvalid, error.to_string()))?
            .into_parts();
        // A durable subscription has its user in its name; what has not is for whoever may manage it.
        if let Some(group) = &group {
            let slot = self.session_slot(conn);
            if !slot.is_some_and(|slot| self.may_manage(slot, group, &filter)) {
                let detail = format!("no right to end what is subscribed to {:?}", filter.as_str());
                return Err(Refusal::new(Kind::NotAuthorized, detail));
            }
        }
        let group = group.unwrap_or_else(|| durable.into());
        Ok(vec![Arc::new(GroupKey { group, filter: filter.as_str().into() })])
    }

    /// Ends groups, each at its home.
    pub(super) fn forget_groups(
        &mut self,
        now: Now,
        conn: ConnId,
        groups: Vec<Arc<GroupKey>>,
        receipt: Option<Receipt>,
        fx: &mut Effects,
    ) {
        let number = |key: &Arc<GroupKey>| self.shared.kept_groups.get(key).map(|kept| kept.number);
        let groups = groups.into_iter().map(|key| (Arc::clone(&key), number(&key))).collect();
        let place = self.reserve_answer(conn);
        self.forget_next(now, Forgetting { place, receipt, groups, ended: 0 }, fx);
        self.bound_answers(conn, fx);
    }

    fn forget_next(&mut self, now: Now, mut forgetting: Forgetting, fx: &mut Effects) {
        while let Some((key, _)) = forgetting.groups.get(forgetting.ended) {
            let home = self.shared.home_of_group(&key.group, &key.filter);
            let key = Arc::clone(key);
            if home != self.id {
                let ticket = self.ticket(Waiting::Forgetting(Box::new(forgetting)));
                return fx.push(Effect::Peer(home, PeerMsg::Forget(key, ticket)));
            }
            if self.forget_here(now, &key, fx).is_err() {
                return self.not_forgotten(now, &forgetting, fx);
            }
            forgetting.ended += 1;
        }
        let Forgetting { place, receipt, groups, .. } = forgetting;
        let Some(receipt) = receipt else { return self.vacate(place, fx) };
        // One of the same key that has begun since is not to be ended in the store.
        let goes_on = |key: &Arc<GroupKey>| self.shared.kept_groups.get(key).map(|kept| kept.number);
        let ended =
            groups.iter().filter(|(key, number)| *number != goes_on(key)).filter_map(|(_, number)| *number);
        let ops = ended.map(|session| StoreOp::GroupEnded { session, records: Box::default() }).collect();
        self.answer_when_stored(place.conn, Some(place), Reply::Receipt(receipt), ops, fx);
    }

    /// A group's home has ended it, or not.
    pub(super) fn forgotten(
        &mut self,
        now: Now,
        mut forgetting: Forgetting,
        forgotten: Result<(), JoinError>,
        fx: &mut Effects,
    ) {
        if forgotten.is_err() {
            return self.not_forgotten(now, &forgetting, fx);
        }
        forgetting.ended += 1;
        self.forget_next(now, forgetting, fx);
    }

    fn not_forgotten(&mut self, now: Now, forgetting: &Forgetting, fx: &mut Effects) {
        let filter = forgetting.groups.get(forgetting.ended).map_or("", |(key, _)| &key.filter);
        let detail = format!(
            "somebody consumes from the subscription to {filter:?} that is to end; unsubscribe or disconnect that \
             consumer first"
        );
        let refusal = Refusal::new(Kind::NotAuthorized, detail);
        self.refuse_request(now, forgetting.place.conn, forgetting.receipt, refusal, fx);
    }
}
