//! A stream of packets after CONNECT; its first byte chooses one of three versions and two directions.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use noctule_mqtt::{Direction, Framer, MAX_PACKET, Packet, Split, Version, decode};

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut stream)) = data.split_first() else { return };
    let version = [Version::V31, Version::V311, Version::V5][usize::from(choice >> 1) % 3];
    let direction = if choice & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
    let framer = Framer::new(version, direction, MAX_PACKET);
    while let Ok(Split::Frame(frame)) = framer.split(stream) {
        stream = &stream[frame.len..];
        let Ok(packet) = decode(version, direction, &frame) else { return };
        // A PUBLISH writes itself as a client does, without the identifiers that a server adds.
        if matches!(&packet, Packet::Publish(publish) if publish.subscription_ids().next().is_some()) {
            continue;
        }
        let mut again = BytesMut::new();
        packet.encode(version, direction, &mut again).expect("what was accepted can be written");
        let Ok(Split::Frame(frame)) = framer.split(&again) else { panic!("it is one packet") };
        assert_eq!(decode(version, direction, &frame).as_ref(), Ok(&packet));
    }
});
