//! What a broker says, as it may be shown to a person: in one short line that cannot command a terminal.

use std::fmt::Write as _;

use noctule_mqtt::client::Verdict;

/// Characters of a text that are shown. A broker may quote a topic of 64 KiB.
const MOST_CHARS: usize = 200;

/// `text` shortened, with everything escaped that is no visible text. Quotes stay as they are: these are words for a
/// person, not a string of some language.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MOST_CHARS));
    let mut chars = text.chars();
    for c in chars.by_ref().take(MOST_CHARS) {
        if matches!(c, '"' | '\'' | '\\') {
            shown.push(c);
        } else {
            shown.extend(c.escape_debug());
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Why a STOMP broker refuses or ends a connection.
pub(super) fn stomp_verdict(verdict: &noctule_stomp::client::Verdict) -> String {
    let (message, detail) = (verdict.message.as_deref().unwrap_or_default(), verdict.detail.as_str());
    match (message.is_empty(), detail.is_empty()) {
        (true, true) => "it gives no reason".to_owned(),
        (true, false) => plain(detail),
        (false, _) if detail.is_empty() || detail == message => plain(message),
        (false, _) => format!("{}: {}", plain(message), plain(detail)),
    }
}

/// Why an MQTT broker refuses or ends a connection.
pub(super) fn verdict(verdict: &Verdict) -> String {
    let mut words = verdict.reason.to_string();
    if let Some(text) = verdict.reason_string.as_deref().filter(|text| !text.is_empty()) {
        // Writing to a string cannot fail.
        let _ = write!(words, ": {}", plain(text));
    }
    if let Some(place) = &verdict.server_reference {
        let _ = write!(words, " (it refers to {})", plain(place));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use noctule_mqtt::Reason;

    #[test]
    fn quotes_are_shown_as_they_are_and_commands_to_a_terminal_are_not() {
        assert_eq!(plain(r#"topic "a\b" isn't grün"#), r#"topic "a\b" isn't grün"#);
        assert_eq!(plain("a\x1b[2J\r\n\u{202e}b"), r"a\u{1b}[2J\r\n\u{202e}b");
    }

    #[test]
    fn endless_words_are_cut() {
        let whole = "ü".repeat(MOST_CHARS);
        assert_eq!(plain(&whole), whole);
        assert_eq!(plain(&"ü".repeat(65_535)), format!("{whole}…"));
    }

    #[test]
    fn a_verdict_says_everything_it_has() {
        let mut said = Verdict {
            reason: Reason::TOPIC_NAME_INVALID,
            reason_string: Some("topic \"a\"".to_owned()),
            server_reference: Some("b\n".to_owned()),
        };
        assert_eq!(verdict(&said), "0x90 topic name invalid: topic \"a\" (it refers to b\\n)");
        (said.reason_string, said.server_reference) = (Some(String::new()), None);
        assert_eq!(verdict(&said), "0x90 topic name invalid");
    }

    #[test]
    fn an_error_says_its_short_and_its_long_form_once() {
        let said = |message: Option<&str>, detail: &str| {
            stomp_verdict(&noctule_stomp::client::Verdict {
                message: message.map(str::to_owned),
                detail: detail.to_owned(),
                versions: None,
                receipt: None,
            })
        };
        assert_eq!(said(Some("bad\x07"), "a\nb"), r"bad\u{7}: a\nb");
        assert_eq!(said(Some("bad"), "bad"), "bad");
        assert_eq!(said(Some("bad"), ""), "bad");
        assert_eq!(said(None, "long"), "long");
        assert_eq!(said(None, ""), "it gives no reason");
    }
}
