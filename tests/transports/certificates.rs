//! Clients' certificates: none, optional, required, and who somebody is by them.

use noctule_core::id::Qos;
use rustls::SupportedProtocolVersion;

use crate::kit::{
    Mqtt, Named, Pki, Served, Stomp, TLS_VERSIONS, TRANSPORT, TlsWire, V5, VERSIONS, Wire, counted,
    more_than, offer, rest, told, web_over,
};

fn serve(pki: &Pki, asked: &str, anonymous: &str) -> Served {
    let ca = pki.client_ca();
    Served::start(&format!(
        "{}
        [[listener]]
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        auth = [\"certificate\"]
        anonymous = {anonymous}
        [[acl]]
        allow = [\"publish\", \"subscribe\"]
        topics = [\"of/%u/#\"]",
        pki.plant(&format!("{ca}\nclient_certificates = \"{asked}\""))
    ))
}

fn wire(served: &Served, pki: &Pki, tls: &'static SupportedProtocolVersion, named: Option<Named>) -> TlsWire {
    served.tls(0, &pki.connector(tls, named))
}

#[track_caller]
fn is_refused(mut wire: TlsWire, alert: &str, words: &str) {
    let before = counted(TRANSPORT);
    let peer = wire.local();
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    let error = std::io::Read::read(&mut wire, &mut [0]).unwrap_err().to_string();
    assert!(error.contains(alert), "{error}");
    told(peer, words);
    more_than(TRANSPORT, before);
}

#[test]
fn a_certificate_says_who_a_client_is() {
    let pki = Pki::new();
    for asked in ["required", "optional"] {
        let served = serve(&pki, asked, "false");
        for tls in TLS_VERSIONS {
            let mut press = Mqtt::connect(wire(&served, &pki, tls, Some(pki.client("press-7"))), V5, "press");
            press.subscribe(Qos::AtLeastOnce, "of/press-7/#");
            press.publish(Qos::AtLeastOnce, "of/press-7/heat", b"hot");
            assert_eq!(press.take().text(), "hot");
            assert_eq!(press.try_subscribe(Qos::AtLeastOnce, "of/press-8/#"), 0x87, "somebody else's");
            press.bye();
        }
    }
}

#[test]
fn without_a_required_certificate_nobody_comes_in() {
    let pki = Pki::new();
    let served = serve(&pki, "required", "true");
    for tls in TLS_VERSIONS {
        is_refused(wire(&served, &pki, tls, None), "CertificateRequired", "TLS: no certificate given");
    }
}

/// A port where TLS need not be spoken is no way round what TLS requires there.
#[test]
fn without_tls_nobody_has_a_required_certificate() {
    let pki = Pki::new();
    let ca = pki.client_ca();
    let served = Served::start(&format!(
        "{}
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        websocket = \"/\"
        auth = [\"certificate\"]
        anonymous = true",
        pki.plant(&format!("{ca}\nclient_certificates = \"required\""))
    ));
    let plain = || served.plain(0);
    let web = || Box::new(web_over(served.plain(0), "/", &[]).unwrap()) as Box<dyn Wire>;
    for wire in [&plain as &dyn Fn() -> Box<dyn Wire>, &web] {
        for version in VERSIONS {
            let mut mqtt = Mqtt::new(wire(), version);
            let peer = mqtt.wire.local();
            let mut connect = noctule_mqtt::Connect::new(version, "bare");
            // Whatever it says of itself is not looked at.
            connect.auth_method = Some("SCRAM-SHA-256").filter(|_| version.is_v5());
            let welcome = mqtt.ask(&connect);
            assert_eq!(welcome.reason, 0x87, "{version:?}");
            mqtt.is_closed();
            told(peer, "requires a client certificate, and the client speaks without TLS");
        }
        let mut wire = wire();
        let connect = [("accept-version", "1.2"), ("host", "/")];
        offer(&mut *wire, &Stomp::<Box<dyn Wire>>::encoded(noctule_stomp::Command::Connect, &connect, b""));
        let told_so = rest(&mut *wire);
        assert!(told_so.windows(6).any(|bytes| bytes == b"ERROR\n"), "{told_so:?}");
        told(wire.local(), "requires a client certificate");
    }
    for tls in TLS_VERSIONS {
        is_refused(wire(&served, &pki, tls, None), "CertificateRequired", "TLS: no certificate given");
        Mqtt::connect(wire(&served, &pki, tls, Some(pki.client("press-7"))), V5, "press").bye();
        Stomp::connect(wire(&served, &pki, tls, Some(pki.client("press-7")))).bye();
    }
}

#[test]
fn who_has_no_certificate_goes_when_one_is_required() {
    let pki = Pki::new();
    let ca = pki.client_ca();
    let text = |asked: &str, address: &str| {
        format!(
            "{}
            [[listener]]
            protocol = \"auto\"
            address = \"{address}\"
            tls = \"plant\"
            auth = [\"certificate\"]
            anonymous = true",
            pki.plant(&format!("{ca}\nclient_certificates = \"{asked}\""))
        )
    };
    let mut served = Served::start(&text("optional", "127.0.0.1:0"));
    let mut plain = Mqtt::connect(served.plain(0), V5, "plain");
    let mut bare = Mqtt::connect(wire(&served, &pki, TLS_VERSIONS[1], None), V5, "bare");
    let press = wire(&served, &pki, TLS_VERSIONS[1], Some(pki.client("press-7")));
    let mut press = Mqtt::connect(press, V5, "press");
    served.reload(&text("required", "127.0.0.1:0")).unwrap();
    plain.is_refused(0x87);
    bare.is_refused(0x87);
    press.ping();
}

#[test]
fn without_an_optional_certificate_a_client_is_anonymous() {
    let pki = Pki::new();
    for tls in TLS_VERSIONS {
        let served = serve(&pki, "optional", "false");
        let mut mqtt = Mqtt::new(wire(&served, &pki, tls, None), V5);
        let welcome = mqtt.ask(&noctule_mqtt::Connect::new(V5, "nobody"));
        assert_eq!(welcome.reason, 0x87);
        mqtt.is_closed();
        let served = serve(&pki, "optional", "true");
        let mut mqtt = Mqtt::connect(wire(&served, &pki, tls, None), V5, "nobody");
        assert_eq!(mqtt.try_subscribe(Qos::AtMostOnce, "of/press-7/#"), 0x87);
        mqtt.bye();
    }
}

#[test]
fn a_stranger_s_certificate_is_refused_even_where_none_is_needed() {
    let (pki, other) = (Pki::new(), Pki::new());
    for asked in ["required", "optional"] {
        let served = serve(&pki, asked, "true");
        for tls in TLS_VERSIONS {
            let stranger = wire(&served, &pki, tls, Some(other.client("press-7")));
            is_refused(stranger, "UnknownCA", "TLS: client certificate refused");
        }
    }
}

#[test]
fn a_name_that_would_reach_into_other_topics_is_nobody_s() {
    let pki = Pki::new();
    let served = serve(&pki, "required", "false");
    for tls in TLS_VERSIONS {
        for name in ["#", "+", "a/b", "press\u{1}"] {
            let mut mqtt = Mqtt::new(wire(&served, &pki, tls, Some(pki.client(name))), V5);
            let welcome = mqtt.ask(&noctule_mqtt::Connect::new(V5, "named"));
            assert_eq!(welcome.reason, 0x87, "{name:?}");
            mqtt.is_closed();
        }
    }
}
