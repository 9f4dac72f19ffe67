//! What an MQTT publisher's properties are made of before its message enters a queue. STOMP's codec does the same for
//! its clients.

use super::letters::{HOPS, ORIGINAL_DESTINATION, put_field};
use crate::group::FIRST_DEATH;
use crate::id::Now;
use crate::message::{Field, Fields};

/// From when on a message may be delivered, epoch ms.
const DELIVER_AT: &str = "x-deliver-at";

/// How long after its arrival a message may be delivered, ms.
const DELAY: &str = "AMQ_SCHEDULED_DELAY";

/// The fields as the queue is to have them, if they are not so already: without what only the broker says of dead
/// letters, and with a delay as the time at which it is over, so that it does not begin anew after a restart.
pub(super) fn for_queue(fields: Fields<'_>, now: Now) -> Option<Vec<u8>> {
    let (mut forged, mut at, mut delay) = (false, false, None);
    for field in fields.iter() {
        let Field::UserProperty(name, value) = field else { continue };
        match name {
            HOPS | ORIGINAL_DESTINATION | FIRST_DEATH => forged = true,
            DELIVER_AT => at = true,
            DELAY => delay = delay.or_else(|| value.trim().parse::<u64>().ok()),
            _ => {}
        }
    }
    let delay = delay.filter(|_| !at);
    if !forged && delay.is_none() {
        return None;
    }
    let mut own = Vec::with_capacity(fields.len() + 48);
    for field in fields.iter() {
        if !matches!(field, Field::UserProperty(HOPS | ORIGINAL_DESTINATION | FIRST_DEATH, _)) {
            put_field(&mut own, field);
        }
    }
    if let Some(delay) = delay {
        let at_ms = now.wall_ms.saturating_add(delay);
        put_field(&mut own, Field::UserProperty(DELIVER_AT, &at_ms.to_string()));
    }
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let mut wire = Vec::new();
        fields.iter().for_each(|(name, value)| put_field(&mut wire, Field::UserProperty(name, value)));
        let now = Now { mono_ms: 5, wall_ms: 1_000 };
        let own = for_queue(Fields::from_validated([&wire, &[], &[]]), now)?;
        let fields = Fields::from_validated([&own, &[], &[]]);
        let pair = |field| match field {
            Field::UserProperty(name, value) => (String::from(name), String::from(value)),
            other => panic!("{other:?}"),
        };
        Some(fields.iter().map(pair).collect())
    }

    #[test]
    fn a_delay_becomes_a_time_and_nobody_forges_a_death() {
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(told(&[("a", "1"), ("a", "2")]), None, "nothing to be done");
        assert_eq!(told(&[(DELAY, "soon")]), None);
        assert_eq!(told(&[(DELAY, "50"), (DELIVER_AT, "7")]), None, "it has said so itself");
        let delayed = told(&[("a", "1"), (DELAY, "50"), (DELAY, "60")]).unwrap();
        assert_eq!(delayed, pairs(&[("a", "1"), (DELAY, "50"), (DELAY, "60"), (DELIVER_AT, "1050")]));
        let forged =
            told(&[(HOPS, "4294967295"), ("a", "1"), (FIRST_DEATH, "x"), (ORIGINAL_DESTINATION, "y")]);
        assert_eq!(forged.unwrap(), pairs(&[("a", "1")]));
    }
}
