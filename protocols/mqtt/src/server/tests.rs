//! The server machine alone: what a refusal says in each phase and version, and what enhanced authentication does.
//! What it means on a whole broker is tested over the wire.

use super::*;
use noctule_core::effects::Reply;

const CONN: ConnId = ConnId { slot: 0, generation: 1 };

/// Two steps: the client must say "one", then "two".
#[derive(Debug)]
struct Steps;

#[derive(Debug)]
struct TwoSteps {
    asked: bool,
}

impl AuthMethod for Steps {
    fn name(&self) -> &'static str {
        "STEPS"
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(TwoSteps { asked: false })
    }
}

impl Exchange for TwoSteps {
    fn step(&mut self, data: &[u8]) -> AuthStep {
        match (self.asked, data) {
            (false, b"one") => {
                self.asked = true;
                AuthStep::Continue(b"go on".to_vec())
            }
            (true, b"two") => AuthStep::Success { user: Some("anna".into()), data: Some(b"bye".to_vec()) },
            _ => AuthStep::Failure("wrong answer"),
        }
    }
}

struct Kit {
    server: Server,
    limits: ServerLimits,
    core: Limits,
    methods: AuthMethods,
    out: BytesMut,
}

impl Kit {
    fn new() -> Self {
        let limits = ServerLimits::default();
        let mut methods = AuthMethods::default();
        methods.register(Box::new(Steps));
        Self { server: Server::new(&limits), limits, core: Limits::default(), methods, out: BytesMut::new() }
    }

    /// Feeds one whole packet; what the machine makes of it, as text.
    fn feed(&mut self, bytes: &[u8]) -> Result<String, Kind> {
        let Self { server, limits, core, methods, out } = self;
        let around = Surroundings { server: limits, core, methods };
        let frame = match server.split(bytes).map_err(|refusal| refusal.kind)? {
            Split::Frame(frame) => frame,
            Split::Incomplete { .. } => panic!("not a whole packet"),
        };
        let mut input = None;
        let step = server.packet(CONN, &frame, around, out, |given| input = Some(format!("{given:?}")));
        let step = match step.map_err(|refusal| refusal.kind)? {
            Step::Connect(connect) if connect.auth_method.is_some() => {
                let step = server.exchange(&connect, bytes, around, out).map_err(|refusal| refusal.kind)?;
                format!("{step:?}")
            }
            Step::Connect(connect) => {
                server.begin(&connect, "c", None, limits);
                "connect".to_owned()
            }
            step => format!("{step:?}"),
        };
        Ok(input.unwrap_or(step))
    }

    fn connect(&mut self, connect: &Connect<'_>) -> Result<String, Kind> {
        let mut bytes = BytesMut::new();
        connect.encode(&mut bytes).unwrap();
        self.feed(&bytes)
    }

    fn connected(version: Version) -> Self {
        let mut kit = Self::new();
        assert_eq!(kit.connect(&Connect::new(version, "c")), Ok("connect".to_owned()));
        kit.answer_connect();
        kit
    }

    fn answer_connect(&mut self) {
        self.reply(&WELCOME).unwrap();
        self.out.clear();
    }

    fn reply(&mut self, reply: &Reply) -> Result<(), Kind> {
        let Self { server, limits, core, methods, out } = self;
        let around = Surroundings { server: limits, core, methods };
        server.reply(reply, around, out).map_err(|refusal| refusal.kind)
    }

    fn refuse(&mut self, kind: Kind) -> Vec<u8> {
        self.out.clear();
        self.server.refuse(&Refusal::new(kind, "why"), &mut self.out);
        self.out.to_vec()
    }

    fn auth(&mut self, reason: Reason, method: &str, data: &[u8]) -> Result<String, Kind> {
        let mut bytes = BytesMut::new();
        let auth = crate::Auth::new(reason, method, Some(data));
        auth.encode(Version::V5, Direction::ToServer, &mut bytes).unwrap();
        self.feed(&bytes)
    }
}

#[test]
fn before_connect_a_refusal_has_no_words() {
    assert_eq!(Kit::new().refuse(Kind::MalformedPacket), [0; 0]);
}

#[test]
fn before_connack_a_refusal_is_a_connack() {
    let mut kit = Kit::new();
    kit.connect(&Connect::new(Version::V311, "c")).unwrap();
    assert_eq!(kit.refuse(Kind::NotAuthorized), [0x20, 2, 0, 5]);
    let mut kit = Kit::new();
    kit.connect(&Connect::new(Version::V5, "c")).unwrap();
    assert_eq!(kit.refuse(Kind::NotAuthorized), b"\x20\x09\x00\x87\x06\x1f\x00\x03why");
}

