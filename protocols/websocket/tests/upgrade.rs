//! The handshake, one normative statement of RFC 6455, sections 4 and 10, each; real clients' requests as they send
//! them; and the client's side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::BytesMut;
use noctule_core::refusal::Kind;
use noctule_websocket::{
    AnswerFault, Endpoint, HeadLimits, HeadReader, Offer, OfferError, Rejection, Request,
};

const LIMITS: HeadLimits = HeadLimits { max_bytes: 8192, max_headers: 64 };

/// The request of RFC 6455, section 1.2, without origin and subprotocol.
const LINES: [&str; 6] = [
    "GET /mqtt HTTP/1.1",
    "Host: plant:9001",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn head(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).chain(*b"\r\n").collect()
}

/// [`LINES`] with the line that begins like this replaced; removed if `by` is empty.
fn with(beginning: &str, by: &str) -> Vec<u8> {
    assert!(LINES.iter().any(|line| line.starts_with(beginning)), "{beginning}");
    let lines = LINES.map(|line| if line.starts_with(beginning) { by } else { line });
    head(&lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>())
}

fn and(more: &[&str]) -> Vec<u8> {
    head(&[&LINES[..], more].concat())
}

fn request(wire: &[u8]) -> Result<Request<'_>, Rejection> {
    Ok(HeadReader::new().request(wire, &LIMITS)?.expect("the head is whole"))
}

fn endpoint(origins: &[&str]) -> Endpoint {
    Endpoint {
        path: "/mqtt".into(),
        origins: origins.iter().map(|origin| (*origin).into()).collect(),
        trust_host: false,
        protocols: ["mqtt", "v12.stomp", "v11.stomp"].map(Into::into).to_vec(),
    }
}

/// The answer's status line, and its body.
fn written(rejection: &Rejection) -> (String, String) {
    let mut out = BytesMut::new();
    rejection.write(&mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{head}");
    assert_eq!(body, format!("{rejection}\n"));
    assert_eq!(body.chars().filter(|letter| letter.is_control()).count(), 1, "{body:?}");
    (head.to_owned(), body.to_owned())
}

/// Refused with this status and with these words.
#[track_caller]
fn refused(wire: &[u8], status: u16, words: &str) {
    let rejection = match request(wire) {
        Err(rejection) => rejection,
        Ok(request) => endpoint(&[]).admit(&request).expect_err("it is to be refused"),
    };
    let (head, body) = written(&rejection);
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}\n{body}");
    assert_eq!(rejection.status(), status);
    assert!(body.contains(words), "{body}");
}

mod server {
    use super::*;

    /// 1.3 and 4.2.2, 5: the answer, with the accept key of the RFC's own example.
    #[test]
    fn the_answer_is_101_with_the_accept_key() {
        let wire = and(&["Sec-WebSocket-Protocol: chat, mqtt"]);
        let request = request(&wire).unwrap();
        let (mut out, endpoint) = (BytesMut::new(), endpoint(&[]));
        request.accept(endpoint.admit(&request).unwrap(), &mut out);
        let wanted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        assert_eq!(out, wanted);
    }

    /// 4.2.2, 5: without a common subprotocol none is named. No extension ever is.
    #[test]
    fn nothing_is_named_that_was_not_agreed() {
        for more in
            [&[][..], &["Sec-WebSocket-Protocol: chat"], &["Sec-WebSocket-Extensions: permessage-deflate"]]
        {
            let wire = and(more);
            let request = request(&wire).unwrap();
            let (mut out, endpoint) = (BytesMut::new(), endpoint(&[]));
            request.accept(endpoint.admit(&request).unwrap(), &mut out);
            let text = std::str::from_utf8(&out).unwrap();
            assert!(!text.contains("Protocol:") && !text.contains("Extensions"), "{text}");
            assert!(text.ends_with("\r\n\r\n"));
        }
    }

