//! What messages look like.

use std::num::NonZeroU32;
use std::time::Duration;

use noctule_core::id::Qos;
use noctule_mqtt::client::Properties;

use super::*;

fn message(payload: &[u8]) -> Message {
    Message {
        topic: "a/b".into(),
        payload: payload.to_vec().into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        dup: false,
        expiry_s: None,
        subscription_ids: Vec::new(),
        properties: None,
    }
}

fn printed(form: Form, terminal: bool, message: &impl Shown) -> Vec<u8> {
    let mut out = Vec::new();
    let time = UNIX_EPOCH + Duration::from_millis(1_795_218_806_007);
    write(form, terminal, message, time, &mut out).unwrap();
    out
}

#[test]
fn a_pipe_gets_the_bytes_as_they_are() {
    let raw = b"\x1b[2J\xff\0\n";
    assert_eq!(printed(Form::Payload, false, &message(raw)), [&raw[..], b"\n"].concat());
    assert_eq!(printed(Form::Address, false, &message(b"hi")), b"a/b hi\n");
}

#[test]
fn a_terminal_gets_nothing_that_commands_it() {
    let terminal = |message: &Message| printed(Form::Address, true, message);
    assert_eq!(terminal(&message("grün\n\t✓".as_bytes())), "a/b grün\n\t✓\n".as_bytes());
    assert_eq!(terminal(&message(b"a\x1b[2J\xff\x9b\0")), b"a/b a\\u{1b}[2J\\xff\\x9b\\u{0}\n");
    let mut nasty = message(b"x");
    nasty.topic = "\u{9b}2J".into();
    assert_eq!(terminal(&nasty), b"\\u{9b}2J x\n");
}

#[test]
fn json_has_every_property_and_leaves_out_what_is_not_there() {
    assert_eq!(
        String::from_utf8(printed(Form::Json, false, &message(b"21.5"))).unwrap(),
        "{\"time\":\"2026-11-20T23:53:26.007Z\",\"topic\":\"a/b\",\"payload\":\"21.5\",\"qos\":1,\"retain\":true,\
         \"dup\":false}\n"
    );
    let mut full = message(b"\xff\n");
    full.expiry_s = Some(60);
    full.subscription_ids = vec![NonZeroU32::new(7).unwrap()];
    full.properties = Some(Box::new(Properties {
        payload_is_text: Some(false),
        content_type: Some("image/png".to_owned()),
        response_topic: Some("r".to_owned()),
        correlation_data: Some(vec![0xfe]),
        user_properties: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
    }));
    assert_eq!(
        String::from_utf8(printed(Form::Json, false, &full)).unwrap(),
        "{\"time\":\"2026-11-20T23:53:26.007Z\",\"topic\":\"a/b\",\"payload_base64\":\"/wo=\",\"qos\":1,\
         \"retain\":true,\"dup\":false,\"payload_format\":\"bytes\",\"content_type\":\"image/png\",\
         \"response_topic\":\"r\",\"correlation_data_base64\":\"/g==\",\"expiry_s\":60,\"subscription_ids\":[7],\
         \"user_properties\":[{\"name\":\"k\",\"value\":\"1\"},{\"name\":\"k\",\"value\":\"2\"}]}\n"
    );
}

fn stomp_message(body: &[u8]) -> StompMessage {
    let headers = [("destination", "/queue/a"), ("k", "1"), ("k", "2\n\u{1b}")];
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    StompMessage { headers: headers.map(own).to_vec(), body: body.to_vec().into() }
}

#[test]
fn stomp_s_messages_have_the_same_forms() {
    let hi = stomp_message(b"hi");
    assert_eq!(printed(Form::Payload, true, &hi), b"hi\n");
    assert_eq!(printed(Form::Address, true, &hi), b"/queue/a hi\n");
    assert_eq!(
        printed(Form::Headers, false, &stomp_message(b"\xff")),
        b"destination: /queue/a\nk: 1\nk: 2\\n\\u{1b}\n\n\xff\n"
    );
    let json = |body: &[u8]| String::from_utf8(printed(Form::Json, true, &stomp_message(body))).unwrap();
    let headers = r#""headers":[{"name":"destination","value":"/queue/a"},{"name":"k","value":"1"},{"name":"k","value":"2\n\u001b"}]}"#;
    let start = r#"{"time":"2026-11-20T23:53:26.007Z","destination":"/queue/a","#;
    assert_eq!(json(b"hi"), format!("{start}\"body\":\"hi\",{headers}\n"));
    assert_eq!(json(b"\xff"), format!("{start}\"body_base64\":\"/w==\",{headers}\n"));
}

#[test]
fn dates_are_right_around_leap_days() {
    for (seconds, shown) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (951_868_800, "2000-03-01T00:00:00.000Z"),
        (1_704_067_199, "2023-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), shown);
    }
}
