//! Enhanced authentication: AUTH before CONNACK and re-authentication after it (MQTT 5, section 4.12).

use std::time::{Duration, Instant};

use noctule::broker::{AuthMethod, AuthMethods, AuthStep, Exchange};
use noctule::config::{Anonymous, Config, Period};
use noctule_core::id::Qos;
use noctule_mqtt::{Auth, Connect, Packet, Publish, Reason};

use crate::kit::{Client, Got, Served, V5};

const METHOD: &str = "TEST-TWO-STEPS";
const CONTINUE: u8 = 0x18;

/// "hello <user>", challenge, "answer", proof.
#[derive(Debug)]
struct TwoSteps;

#[derive(Debug, Default)]
struct Steps(Option<String>);

impl AuthMethod for TwoSteps {
    fn name(&self) -> &str {
        METHOD
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Steps::default())
    }
}

impl Exchange for Steps {
    fn step(&mut self, data: &[u8]) -> AuthStep {
        let data = std::str::from_utf8(data).unwrap_or_default();
        match (&self.0, data.strip_prefix("hello ")) {
            (None, Some("at once")) => AuthStep::Success { user: Some("at once".into()), data: None },
            (None, Some(user)) => {
                self.0 = Some(user.to_owned());
                AuthStep::Continue(b"challenge".to_vec())
            }
            (Some(user), _) if data == "answer" => {
                AuthStep::Success { user: Some(user.as_str().into()), data: Some(b"proof".to_vec()) }
            }
            _ => AuthStep::Failure("the test says no"),
        }
    }
}

/// Nobody comes in without credentials here.
fn served() -> Served {
    served_with(|_| {})
}

fn served_with(change: impl FnOnce(&mut Config)) -> Served {
    let mut methods = AuthMethods::default();
    methods.register(Box::new(TwoSteps));
    Served::with_methods(methods, |config| {
        config.listener[0].anonymous = Anonymous::Nobody;
        change(config);
    })
}

fn hello<'a>(client_id: &'a str, data: &'a str) -> Connect<'a> {
    let mut connect = Connect::new(V5, client_id);
    connect.auth_method = Some(METHOD);
    connect.auth_data = Some(data.as_bytes());
    connect
}

fn auth(client: &mut Client, reason: Reason, method: &str, data: &str) {
    client.send(&Packet::Auth(Auth::new(reason, method, Some(data.as_bytes()))));
}

fn refused(got: Got) -> u8 {
    match got {
        Got::ConnAck(welcome) if welcome.reason >= 0x80 => welcome.reason,
        other => panic!("instead of a refusal came {other:?}"),
    }
}

/// A client that has come in as `user`.
fn let_in(served: &Served, client_id: &str, user: &str) -> Client {
    let data = format!("hello {user}");
    let (mut client, answer) = served.ask(&hello(client_id, &data));
    assert_eq!(answer, challenge());
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, METHOD, "answer");
    let Got::ConnAck(welcome) = client.next() else { panic!("no CONNACK") };
    assert_eq!(welcome.reason, 0);
    // [MQTT-4.12.0-5]: the method, and what the last step gave.
    assert_eq!(welcome.auth, Some((METHOD.into(), b"proof".to_vec())));
    client
}

fn challenge() -> Got {
    Got::Auth(CONTINUE, METHOD.into(), b"challenge".to_vec())
}

#[test]
fn mqtt_4_12_two_steps_lead_in_wherever_the_session_lives() {
    let served = served();
    for number in 0..8 {
        let_in(&served, &format!("client {number}"), "ann").ping();
    }
}

#[test]
fn one_step_may_be_enough() {
    let served = served();
    let (mut client, answer) = served.ask(&hello("quick", "hello at once"));
    assert!(matches!(answer, Got::ConnAck(welcome) if welcome.reason == 0));
    client.ping();
}

#[test]
fn an_assigned_name_survives_the_exchange() {
    let served = served();
    let (mut client, _) = served.ask(&hello("", "hello ann"));
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, METHOD, "answer");
    let Got::ConnAck(welcome) = client.next() else { panic!("no CONNACK") };
    assert!(welcome.assigned_client_id.is_some());
    client.ping();
}

#[test]
fn mqtt_4_12_0_1_an_unknown_method_is_answered_with_0x8c() {
    let served = served();
    let mut connect = hello("unknown", "hello ann");
    connect.auth_method = Some("SOMETHING-ELSE");
    let (mut client, answer) = served.ask(&connect);
    assert_eq!(refused(answer), 0x8C);
    client.is_closed();
}

#[test]
fn mqtt_4_12_0_4_a_wrong_answer_is_refused() {
    let served = served();
    let (mut client, answer) = served.ask(&hello("wrong at once", "who?"));
    assert_eq!(refused(answer), 0x87);
    client.is_closed();
    let (mut client, _) = served.ask(&hello("wrong later", "hello ann"));
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, METHOD, "wrong");
    assert_eq!(refused(client.next()), 0x87);
    client.is_closed();
}

#[test]
fn a_plain_connect_is_not_let_in_beside_it() {
    let served = served();
    let (mut client, answer) = served.ask(&Connect::new(V5, "plain"));
    assert_eq!(refused(answer), 0x87);
    client.is_closed();
}

#[test]
fn mqtt_3_1_2_30_only_auth_and_disconnect_may_come_before_connack() {
    let served = served();
    for packet in [Packet::PingReq, Packet::Publish(Publish::new("a", b""))] {
        let (mut client, _) = served.ask(&hello("eager", "hello ann"));
        client.send(&packet);
        assert_eq!(refused(client.next()), 0x82);
        client.is_closed();
    }
    let (client, _) = served.ask(&hello("leaves", "hello ann"));
    client.bye();
    // A second CONNECT is a protocol error here as well.
    let (mut client, _) = served.ask(&hello("twice", "hello ann"));
    client.connect(&hello("twice", "hello ann"));
    assert_eq!(refused(client.next()), 0x82);
    client.is_closed();
}