    /// 4.1, 10: subprotocols are "ordered by preference", and may come in several headers (11.3.4).
    #[test]
    fn the_client_s_favourite_is_chosen() {
        for (offered, chosen) in [
            (&["v11.stomp, v12.stomp"][..], Some("v11.stomp")),
            (&["v10.stomp", "v12.stomp,v11.stomp"], Some("v12.stomp")),
            (&[" ,, mqtt ,"], Some("mqtt")),
            (&["MQTT"], None),
            (&["mqttv3.1"], None),
            (&[""], None),
        ] {
            let lines: Vec<_> = offered.iter().map(|it| format!("Sec-WebSocket-Protocol: {it}")).collect();
            let wire = and(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(endpoint(&[]).admit(&request(&wire).unwrap()), Ok(chosen), "{offered:?}");
        }
    }

    /// 4.2.1, 1: "An HTTP/1.1 or higher GET request".
    #[test]
    fn only_get_of_http_1_1() {
        for method in ["POST", "HEAD", "OPTIONS", "CONNECT"] {
            refused(&with("GET", &format!("{method} /mqtt HTTP/1.1")), 405, "send GET");
        }
        assert!(
            written(&request(&with("GET", "PUT /mqtt HTTP/1.1")).unwrap_err())
                .0
                .contains("\r\nAllow: GET\r\n")
        );
        refused(&with("GET", "GET /mqtt HTTP/1.0"), 400, "proxy_http_version 1.1");
        refused(&with("GET", "GET /mqtt HTTP/2.0"), 400, "not HTTP/1.1");
        refused(b"PRI * HTTP/2.0\r\n\r\n", 400, "not HTTP/1.1");
    }

    /// 4.2.1, 1: the resource is "a /resource name/".
    #[test]
    fn the_target_is_a_path() {
        for target in ["http://plant/mqtt", "*", "plant:9001", "mqtt"] {
            refused(&with("GET", &format!("GET {target} HTTP/1.1")), 400, "begin it with /");
        }
    }

    /// 4.2.2, 4: a resource that isn't there is answered by 404. Nothing is unescaped or normalised.
    #[test]
    fn other_paths_are_not_found() {
        for path in ["/", "/mqtt/", "/MQTT", "/%6dqtt", "//mqtt", "/x/../mqtt", "/mqttx?", "/mqtt#x"] {
            refused(&with("GET", &format!("GET {path} HTTP/1.1")), 404, "connect to /mqtt");
        }
        let wire = with("GET", "GET /mqtt?a=/b?c HTTP/1.1");
        let request = request(&wire).unwrap();
        assert_eq!((request.path(), request.query()), ("/mqtt", Some("a=/b?c")));
        assert!(endpoint(&[]).admit(&request).is_ok());
    }

    /// 4.2.1, 2: "A |Host| header field containing the server's authority".
    #[test]
    fn a_host_is_there() {
        refused(&with("Host", ""), 400, "Host");
        refused(&with("Host", "Host: "), 400, "Host");
        assert_eq!(request(&and(&[])).unwrap().host(), "plant:9001");
    }

    /// 4.2.1, 3 and 4: `Upgrade: websocket` "treated as an ASCII case-insensitive value" and `Connection` with a token
    /// "Upgrade"; Firefox sends "keep-alive, Upgrade". RFC 9110, 15.5.22: a 426 names the protocol.
    #[test]
    fn an_upgrade_is_asked_for() {
        for good in [
            with("Upgrade", "upgrade: WebSocket"),
            with("Upgrade", "Upgrade: h2c, websocket"),
            with("Connection", "CONNECTION: keep-alive, UPGRADE"),
            with("Connection", "Connection: keep-alive\r\nConnection: upgrade"),
        ] {
            assert!(request(&good).is_ok(), "{}", good.escape_ascii());
        }
        for bad in [
            with("Upgrade", ""),
            with("Upgrade", "Upgrade: h2c"),
            with("Upgrade", "Upgrade: websockets"),
            with("Connection", ""),
            with("Connection", "Connection: keep-alive"),
            with("Connection", "Connection: upgraded"),
        ] {
            refused(&bad, 426, "WebSocket endpoint");
        }
        let (head, _) = written(&request(&with("Upgrade", "")).unwrap_err());
        assert!(head.contains("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
    }

    /// 4.2.2, 4 and 4.4: another version is answered by 426 and a `Sec-WebSocket-Version` that says which is spoken.
    #[test]
    fn version_13_is_spoken() {
        for line in
            ["", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version: 013"]
        {
            let wire = with("Sec-WebSocket-Version", line);
            refused(&wire, 426, "only 13");
            let (head, _) = written(&request(&wire).unwrap_err());
            assert!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{head}");
        }
    }

    /// 4.2.1, 5: a key "that, when decoded, is 16 bytes in length".
    #[test]
    fn a_key_is_sixteen_bytes() {
        for key in ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSEh", "{\"\":\"\u{1}"] {
            if key.contains('\u{1}') {
                refused(
                    &with("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {key}")),
                    400,
                    "not HTTP/1.1",
                );
            } else {
                refused(
                    &with("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {key}")),
                    400,
                    "16 random bytes",
                );
            }
        }
        refused(&with("Sec-WebSocket-Key", ""), 400, "16 random bytes");
        // Section 4.1's own example is not canonical.
        assert!(request(&with("Sec-WebSocket-Key", "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==")).is_ok());
    }

    /// Nobody's word on where a connection came from is taken: anyone can write it.
    #[test]
    fn forwarding_headers_mean_nothing() {
        let wire = and(&["X-Forwarded-Host: evil", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"]);
        let got = request(&wire).unwrap();
        assert_eq!((got.host(), got.origin()), ("plant:9001", None));
    }
}

/// 10.2: "Servers that are not intended to process input from any web page but only for certain sites SHOULD verify the
/// |Origin| field"; 4.2.2, 4: 403.
mod origins {
    use super::*;

    fn verdict(host: &str, origin: &str, endpoint: &Endpoint) -> Result<(), Rejection> {
        let host = format!("Host: {host}");
        let lines = LINES.map(|line| if line.starts_with("Host") { host.as_str() } else { line });
        let origin = format!("Origin: {origin}");
        let wire = head(&[&lines[..], &[&origin]].concat());
        endpoint.admit(&request(&wire).unwrap()).map(|_| ())
    }

    /// No web page may, unless it is listed; others than web pages don't say where they come from.
    #[test]
    fn pages_are_listed() {
        let listed = endpoint(&["https://hmi.example.com", "null"]);
        for good in ["https://hmi.example.com", "HTTPS://HMI.example.com", "null"] {
            assert_eq!(verdict("plant", good, &listed), Ok(()), "{good}");
        }
        for bad in [
            "http://hmi.example.com",
            "https://hmi.example.com:8443",
            "https://hmi.example.com.evil.example.com",
            "https://evil.example.com",
            "file://",
            "",
        ] {
            let rejection = verdict("plant", bad, &listed).unwrap_err();
            assert_eq!((rejection.status(), rejection.kind()), (403, Kind::NotAuthorized), "{bad}");
            assert!(written(&rejection).1.contains("origins"));
        }
        assert!(endpoint(&[]).admit(&request(&and(&[])).unwrap()).is_ok());
        assert!(verdict("plant", "null", &endpoint(&[])).is_err());
        assert_eq!(verdict("plant", "https://evil.example.com", &endpoint(&["*"])), Ok(()));
    }

    /// A page of the very host that it connects to is welcome if that is an address: nobody can make an address of his
    /// point here. Paho's Python client says `https://` and what it connects to, with and without TLS.
    #[test]
    fn pages_of_this_address_may_connect() {
        for own in ["127.0.0.1:9001", "127.0.0.1", "[::1]:9001", "[fe80::1]", "localhost:9001", "LocalHost"] {
            assert_eq!(verdict(own, &format!("https://{own}"), &endpoint(&[])), Ok(()), "{own}");
        }
        for (host, origin) in [
            ("127.0.0.1:9001", "http://127.0.0.1"),
            ("127.0.0.1:9001", "http://localhost:9001"),
            ("127.0.0.1:9001", "127.0.0.1:9001"),
            ("127.0.0.1.evil.example.com", "http://127.0.0.1.evil.example.com"),
            ("localhost.evil.example.com", "http://localhost.evil.example.com"),
            ("[::1].evil", "http://evil"),
            ("[x]", "http://[x]"),
        ] {
            assert!(verdict(host, origin, &endpoint(&[])).is_err(), "{host} {origin}");
        }
    }

    /// THREATS 22: a name may have been made to point here, so it is believed only where that gains nothing.
    #[test]
    fn a_name_is_not_believed_unasked() {
        let rebound = ("gateway.example.com:9001", "http://gateway.example.com:9001");
        assert!(verdict(rebound.0, rebound.1, &endpoint(&[])).is_err());
        let trusting = Endpoint { trust_host: true, ..endpoint(&[]) };
        assert_eq!(verdict(rebound.0, rebound.1, &trusting), Ok(()));
        assert!(verdict(rebound.0, "http://evil.example.com", &trusting).is_err());
    }
}

/// Requests as these clients send them; all are to be accepted, without a listed origin unless they are browsers.
mod clients {
    use super::*;

    #[track_caller]
    fn accepted(wire: &str, origins: &[&str], protocol: Option<&str>) {
        let wire = wire.replace('\n', "\r\n");
        let request = request(wire.as_bytes()).unwrap();
        assert_eq!(endpoint(origins).admit(&request), Ok(protocol));
        assert_eq!(request.len(), wire.len());
    }

    #[test]
    fn chromium() {
        accepted(
            "GET /mqtt HTTP/1.1\nHost: gateway.example.com:9001\nConnection: Upgrade\nPragma: no-cache\n\
             Cache-Control: no-cache\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/131.0.0.0 Safari/537.36\nUpgrade: websocket\nOrigin: https://hmi.example.com\n\
             Sec-WebSocket-Version: 13\nAccept-Encoding: gzip, deflate, br, zstd\nAccept-Language: de-DE,de;q=0.9\n\
             Cookie: a=b; c=\"d, e\"\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\n\
             Sec-WebSocket-Protocol: v12.stomp, v11.stomp, v10.stomp\n\n",
            &["https://hmi.example.com"],
            Some("v12.stomp"),
        );
    }

    #[test]
    fn firefox() {
        accepted(
            "GET /mqtt HTTP/1.1\nHost: 127.0.0.1:9001\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) \
             Gecko/20100101 Firefox/133.0\nAccept: */*\nAccept-Language: en-GB,en;q=0.5\n\
             Accept-Encoding: gzip, deflate, br, zstd\nSec-WebSocket-Version: 13\nOrigin: null\n\
             Sec-WebSocket-Protocol: mqtt\nSec-WebSocket-Extensions: permessage-deflate\n\
             Sec-WebSocket-Key: pdpHn7hqhKaBNcDPjDpKWw==\nDNT: 1\nConnection: keep-alive, Upgrade\n\
             Sec-Fetch-Dest: empty\nSec-Fetch-Mode: websocket\nSec-Fetch-Site: cross-site\nPragma: no-cache\n\
             Cache-Control: no-cache\nUpgrade: websocket\n\n",
            &["null"],
            Some("mqtt"),
        );
    }

    /// MQTT.js and @stomp/stompjs on Node, whose WebSocket is the package ws.
    #[test]
    fn ws_of_node() {
        accepted(
            "GET /mqtt HTTP/1.1\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: y0Vv7+dTXMhOv6CmhN5XHg==\n\
             Connection: Upgrade\nUpgrade: websocket\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\nSec-WebSocket-Protocol: mqtt\n\
             Host: localhost:9001\n\n",
            &[],
            Some("mqtt"),
        );
    }

    /// paho-mqtt of Python, with its own spelling of the headers and its own idea of an origin.
    #[test]
    fn paho_of_python() {
        accepted(
            "GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Origin: https://127.0.0.1:9001\r\nSec-WebSocket-Key: kOYy5dXvSS6rMMbyeqhJMQ==\r\n\
             Sec-Websocket-Version: 13\r\nSec-Websocket-Protocol: mqtt\r\n\r\n"
                .replace("\r\n", "\n")
                .as_str(),
            &[],
            Some("mqtt"),
        );
    }

    /// Paho's C library, which sends an empty-handed `Origin` only when it is told to.
    #[test]
    fn paho_of_c() {
        accepted(
            "GET /mqtt HTTP/1.1\nHost: gateway:9001\nUpgrade: websocket\nConnection: Upgrade\n\
             Sec-WebSocket-Key: kOYy5dXvSS6rMMbyeqhJMQ==\nSec-WebSocket-Version: 13\nSec-WebSocket-Protocol: mqtt\n\n",
            &[],
            Some("mqtt"),
        );
    }
}

mod client {
    use super::*;

    const OFFER: Offer<'_> = Offer {
        host: "plant:9001",
        path: "/mqtt",
        protocols: &["mqtt", "v12.stomp"],
        nonce: *b"the sample nonce",
    };

    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

    fn fault(answer: &str) -> AnswerFault {
        OFFER.answer(&mut HeadReader::new(), answer.as_bytes(), &LIMITS).unwrap_err()
    }

    /// 4.1: what our client asks, our server accepts, and the other way round.
    #[test]
    fn it_speaks_with_our_server() {
        let (mut wire, mut out) = (BytesMut::new(), BytesMut::new());
        OFFER.write(&mut wire).unwrap();
        let request = request(&wire).unwrap();
        assert_eq!((request.host(), request.origin()), ("plant:9001", None));
        assert_eq!(request.protocols().collect::<Vec<_>>(), ["mqtt", "v12.stomp"]);
        request.accept(endpoint(&[]).admit(&request).unwrap(), &mut out);
        assert_eq!(out, ANSWER);
        out.extend_from_slice(b"frames");
        let mut reader = HeadReader::new();
        for len in 0..ANSWER.len() {
            assert_eq!(OFFER.answer(&mut reader, &out[..len], &LIMITS), Ok(None));
        }
        let answer = OFFER.answer(&mut reader, &out, &LIMITS).unwrap().unwrap();
        assert_eq!((answer.protocol, answer.len), (Some("mqtt"), ANSWER.len()));
    }

    /// Nothing that a user may write as a URL becomes another line of the request.
    #[test]
    fn nothing_breaks_out_of_its_line() {
        let mut out = BytesMut::new();
        for host in ["", "a b", "a\r\nX: y", "a/b", "é"] {
            assert!(matches!(Offer { host, ..OFFER }.write(&mut out), Err(OfferError::Host(_))), "{host}");
        }
        for path in ["", "mqtt", "/a b", "/a\r\nX: y", "/é", "/\0"] {
            assert!(matches!(Offer { path, ..OFFER }.write(&mut out), Err(OfferError::Path(_))), "{path}");
        }
        for protocol in ["", "a b", "a,b", "a\nb", "é"] {
            let protocols = &["mqtt", protocol];
            let offer = Offer { protocols, ..OFFER };
            assert!(matches!(offer.write(&mut out), Err(OfferError::Protocol(_))), "{protocol}");
        }
        assert!(out.is_empty());
        Offer { protocols: &[], ..OFFER }.write(&mut out).unwrap();
        assert_eq!(request(&out).unwrap().protocols().count(), 0);
    }

    /// 4.1, 1: "If the status code received from the server is not 101, the client handles the response per HTTP": here
    /// by repeating what it says.
    #[test]
    fn another_status_is_reported_with_its_words() {
        let mut out = BytesMut::new();
        let wire = with("GET", "GET /wrong HTTP/1.1");
        endpoint(&[]).admit(&request(&wire).unwrap()).unwrap_err().write(&mut out);
        let told = fault(std::str::from_utf8(&out).unwrap()).to_string();
        assert_eq!(told, r#"the server answered 404: "nothing is at path \"/wrong\"; connect to /mqtt""#);
        assert_eq!(
            fault("HTTP/1.1 503 Try later\r\n\r\n").to_string(),
            r#"the server answered 503: "Try later""#
        );
    }

    /// 4.1, 2 to 6: what an answer must have, and must not.
    #[test]
    fn an_answer_is_checked() {
        let without = |line: &str, by: &str| fault(&ANSWER.replacen(line, by, 1));
        assert_eq!(without("Upgrade: websocket\r\n", ""), AnswerFault::NotUpgrade);
        assert_eq!(without("Upgrade: websocket\r\n", "Upgrade: h2c\r\n"), AnswerFault::NotUpgrade);
        assert_eq!(without("Connection: Upgrade\r\n", ""), AnswerFault::NotUpgrade);
        assert!(matches!(without("s3pP", "S3pP"), AnswerFault::Accept(_)));
        assert!(matches!(
            without("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""),
            AnswerFault::Accept(_)
        ));
        assert!(matches!(without("l: mqtt", "l: chat"), AnswerFault::Protocol(_)));
        let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\nConnection:";
        assert!(matches!(without("Connection:", extension), AnswerFault::Extension(_)));
        assert!(matches!(without("HTTP/1.1", "HTTP/1.0"), AnswerFault::Refused { status: 101, .. }));
        assert!(matches!(without("\r\nUpgrade", "\nUpgrade"), AnswerFault::Head(_)));
        assert!(matches!(
            without("\r\n\r\n", "\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"),
            AnswerFault::Head(_)
        ));
        assert!(matches!(fault("SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), AnswerFault::Head(_)));
    }
}
