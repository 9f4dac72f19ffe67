//! Topic names and filters on the command line: refused early, with the reason.

/// A topic to publish to.
pub(super) fn name(text: &str) -> Result<String, String> {
    string(text)?;
    if let Some(wildcard) = text.chars().find(|c| matches!(c, '+' | '#')) {
        return Err(format!("{wildcard} is a wildcard; one publishes to one topic"));
    }
    Ok(text.to_owned())
}

/// A filter to subscribe to.
pub(super) fn filter(text: &str) -> Result<String, String> {
    string(text)?;
    if let Some(shared) = text.strip_prefix("$share/") {
        // [MQTT-4.8.2-1] and [MQTT-4.8.2-2]
        let whole = shared.split_once('/').is_some_and(|(group, filter)| {
            !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty()
        });
        if !whole {
            return Err("write $share/GROUP/FILTER, the group without wildcards".to_owned());
        }
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err("# stands alone in the last level, as in a/b/#".to_owned());
        }
        if level.contains('+') && level != "+" {
            return Err("+ stands alone in its level, as in a/+/c".to_owned());
        }
    }
    Ok(text.to_owned())
}

/// What MQTT asks of every topic (section 4.7.3).
fn string(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a topic has at least one character".to_owned());
    }
    if text.contains('\0') {
        return Err("a topic has no NUL".to_owned());
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(format!("a topic has at most 65535 bytes, this one has {}", text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_wildcards() {
        for good in ["a", "/", "a/b", "ä/ö", "$SYS/x"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a/#", "+/a", "a+", "a\0"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&"a".repeat(65_535)).is_ok());
        assert!(name(&"a".repeat(65_536)).is_err());
    }

    #[test]
    fn shared_filters_have_a_group_and_a_filter() {
        for bad in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"] {
            assert!(filter(bad).unwrap_err().starts_with("write $share/GROUP/FILTER"), "{bad:?}");
        }
    }

    #[test]
    fn wildcards_of_filters_stand_alone() {
        for good in
            ["#", "+", "a/#", "+/+/#", "a/+/b", "$share/g/a/#", "$share/g/#", "$share/g//", "$shared/a"]
        {
            assert_eq!(filter(good).as_deref(), Ok(good));
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "a/+b/c", "##"] {
            assert!(filter(bad).is_err(), "{bad:?}");
        }
    }
}