#[test]
fn once_connected_mqtt_5_is_told_and_mqtt_3_is_not() {
    assert_eq!(Kit::connected(Version::V311).refuse(Kind::SessionTakenOver), [0; 0]);
    assert_eq!(
        Kit::connected(Version::V5).refuse(Kind::SessionTakenOver),
        b"\xe0\x08\x8e\x06\x1f\x00\x03why"
    );
}

#[test]
fn mqtt_3_2_2_19_a_reason_string_beyond_the_maximum_packet_size_is_left_out() {
    let mut kit = Kit::new();
    let connect = Connect { maximum_packet_size: NonZeroU32::new(8), ..Connect::new(Version::V5, "c") };
    kit.connect(&connect).unwrap();
    assert_eq!(kit.refuse(Kind::NotAuthorized), [0x20, 3, 0, 0x87, 0]);
}

#[test]
fn an_unsupported_version_is_answered_in_words_that_it_may_understand() {
    let mut kit = Kit::new();
    assert_eq!(kit.feed(b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x3c\x00\x01a"), Err(Kind::UnsupportedVersion));
    assert_eq!(kit.refuse(Kind::UnsupportedVersion), [0x20, 2, 0, 1]);
}

#[test]
fn enhanced_authentication_goes_its_steps_before_connack() {
    let mut kit = Kit::new();
    let connect =
        Connect { auth_method: Some("STEPS"), auth_data: Some(b"one"), ..Connect::new(Version::V5, "c") };
    assert_eq!(kit.connect(&connect), Ok("Done".to_owned()));
    assert_eq!(kit.out.to_vec(), b"\xf0\x12\x18\x10\x15\x00\x05STEPS\x16\x00\x05go on");
    let step = kit.auth(Reason::CONTINUE_AUTHENTICATION, "STEPS", b"two").unwrap();
    assert!(step.contains("anna"), "{step}");
    let kept = kit.server.take_pending().unwrap();
    assert_eq!(kept.connect().unwrap().client_id, "c");
}

#[test]
fn enhanced_authentication_that_fails_or_strays_ends_the_connection() {
    let mut kit = Kit::new();
    let connect = |method, data| Connect {
        auth_method: Some(method),
        auth_data: Some(data),
        ..Connect::new(Version::V5, "c")
    };
    assert_eq!(kit.connect(&connect("OTHER", b"one")), Err(Kind::BadAuthenticationMethod));
    let mut kit = Kit::new();
    assert_eq!(kit.connect(&connect("STEPS", b"zero")), Err(Kind::NotAuthorized));
    let mut kit = Kit::new();
    kit.connect(&connect("STEPS", b"one")).unwrap();
    assert_eq!(kit.auth(Reason::CONTINUE_AUTHENTICATION, "OTHER", b"two"), Err(Kind::ProtocolError));
    let mut kit = Kit::new();
    kit.connect(&connect("STEPS", b"one")).unwrap();
    assert_eq!(kit.auth(Reason::REAUTHENTICATE, "STEPS", b"two"), Err(Kind::ProtocolError));
    let mut kit = Kit::new();
    kit.connect(&connect("STEPS", b"one")).unwrap();
    assert_eq!(kit.feed(&[0xC0, 0]), Err(Kind::ProtocolError), "[MQTT-3.1.2-30]");
}

#[test]
fn re_authentication_keeps_the_user() {
    let mut kit = Kit::new();
    let connect =
        Connect { auth_method: Some("STEPS"), auth_data: Some(b"one"), ..Connect::new(Version::V5, "c") };
    for (user, verdict) in [("anna", Ok("Done".to_owned())), ("otto", Err(Kind::NotAuthorized))] {
        kit.server = Server::new(&kit.limits);
        kit.server.begin(&connect, "c", Some(user), &kit.limits);
        kit.answer_connect();
        assert_eq!(kit.auth(Reason::REAUTHENTICATE, "STEPS", b"one"), Ok("Done".to_owned()));
        assert_eq!(kit.auth(Reason::CONTINUE_AUTHENTICATION, "STEPS", b"two"), verdict);
    }
}

#[test]
fn auth_without_a_method_in_connect_is_a_protocol_error() {
    let mut kit = Kit::connected(Version::V5);
    assert_eq!(
        kit.auth(Reason::REAUTHENTICATE, "STEPS", b"one"),
        Err(Kind::ProtocolError),
        "[MQTT-4.12.0-7]"
    );
}

#[test]
fn user_properties_are_bounded_in_every_packet() {
    let mut kit = Kit::connected(Version::V5);
    let most = kit.limits.max_user_properties;
    let mut publish = |count: usize| {
        let properties = b"\x26\x00\x01n\x00\x01v".repeat(count);
        let mut body = b"\x00\x01t".to_vec();
        let len = properties.len();
        body.extend([(len % 128) as u8 | 0x80, (len / 128) as u8]);
        body.extend(properties);
        let mut packet = vec![0x30, (body.len() % 128) as u8 | 0x80, (body.len() / 128) as u8];
        packet.extend(body);
        kit.feed(&packet)
    };
    assert!(publish(most).unwrap().contains("Publish"));
    assert_eq!(publish(most + 1), Err(Kind::QuotaExceeded));
}

/// A client of MQTT 5 that takes packets of so many bytes, its CONNECT read and not yet answered.
fn narrow(maximum: u32, change: impl FnOnce(&mut Connect<'_>)) -> Kit {
    let mut kit = Kit::new();
    let mut connect = Connect::new(Version::V5, "c");
    connect.maximum_packet_size = NonZeroU32::new(maximum);
    change(&mut connect);
    kit.connect(&connect).unwrap();
    kit
}

const WELCOME: Reply = Reply::Connected { session_present: false, expiry_s: None, keep_alive_s: None };

#[test]
fn mqtt_3_1_2_24_connack_does_without_what_is_optional_and_then_is_a_refusal() {
    let ask = |connect: &mut Connect<'_>| connect.request_response_information = true;
    let mut wide = narrow(1000, ask);
    wide.reply(&WELCOME).unwrap();
    let whole = wide.out.len() as u32;
    let mut exact = narrow(whole, ask);
    exact.reply(&WELCOME).unwrap();
    assert_eq!(exact.out, wide.out);
    // The Response Information and the Topic Alias Maximum are left out; at the edge of the rest, and one below it.
    let mut bare = narrow(whole - 1, ask);
    bare.reply(&WELCOME).unwrap();
    let least = bare.out.len() as u32;
    assert!(least < whole - 1);
    narrow(least, ask).reply(&WELCOME).unwrap();
    let mut refused = narrow(least - 1, ask);
    assert_eq!(refused.reply(&WELCOME), Err(Kind::PacketTooLarge));
    assert_eq!(refused.out.len(), 0);
    assert_eq!(refused.refuse(Kind::PacketTooLarge)[..4], [0x20, 9, 0, 0x95], "a CONNACK, not a DISCONNECT");
}

#[test]
fn mqtt_3_1_2_24_answers_above_the_maximum_end_the_connection() {
    let packet_id = std::num::NonZeroU16::MIN;
    let codes = vec![Ok(noctule_core::id::Qos::AtMostOnce); 40];
    let subscribed = Reply::Subscribed { packet_id, codes: codes.into(), why: None };
    let codes = vec![effects::Reason::Success; 40];
    let unsubscribed = Reply::Unsubscribed { packet_id, codes: codes.into() };
    // Header, packet id, no properties, forty codes.
    for reply in [subscribed, unsubscribed] {
        for (maximum, verdict) in [(45, Ok(())), (44, Err(Kind::PacketTooLarge))] {
            let mut kit = narrow(maximum, |_| {});
            kit.reply(&WELCOME).unwrap();
            kit.out.clear();
            assert_eq!(kit.reply(&reply), verdict, "{reply:?}");
            assert_eq!(kit.out.is_empty(), verdict.is_err());
        }
    }
}

#[test]
fn mqtt_3_1_2_24_auth_above_the_maximum_ends_the_connection() {
    for (maximum, verdict) in [(20, Ok("Done".to_owned())), (19, Err(Kind::PacketTooLarge))] {
        let mut kit = Kit::new();
        let mut connect = Connect::new(Version::V5, "c");
        connect.auth_method = Some("STEPS");
        connect.auth_data = Some(b"one");
        connect.maximum_packet_size = NonZeroU32::new(maximum);
        assert_eq!(kit.connect(&connect), verdict);
        assert_eq!(kit.out.is_empty(), verdict.is_err());
    }
}

#[test]
fn response_information_is_one_topic_whatever_the_client_is_called() {
    for (client_id, topic) in
        [("plain", "$reply/plain"), ("#", "$reply/%23"), ("a/+", "$reply/a%2F%2B"), ("%23", "$reply/%2523")]
    {
        let mut kit = Kit::new();
        let mut connect = Connect::new(Version::V5, client_id);
        connect.request_response_information = true;
        kit.server.begin(&connect, client_id, None, &kit.limits);
        kit.reply(&WELCOME).unwrap();
        let frame = match Framer::new(Version::V5, Direction::ToClient, 1000).split(&kit.out) {
            Ok(Split::Frame(frame)) => frame,
            other => panic!("{other:?}"),
        };
        match decode(Version::V5, Direction::ToClient, &frame) {
            Ok(Packet::ConnAck(ack)) => assert_eq!(ack.response_information, Some(topic)),
            other => panic!("{other:?}"),
        }
    }
}
