//! The head of a WebSocket handshake, from either side; its first byte says where it is cut. What is accepted is the
//! same in pieces and can be answered; what is refused is told why, in one answer.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use noctule_websocket::{Endpoint, HeadLimits, HeadReader, Offer};

fuzz_target!(|data: &[u8]| {
    let [cut, wire @ ..] = data else { return };
    let cut = usize::from(*cut).min(wire.len());
    let limits = HeadLimits { max_bytes: 1024, max_headers: 16 };
    let offer = Offer { host: "plant", path: "/", protocols: &["mqtt"], nonce: [0; 16] };
    let mut reader = HeadReader::new();
    if let Ok(None) = offer.answer(&mut reader, &wire[..cut], &limits) {
        let whole = offer.answer(&mut HeadReader::new(), wire, &limits);
        assert_eq!(offer.answer(&mut reader, wire, &limits), whole);
    }

    let endpoint = Endpoint {
        path: "/mqtt".into(),
        origins: vec!["https://hmi.example.com".into()],
        trust_host: wire.len() % 2 == 0,
        protocols: vec!["mqtt".into(), "v12.stomp".into()],
    };
    let whole = HeadReader::new().request(wire, &limits);
    let mut reader = HeadReader::new();
    if let Ok(None) = reader.request(&wire[..cut], &limits) {
        let late = reader.request(wire, &limits);
        let len = |verdict: &Result<Option<noctule_websocket::Request<'_>>, _>| match verdict {
            Ok(request) => Ok(request.as_ref().map(|request| request.len())),
            Err(rejection) => Err(format!("{rejection}")),
        };
        assert_eq!(len(&late), len(&whole));
    }
    let mut out = BytesMut::new();
    match whole {
        Ok(None) => return,
        Ok(Some(request)) => match endpoint.admit(&request) {
            Ok(protocol) => request.accept(protocol, &mut out),
            Err(rejection) => rejection.write(&mut out),
        },
        Err(rejection) => rejection.write(&mut out),
    }
    let text = std::str::from_utf8(&out).expect("an answer is text");
    assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
});
