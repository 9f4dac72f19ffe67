//! A stream of WebSocket frames; its first byte chooses the role and the limits, the second where it is cut. However it
//! comes, the verdict is the same, and never does more come out than went in.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use noctule_websocket::{CloseCode, Decoder, FrameLimits, Mask, Role};

/// What was passed on, and how it ended: a Close (its code), a violation (its words), or neither.
type Outcome = (Vec<u8>, Option<Option<CloseCode>>, Option<String>);

fn read(role: Role, limits: &FrameLimits, stream: &[u8], ends: &[usize]) -> Outcome {
    let (mut decoder, mut plain, mut at) = (Decoder::new(), Vec::new(), 0);
    for end in ends.iter().copied().chain([stream.len()]) {
        let mut piece = stream[at..end].to_vec();
        let (mut out, before) = (BytesMut::new(), plain.len());
        let progress = decoder.decode(role, limits, &mut piece, &mut plain, &mut out);
        assert!(plain.len() - before <= piece.len() && out.len() <= 131);
        match progress {
            Ok(progress) => {
                assert!(piece.len() - progress.consumed <= 130);
                at += progress.consumed;
                if let Some(closed) = progress.closed {
                    return (plain, Some(closed.code), None);
                }
            }
            Err(violation) => return (plain, None, Some(violation.to_string())),
        }
    }
    (plain, None, None)
}

fuzz_target!(|data: &[u8]| {
    let [choice, cut, stream @ ..] = data else { return };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client { mask: Mask([1, 2, 3, 4]) } };
    let limits = if choice & 2 == 0 {
        FrameLimits::default()
    } else {
        FrameLimits { max_message: 40, max_tiny_frames: 3, binary_only: choice & 4 != 0 }
    };
    let whole = read(role, &limits, stream, &[]);
    let cut = read(role, &limits, stream, &[usize::from(*cut).min(stream.len())]);
    assert_eq!((&cut.1, &cut.2), (&whole.1, &whole.2));
    // Before a violation the smaller pieces may have let more of its frame pass.
    assert!(cut.0.starts_with(&whole.0) && (whole.2.is_some() || cut.0 == whole.0));
});