#[test]
fn mqtt_4_12_0_5_another_method_in_between_is_a_protocol_error() {
    let served = served();
    let (mut client, _) = served.ask(&hello("changes", "hello ann"));
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, "OTHER", "answer");
    assert_eq!(refused(client.next()), 0x82);
    client.is_closed();
}

#[test]
fn mqtt_4_12_0_3_before_connack_the_reason_is_0x18() {
    let served = served();
    let (mut client, _) = served.ask(&hello("re-auth", "hello ann"));
    auth(&mut client, Reason::REAUTHENTICATE, METHOD, "answer");
    assert_eq!(refused(client.next()), 0x82);
    client.is_closed();
}

#[test]
fn mqtt_4_12_0_6_auth_without_a_method_in_connect_is_a_protocol_error() {
    let served = Served::start();
    let mut client = served.client(V5, "plain");
    auth(&mut client, Reason::REAUTHENTICATE, METHOD, "hello ann");
    client.is_sent_away(0x82);
}

#[test]
fn mqtt_4_12_1_re_authentication_goes_on_beside_the_messages() {
    let served = served();
    let mut client = let_in(&served, "again", "ann");
    client.subscribe(Qos::AtLeastOnce, "meanwhile");
    for _ in 0..2 {
        auth(&mut client, Reason::REAUTHENTICATE, METHOD, "hello ann");
        assert_eq!(client.next(), challenge());
        client.say(Qos::AtLeastOnce, "meanwhile", "still here");
        assert_eq!(client.take().text(), "still here");
        auth(&mut client, Reason::CONTINUE_AUTHENTICATION, METHOD, "answer");
        assert_eq!(client.next(), Got::Auth(0, METHOD.into(), b"proof".to_vec()), "[MQTT-4.12.0-3]");
    }
    client.ping();
}

#[test]
fn mqtt_4_12_1_2_a_failed_re_authentication_ends_the_connection() {
    let served = served();
    let mut client = let_in(&served, "fails", "ann");
    auth(&mut client, Reason::REAUTHENTICATE, METHOD, "who?");
    client.is_sent_away(0x87);
}

#[test]
fn mqtt_4_12_1_1_re_authentication_keeps_method_and_user() {
    let served = served();
    let mut client = let_in(&served, "changes method", "ann");
    auth(&mut client, Reason::REAUTHENTICATE, "OTHER", "hello ann");
    client.is_sent_away(0x82);
    let mut client = let_in(&served, "changes user", "ann");
    auth(&mut client, Reason::REAUTHENTICATE, METHOD, "hello bob");
    assert_eq!(client.next(), challenge());
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, METHOD, "answer");
    client.is_sent_away(0x87);
}

#[test]
fn auth_0x18_without_an_exchange_is_a_protocol_error() {
    let served = served();
    let mut client = let_in(&served, "out of turn", "ann");
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, METHOD, "answer");
    client.is_sent_away(0x82);
}

#[test]
fn a_session_belongs_to_its_user() {
    let served = served();
    let mut ann = let_in(&served, "shared name", "ann");
    let (mut bob, _) = served.ask(&hello("shared name", "hello bob"));
    auth(&mut bob, Reason::CONTINUE_AUTHENTICATION, METHOD, "answer");
    assert_eq!(refused(bob.next()), 0x87);
    bob.is_closed();
    // Nobody took anything over.
    ann.ping();
}

#[test]
fn an_exchange_that_stops_halfway_ends_by_connect_timeout() {
    let served = served_with(|config| config.limits.connect_timeout = Period::from_secs(4));
    let (mut stops, answer) = served.ask(&hello("stops", "hello ann"));
    assert_eq!(answer, challenge());
    // One that ends in time is not cut off later.
    let mut in_time = let_in(&served, "in time", "ann");
    let begun = Instant::now();
    stops.is_closed();
    std::thread::sleep(Duration::from_millis(4_200).saturating_sub(begun.elapsed()));
    in_time.ping();
}

/// A method with a bug: where its name says.
#[derive(Debug)]
struct Broken(&'static str);

impl AuthMethod for Broken {
    fn name(&self) -> &str {
        self.0
    }

    fn begin(&self) -> Box<dyn Exchange> {
        assert_ne!(self.0, "BROKEN-BEGIN", "a bug on purpose");
        Box::new(BrokenStep)
    }
}

#[derive(Debug)]
struct BrokenStep;

impl Exchange for BrokenStep {
    fn step(&mut self, data: &[u8]) -> AuthStep {
        assert_ne!(data, b"now", "a bug on purpose");
        AuthStep::Continue(Vec::new())
    }
}

#[test]
fn a_method_that_panics_ends_its_own_connection_and_no_other() {
    let mut methods = AuthMethods::default();
    methods.register(Box::new(Broken("BROKEN-BEGIN")));
    methods.register(Box::new(Broken("BROKEN-STEP")));
    let served = Served::with_methods(methods, |_| {});
    let mut bystander = served.client(V5, "bystander");
    for method in ["BROKEN-BEGIN", "BROKEN-STEP"] {
        let mut connect = hello("unlucky", "now");
        connect.auth_method = Some(method);
        let (mut client, answer) = served.ask(&connect);
        assert_eq!(refused(answer), 0x83, "{method}");
        client.is_closed();
    }
    let mut connect = hello("unlucky later", "wait");
    connect.auth_method = Some("BROKEN-STEP");
    let (mut client, _) = served.ask(&connect);
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, "BROKEN-STEP", "now");
    assert_eq!(refused(client.next()), 0x83);
    bystander.ping();
}
