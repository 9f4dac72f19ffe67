//! Rules that never decide, because earlier ones have decided before: for `noctule check`.

use super::pattern::{Pattern, Unusable};
use super::{Actions, Network, Rule, Rules, Verdict};

/// A rule that never decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// Its place.
    pub rule: usize,
    /// Its [`Rule::origin`].
    pub origin: u32,
    /// The places of the rules that decide before it, ascending.
    pub by: Vec<usize>,
}

impl Rules {
    /// The rules that never decide, because for each of their actions and topics one earlier rule is about all their
    /// clients and topics. Rules that only several earlier ones cover together are not found, nor are those that no client
    /// meets. Clients about which not everything is known are not thought of ([`super::Identity::is_partial`]).
    #[must_use]
    pub fn never_match(&self) -> Vec<Shadowed> {
        let shadowed = |place: usize| {
            let by = self.shadows_of(place)?;
            Some(Shadowed { rule: place, origin: self.rules.get(place)?.origin, by })
        };
        (0..self.rules.len()).filter_map(shadowed).collect()
    }

    fn shadows_of(&self, place: usize) -> Option<Vec<usize>> {
        let rule = self.rules.get(place)?;
        let (_, patterns) = self.patterns_of(place);
        let mut by = Vec::new();
        for (_, action) in Actions::NAMED.into_iter().filter(|(_, action)| rule.actions.contains(*action)) {
            for pattern in patterns {
                let earlier = self.rules.iter().take(place).enumerate();
                let (shadow, _) = earlier.into_iter().find(|(earlier_place, earlier)| {
                    let (_, topics) = self.patterns_of(*earlier_place);
                    earlier.actions.contains(action)
                        && is_about_all(earlier, rule)
                        && topics.iter().any(|topic| covers((earlier, topic), (rule, pattern)))
                })?;
                by.push(shadow);
            }
        }
        by.sort_unstable();
        by.dedup();
        Some(by)
    }
}

/// Whether a rule's pattern decides about whatever another's would, whichever of the client's values can be used.
fn covers((earlier, topic): (&Rule, &Pattern), (later, pattern): (&Rule, &Pattern)) -> bool {
    Unusable::all().filter(|unusable| unusable.0 & !(topic.uses() | pattern.uses()) == 0).all(|unusable| {
        let is_nothing =
            |rule: &Rule, pattern: &Pattern| rule.verdict == Verdict::Allow && pattern.is_void(unusable);
        is_nothing(later, pattern)
            || !is_nothing(earlier, topic)
                && topic.reach_of_any(unusable).covers(&pattern.reach_of_any(unusable))
    })
}

/// Whether `earlier` is about every client that `later` is about.
fn is_about_all(earlier: &Rule, later: &Rule) -> bool {
    let anonymous = earlier.anonymous.is_none()
        || earlier.anonymous == later.anonymous
        || earlier.anonymous == Some(false) && later.users.is_some();
    anonymous
        && is_wider(earlier.users.as_deref(), later.users.as_deref(), |one, other| one == other)
        && is_wider(earlier.groups.as_deref(), later.groups.as_deref(), |one, other| one == other)
        && is_wider(earlier.clients.as_deref(), later.clients.as_deref(), |one, other| {
            match (one.strip_suffix('*'), other.strip_suffix('*')) {
                (Some(beginning), rest) => rest.unwrap_or(other).starts_with(beginning),
                (None, None) => one == other,
                (None, Some(_)) => false,
            }
        })
        && is_wider(earlier.addresses.as_deref(), later.addresses.as_deref(), Network::covers)
}

/// Whether one condition holds wherever another one does.
fn is_wider<T>(one: Option<&[T]>, other: Option<&[T]>, covers: impl Fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(one), Some(other)) => other.iter().all(|value| one.iter().any(|known| covers(known, value))),
    }
}
