//! What is in a message: who sent it, its number, and filling that follows from both, so that damage shows.

/// The body of a message; now and then a large one, up to beyond what the store keeps in one piece with others.
pub(crate) fn build(from: usize, seq: u32) -> Vec<u8> {
    let filling = match seq {
        _ if seq % 701 == 700 => 70_000,
        _ if seq % 97 == 96 => 5_000,
        _ => 20 + seq as usize % 200,
    };
    let mut body = format!("{from} {seq} ").into_bytes();
    body.extend((0..filling).map(|at| filler(from, seq, at)));
    body
}

fn filler(from: usize, seq: u32, at: usize) -> u8 {
    (seq as usize).wrapping_mul(31).wrapping_add(from * 7 + at) as u8
}

/// Sender and number of a message, if it is as it was sent.
pub(crate) fn read(body: &[u8]) -> Option<(usize, u32)> {
    let mut parts = body.splitn(3, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u32>().ok();
    let (from, seq) = (number()? as usize, number()?);
    (from < crate::cast::PUBLISHERS.len() && body == build(from, seq)).then_some((from, seq))
}

#[test]
fn a_payload_reads_as_it_was_built_and_damage_shows() {
    for seq in [0, 1, 96, 700, 123_456] {
        let mut body = build(3, seq);
        assert_eq!(read(&body), Some((3, seq)));
        *body.last_mut().unwrap() ^= 1;
        assert_eq!(read(&body), None);
    }
    assert_eq!(read(b""), None);
    assert_eq!(read(&build(9, 1)), None);
}
