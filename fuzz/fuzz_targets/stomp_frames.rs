//! A stream of frames; its first byte chooses version and direction, the second where it is cut. Whatever is accepted
//! must be the same in pieces, and survive being written and read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use noctule_stomp::{Command, Direction, Frame, FrameLimits, FrameWriter, Framer, Reading, Split, Version};

fn frame<'a>(bytes: &'a [u8], reading: Reading, framer: &mut Framer) -> Option<Frame<'a>> {
    match framer.split(bytes, reading, &FrameLimits::default()) {
        Ok(Split::Frame(frame)) => Some(frame),
        Ok(Split::Beats(_) | Split::Incomplete) | Err(_) => None,
    }
}

fn headers(frame: &Frame<'_>) -> Vec<(String, String)> {
    let owned = frame.headers.iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
    owned.filter(|(name, _)| name != "content-length").collect()
}

fuzz_target!(|data: &[u8]| {
    let [choice, cut, stream @ ..] = data else { return };
    let version =
        [None, Some(Version::V10), Some(Version::V11), Some(Version::V12)][usize::from(choice >> 1) % 4];
    let direction = if choice & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
    let reading = Reading { version, direction };
    let mut stream = stream;
    loop {
        let whole = match Framer::new().split(stream, reading, &FrameLimits::default()) {
            Ok(Split::Frame(frame)) => frame,
            Ok(Split::Beats(len)) => {
                stream = &stream[len..];
                continue;
            }
            Ok(Split::Incomplete) | Err(_) => return,
        };
        let mut framer = Framer::new();
        let early = frame(&stream[..usize::from(*cut).min(whole.len - 1)], reading, &mut framer);
        assert!(early.is_none(), "a part of it is no frame");
        let late = frame(stream, reading, &mut framer).expect("a cut changes nothing");
        assert_eq!((headers(&late), late.body, late.len), (headers(&whole), whole.body, whole.len));
        // CONNECT and CONNECTED have no escapes: what they can't express is altered when it is written.
        if let Some(version) = version
            && !whole.command.is_connect()
            && whole.command != Command::Connected
        {
            let mut again = BytesMut::new();
            let mut writer = FrameWriter::new(&mut again, version, whole.command);
            for (name, value) in headers(&whole) {
                writer.header(&name, &value);
            }
            writer.finish(whole.body);
            let wider = FrameLimits { max_headers: 65, max_header_line: 1 << 20, ..FrameLimits::default() };
            let Ok(Split::Frame(again)) = Framer::new().split(&again, reading, &wider) else {
                panic!("what was accepted can be written")
            };
            assert_eq!(
                (again.command, headers(&again), again.body),
                (whole.command, headers(&whole), whole.body)
            );
        }
        stream = &stream[whole.len..];
    }
});
