//! A selector, a payload and fields, parted by NUL: nothing panics, and no selector agrees with its own negation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noctule_core::message::Fields;
use noctule_core::selector::Selector;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let Ok(text) = str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let Ok(selector) = Selector::parse(text) else { return };
    // The payload comes before the fields, which have bytes of 0 in them.
    let payload = parts.next().unwrap_or_default();
    let fields = Fields::from_validated([parts.next().unwrap_or_default(), &[], &[]]);
    let matches = selector.matches_parts("t", &fields, payload);
    // A blank text has no negation, and the longest and deepest ones have no room for it.
    if let Ok(negation) = Selector::parse(&format!("NOT ({text})")) {
        assert!(!(matches && negation.matches_parts("t", &fields, payload)));
    }
});
