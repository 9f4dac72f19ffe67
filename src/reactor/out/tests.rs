//! What leaves an out buffer is what was put, in order, however the socket takes it.

use super::*;
use noctule_core::{
    id::{Qos, SessionId},
    message::{Fields, Publish},
    topic::TopicName,
};

fn message(byte: u8, length: usize) -> Arc<Message> {
    let payload = vec![byte; length];
    let publish = Publish {
        topic: TopicName::from_validated("t"),
        fields: Fields::default(),
        payload: &payload,
        qos: Qos::AtMostOnce,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    Message::new(&publish, SessionId::NOBODY, 0)
}

fn waiting(out: &OutBuf) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let used = out.gather(&mut slices);
    slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect()
}

/// Frames and payloads of every kind, adjacent in every way.
fn fill(out: &mut OutBuf) -> Vec<u8> {
    let mut expected = Vec::new();
    for (place, length) in [10, BY_REFERENCE_BYTES, BY_REFERENCE_BYTES + 5, 0, 700].into_iter().enumerate() {
        if place != 2 {
            out.put().extend_from_slice(b"frame");
            expected.extend_from_slice(b"frame");
        }
        let message = message(place as u8, length);
        out.put_payload(&message);
        expected.extend_from_slice(message.payload());
    }
    expected
}

#[test]
fn writes_of_any_size_leave_the_rest_in_order() {
    for step in [1, 3, 7, 1000, BY_REFERENCE_BYTES, 20_000, 100_000] {
        let mut out = OutBuf::new(64 * 1024);
        let mut expected = fill(&mut out);
        let mut round = 0;
        while !out.is_empty() {
            assert_eq!(out.len(), expected.len());
            if step > 7 || round % 997 == 0 {
                assert_eq!(waiting(&out), expected, "step {step}");
            }
            let written = step.min(out.len());
            out.advance(written);
            expected.drain(..written);
            round += 1;
            if round == 2 {
                out.put().extend_from_slice(b"late");
                expected.extend_from_slice(b"late");
                let late = message(9, BY_REFERENCE_BYTES);
                out.put_payload(&late);
                expected.extend_from_slice(late.payload());
            }
        }
        assert!(expected.is_empty());
        assert_eq!(out.contiguous(), Some(&[][..]));
    }
}

#[test]
fn large_payloads_are_not_copied() {
    let mut out = OutBuf::new(1);
    let (small, large) = (message(1, BY_REFERENCE_BYTES - 1), message(2, BY_REFERENCE_BYTES));
    out.put_payload(&small);
    out.put_payload(&large);
    assert_eq!((Arc::strong_count(&small), Arc::strong_count(&large)), (1, 2));
    out.advance(out.len());
    assert_eq!(Arc::strong_count(&large), 1, "what is written is let go");
}

#[test]
fn more_pieces_than_one_write_takes() {
    let mut out = OutBuf::new(1);
    let mut expected = Vec::new();
    for place in 0..3 * MAX_SLICES {
        let message = message(place as u8, BY_REFERENCE_BYTES);
        out.put().extend_from_slice(b"f");
        out.put_payload(&message);
        expected.push(b'f');
        expected.extend_from_slice(message.payload());
    }
    let mut sent = Vec::new();
    while !out.is_empty() {
        let piece = waiting(&out);
        out.advance(piece.len());
        sent.extend(piece);
    }
    assert!(sent == expected);
}

#[test]
fn appending_keeps_the_order() {
    let (mut front, mut behind) = (OutBuf::new(1), OutBuf::new(1));
    let mut expected = fill(&mut front);
    expected.extend(fill(&mut behind));
    front.append(&behind);
    assert!(waiting(&front) == expected);
}

#[test]
fn the_pool_keeps_what_fits_and_only_that() {
    let mut pool = Pool::new(10_000, 1);
    let grown = |pool: &mut Pool, bytes: usize| {
        let mut out = pool.take();
        out.put().resize(bytes, 0);
        out
    };
    let (first, second) = (grown(&mut pool, 6_000), grown(&mut pool, 6_000));
    pool.give_back(first);
    pool.give_back(second);
    assert_eq!(pool.spare.len(), 1, "the second is beyond the pool's bytes");
    let again = pool.take();
    assert!(again.is_empty() && again.copied.capacity() >= 6_000);
    assert_eq!(pool.bytes, 0);
    let mut pool = Pool::new(usize::MAX, 1);
    let huge = grown(&mut pool, MAX_POOLED_BYTES + 1);
    pool.give_back(huge);
    assert!(pool.spare.is_empty());
}
