//! Listeners: what they need of each other and of the rest, and which would be open by accident.

use super::Fault;
use crate::config::place::Path;
use crate::config::{Address, Anonymous, Config, Dialect, Listener, Protocol};

pub(super) fn faults(config: &Config, faults: &mut Vec<Fault>) {
    do_not_collide(config, faults);
    for (at, listener) in config.listener.iter().enumerate() {
        let mut fault = |key: &str, message: String| {
            faults.push(Fault { keys: vec![Path::item("listener", at, key)], message });
        };
        dialect_is_for_stomp(listener, &mut fault);
        tls_is_declared(config, listener, &mut fault);
        web_is_reachable(listener, &mut fault);
        proxies_have_addresses(listener, &mut fault);
        is_open_on_purpose(config, listener, &mut fault);
    }
}

fn do_not_collide(config: &Config, faults: &mut Vec<Fault>) {
    if config.listener.is_empty() {
        faults.push(Fault {
            keys: vec![Path::section("listener")],
            message: format!(
                "nobody could connect; add a [[listener]], or leave the key out for MQTT on {} and STOMP on {}",
                Protocol::Mqtt.loopback(),
                Protocol::Stomp.loopback()
            ),
        });
    }
    for (at, listener) in config.listener.iter().enumerate() {
        let mut before = config.listener.iter().take(at).map(|other| &other.address);
        if let Some(earlier) = before.find(|address| address.collides_with(&listener.address)) {
            let own = match listener.address {
                Address::Net(_) => "address or port",
                Address::Unix(_) => "path",
                Address::Systemd(_) => "socket",
            };
            faults.push(Fault {
                keys: vec![Path::item("listener", at, "address")],
                message: format!(
                    "{} is taken by the listener on {earlier} above; give each its own {own}",
                    listener.address
                ),
            });
        }
    }
}

fn dialect_is_for_stomp(listener: &Listener, fault: &mut impl FnMut(&str, String)) {
    if listener.protocol == Protocol::Mqtt && listener.dialect != Dialect::Native {
        let dialect = listener.dialect.as_str();
        fault(
            "dialect",
            format!(
                "\"{dialect}\" says how STOMP is spoken, and this listener speaks MQTT; leave it out, or write protocol \
                 = \"stomp\""
            ),
        );
    }
}

fn tls_is_declared(config: &Config, listener: &Listener, fault: &mut impl FnMut(&str, String)) {
    let Some(name) = &listener.tls else { return };
    if config.tls.iter().any(|tls| tls.name == *name) {
        return;
    }
    let declared: Vec<_> = config.tls.iter().map(|tls| format!("\"{}\"", tls.name.as_str())).collect();
    let declared = if declared.is_empty() { "there is none".to_owned() } else { declared.join(", ") };
    fault(
        "tls",
        format!(
            "no [[tls]] has name = \"{}\" ({declared}); add one, or leave it out for no encryption",
            name.as_str()
        ),
    );
}

fn web_is_reachable(listener: &Listener, fault: &mut impl FnMut(&str, String)) {
    match &listener.websocket {
        None if !listener.origins.is_empty() => {
            fault(
                "origins",
                "only WebSocket has origins; add websocket = \"/mqtt\" or another path".to_owned(),
            );
        }
        Some(path) if !is_path(path.as_str()) => {
            let path = path.as_str();
            fault(
                "websocket",
                format!("{path:?} is not a path; write \"/\", \"/mqtt\" or the like, without ? and #"),
            );
        }
        None | Some(_) => {}
    }
    for origin in &listener.origins {
        let origin = origin.as_str();
        if origin != "*" && !is_origin(origin) {
            fault(
                "origins",
                format!(
                    "{origin:?} is not an origin; write scheme and host, and the port where it is not the usual one, as in \
                     \"https://hmi.plant.example\" or \"http://127.0.0.1:8080\", in small letters and with nothing behind"
                ),
            );
        }
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
}

/// Whether it looks like what browsers send (RFC 6454, section 6.2), so that it can be compared by its letters.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    let is_host = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || b".-:[]_".contains(&byte);
    !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        && !host.is_empty()
        && host.bytes().all(is_host)
}

fn proxies_have_addresses(listener: &Listener, fault: &mut impl FnMut(&str, String)) {
    if !listener.proxy_from.is_empty() && matches!(listener.address, Address::Unix(_)) {
        let message =
            "who connects to a Unix socket has no address to be known by; listen on TCP for proxies";
        fault("proxy_from", message.to_owned());
    }
}

/// A listener is for this machine, for those who can prove who they are, or for everybody who can reach it, and the last
/// has to be said.
fn is_open_on_purpose(config: &Config, listener: &Listener, fault: &mut impl FnMut(&str, String)) {
    if !listener.chain(&config.auth).is_empty() {
        return;
    }
    let address = &listener.address;
    match listener.anonymous {
        Anonymous::Loopback if !address.is_local() => fault(
            "address",
            format!(
                "{address} can be reached from other machines, and no authentication is configured that would let them \
                 in; if everybody who can reach it may publish and subscribe, add anonymous = true to this [[listener]]; \
                 else name users with [auth], which `noctule init` writes, or listen on 127.0.0.1"
            ),
        ),
        Anonymous::Nobody => fault(
            "anonymous",
            "false lets nobody connect, because no authentication is configured; write \"loopback\" for programs on \
             this machine or true for everybody"
                .to_owned(),
        ),
        Anonymous::Loopback | Anonymous::Everybody => {}
    }
}
