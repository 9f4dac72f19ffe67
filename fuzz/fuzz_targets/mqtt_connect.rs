//! A server's first packet: whatever is accepted must survive being written and read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use noctule_mqtt::{Framer, MAX_PACKET, Split, decode_connect};

fuzz_target!(|data: &[u8]| {
    let framer = Framer::awaiting_connect(MAX_PACKET);
    let Ok(Split::Frame(frame)) = framer.split(data) else { return };
    let Ok(connect) = decode_connect(&frame) else { return };
    let mut again = BytesMut::new();
    connect.encode(&mut again).expect("what was accepted can be written");
    let Ok(Split::Frame(frame)) = framer.split(&again) else { panic!("it is one packet") };
    assert_eq!(decode_connect(&frame).as_ref(), Ok(&connect));
});
