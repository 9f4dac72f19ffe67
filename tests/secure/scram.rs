//! SCRAM-SHA-256 through AUTH (MQTT 5, section 4.12; RFC 7677), with a client that is written by the RFC.

use noctule_mqtt::{Auth, Connect, Packet, Reason};

use crate::kit::scram::{METHOD, Scram};
use crate::kit::{BY_PASSWORD, DOORS, FREE, QOS_1, RIGHT, Served, V5, token, user};
use crate::mqtt::{Client, Got};

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

fn auth(client: &mut Client, reason: Reason, data: &str) {
    client.send(&Packet::Auth(Auth::new(reason, METHOD, Some(data.as_bytes()))));
}

/// CONNECT, and what comes of it.
fn begin(served: &Served, client_id: &str, first: &str) -> (Client, Got) {
    let mut connect = Connect::new(V5, client_id);
    connect.auth_method = Some(METHOD);
    connect.auth_data = Some(first.as_bytes());
    served.ask(&connect)
}

/// A client that has come in, and what CONNACK carried.
#[track_caller]
pub(crate) fn enter(served: &Served, client_id: &str, user: &str) -> Client {
    let mut scram = Scram::new(user, RIGHT, NONCE);
    let (mut client, answer) = begin(served, client_id, &scram.first());
    let Got::Auth(0x18, _, challenge) = answer else { panic!("no challenge: {answer:?}") };
    let last = scram.last(&challenge);
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, &last);
    let Got::ConnAck(welcome) = client.next() else { panic!("no CONNACK") };
    assert_eq!(welcome.reason, 0);
    let (method, proof) = welcome.auth.unwrap();
    assert_eq!(method, METHOD);
    scram.is_proved_by(&proof);
    client
}

/// What the proof of `password` leads to.
#[track_caller]
fn code(served: &Served, user: &str, password: &str) -> u8 {
    let mut scram = Scram::new(user, password, NONCE);
    let (mut client, answer) = begin(served, "code", &scram.first());
    let Got::Auth(0x18, _, challenge) = answer else { panic!("no challenge: {answer:?}") };
    let last = scram.last(&challenge);
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, &last);
    let Got::ConnAck(welcome) = client.next() else { panic!("no CONNACK") };
    if welcome.reason != 0 {
        client.is_closed();
    }
    welcome.reason
}

#[test]
fn a_user_proves_himself_and_the_broker_too() {
    let acl = "[[acl]]\nallow = [\"publish\"]\ntopics = [\"users/%u/#\"]\ngroups = [\"ops\"]\n";
    let served = Served::ruled(acl);
    let mut ann = enter(&served, "a", "ann");
    assert_eq!(ann.say(QOS_1, "users/ann/x", ""), 0x10, "name and groups are those of the file");
    assert_eq!(ann.say(QOS_1, "users/bob/x", ""), 0x87);
    let mut bob = enter(&served, "b", "bob");
    assert_eq!(bob.say(QOS_1, "users/bob/x", ""), 0x87, "bob is not of ops");
}

#[test]
fn a_name_with_a_comma_or_an_equals_sign_is_escaped() {
    let served = Served::start();
    served.files.write("users", &user("a,b=c", &[]));
    let mut served = served;
    served.reload(&[BY_PASSWORD, FREE, DOORS].concat()).unwrap();
    enter(&served, "odd", "a,b=c").ping();
}

#[test]
fn a_wrong_proof_and_a_stranger_look_the_same() {
    let served = Served::start();
    assert_eq!(code(&served, "ann", "wrong"), 0x87);
    assert_eq!(code(&served, "nobody", RIGHT), 0x87);
    let challenge = |user: &str| match begin(&served, "same", &Scram::new(user, RIGHT, NONCE).first()).1 {
        Got::Auth(0x18, _, data) => {
            let text = String::from_utf8(data).unwrap();
            text.split_once(",s=").unwrap().1.to_owned()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        challenge("nobody"),
        challenge("nobody"),
        "a stranger's salt is always the same, as a user's is"
    );
    assert_eq!(challenge("ann"), challenge("ann"));
    assert_ne!(challenge("nobody"), challenge("somebody"));
    assert_eq!(challenge("nobody").len(), challenge("ann").len());
}

#[test]
fn a_replayed_proof_is_worth_nothing() {
    let served = Served::start();
    let mut scram = Scram::new("ann", RIGHT, NONCE);
    let (mut client, answer) = begin(&served, "first", &scram.first());
    let Got::Auth(_, _, challenge) = answer else { panic!("{answer:?}") };
    let last = scram.last(&challenge);
    auth(&mut client, Reason::CONTINUE_AUTHENTICATION, &last);
    assert!(matches!(client.next(), Got::ConnAck(welcome) if welcome.reason == 0));
    let (mut thief, _) = begin(&served, "second", &scram.first());
    auth(&mut thief, Reason::CONTINUE_AUTHENTICATION, &last);
    assert!(matches!(thief.next(), Got::ConnAck(welcome) if welcome.reason == 0x87));
    thief.is_closed();
}

#[test]
fn re_authentication_is_the_same_exchange_of_the_same_user() {
    let served = Served::start();
    let mut ann = enter(&served, "again", "ann");
    let again = |client: &mut Client, user: &str, password: &str| {
        let mut scram = Scram::new(user, password, NONCE);
        auth(client, Reason::REAUTHENTICATE, &scram.first());
        let answer = client.next();
        let Got::Auth(0x18, _, challenge) = answer else { panic!("{answer:?}") };
        let last = scram.last(&challenge);
        auth(client, Reason::CONTINUE_AUTHENTICATION, &last);
        scram
    };
    let scram = again(&mut ann, "ann", RIGHT);
    let Got::Auth(0, _, proof) = ann.next() else { panic!("no AUTH 0x00") };
    scram.is_proved_by(&proof);
    ann.ping();
    again(&mut ann, "bob", RIGHT);
    ann.is_sent_away(0x87);
    let mut ann = enter(&served, "again", "ann");
    again(&mut ann, "ann", "wrong");
    ann.is_sent_away(0x87);
}

#[test]
fn who_is_taken_out_of_the_file_during_his_exchange_does_not_come_in() {
    let mut served = Served::start();
    let mut scram = Scram::new("ann", RIGHT, NONCE);
    let (mut ann, answer) = begin(&served, "a", &scram.first());
    let Got::Auth(0x18, _, challenge) = answer else { panic!("no challenge: {answer:?}") };
    served.files.write("users", &user("bob", &[]));
    served.reload(&[BY_PASSWORD, FREE, DOORS].concat()).unwrap();
    let last = scram.last(&challenge);
    auth(&mut ann, Reason::CONTINUE_AUTHENTICATION, &last);
    assert!(matches!(ann.next(), Got::ConnAck(welcome) if welcome.reason == 0x87));
    ann.is_closed();
}

#[test]
fn where_passwords_do_not_count_scram_does_not_either() {
    let auth =
        "[auth]\nchain = [\"jwt\"]\npassword_file = \"{dir}/users\"\n[auth_jwt]\nkeys = \"{dir}/keys\"\n";
    let files = crate::kit::Files::new();
    files.write("keys", &token::keys());
    let served = Served::among(files, &[auth, FREE, DOORS].concat());
    let (mut client, answer) = begin(&served, "a", &Scram::new("ann", RIGHT, NONCE).first());
    assert!(matches!(&answer, Got::ConnAck(welcome) if welcome.reason == 0x8C), "{answer:?}");
    client.is_closed();
}
