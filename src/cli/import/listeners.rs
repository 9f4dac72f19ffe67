//! Listeners with their certificates, and who may come in.
//!
//! A listener that can't be had as it was, and would let in more than before, is written as a comment: nothing is opened
//! that was closed.

use std::net::IpAddr;

use super::access::Access;
use super::draft::{self, Draft, Table};
use super::ledger::{Fate, Ledger};
use super::parts::{Block, Parts};

/// Most connections that are allowed by default; a listener with more raises it.
const CONNECTIONS: i64 = 10_000;

/// Where a listener listens.
struct Place {
    /// As the configuration writes it; several where Mosquitto has several sockets for one listener.
    addresses: Vec<String>,
    /// What tells it from others in the name of its certificates.
    name: String,
}

/// Adds the listeners, and says what has become of their lines.
pub(super) fn convert(parts: &Parts, access: &Access, draft: &mut Draft, ledger: &mut Ledger) {
    let (mut taken, mut names): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut most_connections = 0;
    for (block, entry) in parts.blocks.iter().zip(&access.entries) {
        let mut table = Table::new("[[listener]]");
        if let Some(start) = block.start {
            table.about(ledger.source(start));
        } else if parts.is_local_only {
            table.about("Mosquitto without a listener serves its own machine alone.");
        } else {
            table.about("Mosquitto's default listener");
        }
        if let Some(why) = &entry.off {
            table.about(format!("Off: {why}."));
            table.switch_off();
        }
        table.put("", "protocol", "\"mqtt\"");
        // Its place in the table; which it is comes below.
        table.put("", "address", "\"\"");
        let place = place(block, parts.is_local_only, &mut table, ledger);
        few(block, &mut table, ledger);
        let again = names.iter().filter(|name| **name == place.name).count();
        let name = if again == 0 { place.name.clone() } else { format!("{}-{}", place.name, again + 1) };
        names.push(place.name);
        tls(block, &name, &mut table, draft, ledger);
        web(block, &mut table, ledger);
        if let Some(count) = connections(block, &mut table, ledger) {
            most_connections += count;
        }
        table.put(entry.from.clone(), "anonymous", entry.anonymous);
        if let Some(auth) = entry.own_chain(access) {
            table.put("", "auth", auth);
        }
        for address in &place.addresses {
            if taken.contains(address) && !table.is_off() {
                let at = block.start.or(block.lines.first().copied()).unwrap_or_default();
                ledger.wrong(at, format!("{address} is taken by a listener above; give each its own port"));
            }
            taken.push(address.clone());
            let mut one = table.clone();
            one.put("", "address", draft::quoted(address));
            if address.starts_with("[::") && place.addresses.len() > 1 {
                one.about("The same for IPv6; without it in the kernel, take this one out.");
            }
            draft.listeners.push(one);
        }
        if place.addresses.is_empty() {
            draft.listeners.push(table);
        }
    }
    if most_connections > CONNECTIONS {
        let most = most_connections.min(1_000_000);
        draft.limits.put("as many as the listeners may have", "max_connections", most.to_string());
    }
    aliases(parts, draft, ledger);
}

/// Says of a listener why it is off, where not everything is known of it before.
fn switch_off(table: &mut Table, at: usize, why: &str, ledger: &mut Ledger) {
    table.about(format!("Off: {why}."));
    table.switch_off();
    ledger.set(at, Fate::Lost(format!("the listener is written as a comment: {why}")));
}

fn place(block: &Block, is_local_only: bool, table: &mut Table, ledger: &mut Ledger) -> Place {
    let (port, host, said) = match block.start {
        Some(at) => heading(at, ledger),
        None => default_heading(block, ledger),
    };
    let domain = ledger.last(&block.lines, "socket_domain").and_then(|at| {
        let domain = ledger.text(at)?;
        if !matches!(&*domain, "ipv4" | "ipv6") {
            ledger.wrong(at, format!("socket_domain {domain:?} is neither ipv4 nor ipv6"));
        }
        ledger.set(at, Fate::Same("listener.address".to_owned()));
        Some(domain)
    });
    let domain = domain.as_deref();
    let mut hosts: Vec<IpAddr> = match host.as_deref() {
        _ if is_local_only => locals(domain),
        None => {
            [[0, 0, 0, 0].into(), [0_u16; 8].into()].into_iter().filter(|host| is_in(*host, domain)).collect()
        }
        Some("localhost") => locals(domain),
        Some(host) => host.parse().into_iter().collect(),
    };
    if let Some(at) = ledger.last(&block.lines, "bind_interface") {
        if ledger.value(at) == "lo" {
            hosts = locals(domain);
            ledger.set(at, Fate::Same("listener.address".to_owned()));
        } else {
            let why = format!("write the address of {} for {port}", ledger.value(at));
            switch_off(table, at, &why, ledger);
            hosts = vec![[0, 0, 0, 0].into()];
        }
    }
    let name = format!("tls-{port}");
    if let Some(path) = host.as_deref().filter(|host| port == 0 && host.starts_with('/')) {
        return Place { addresses: vec![format!("unix:{path}")], name: "tls-unix".to_owned() };
    }
    if hosts.is_empty()
        && let (Some(host), Some(at)) = (&host, said)
    {
        let why = format!("addresses are not looked up; write the one of {host}");
        switch_off(table, at, &why, ledger);
        hosts = vec![[0, 0, 0, 0].into()];
    }
    let with_port = |host: IpAddr| std::net::SocketAddr::new(host, port).to_string();
    Place { addresses: hosts.into_iter().map(with_port).collect(), name }
}

fn locals(domain: Option<&str>) -> Vec<IpAddr> {
    let both: [IpAddr; 2] = [[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into()];
    both.into_iter().filter(|host: &IpAddr| is_in(*host, domain)).collect()
}

fn is_in(host: IpAddr, domain: Option<&str>) -> bool {
    match domain {
        Some("ipv4") => host.is_ipv4(),
        Some("ipv6") => host.is_ipv6(),
        _ => true,
    }
}

/// Port and host of a `listener` line.
fn heading(at: usize, ledger: &mut Ledger) -> (u16, Option<String>, Option<usize>) {
    ledger.set(at, Fate::Same("[[listener]]".to_owned()));
    let value = ledger.value(at);
    let mut words = value.split_whitespace();
    let port = words.next().and_then(|port| port.parse::<u16>().ok());
    let host = words.next().filter(|host| !host.starts_with('#')).map(str::to_owned);
    match port {
        Some(0) if !host.as_ref().is_some_and(|host| host.starts_with('/')) => {
            ledger.wrong(
                at,
                "listener 0 wants the path of a Unix socket behind it, as in listener 0 /run/mqtt.sock",
            );
        }
        Some(_) => {}
        None => {
            let message =
                format!("listener {value:?} begins with no port from 0 to 65535; write listener 1883");
            ledger.wrong(at, message);
        }
    }
    (port.unwrap_or_default(), host, Some(at))
}

/// Port and host of the default listener.
fn default_heading(block: &Block, ledger: &mut Ledger) -> (u16, Option<String>, Option<usize>) {
    let port = ledger.last(&block.lines, "port").and_then(|at| {
        ledger.set(at, Fate::Same("listener.address".to_owned()));
        ledger.number(at, 1..=65_535)
    });
    let host = ledger.last(&block.lines, "bind_address");
    let name = host.and_then(|at| {
        ledger.set(at, Fate::Same("listener.address".to_owned()));
        ledger.text(at)
    });
    (port.and_then(|port| u16::try_from(port).ok()).unwrap_or(1_883), name, host)
}

fn tls(block: &Block, name: &str, table: &mut Table, draft: &mut Draft, ledger: &mut Ledger) {
    let lines = &block.lines;
    let [chain, key, ca, path, crl, require, identity, subject, version, hint] = [
        "certfile",
        "keyfile",
        "cafile",
        "capath",
        "crlfile",
        "require_certificate",
        "use_identity_as_username",
        "use_subject_as_username",
        "tls_version",
        "psk_hint",
    ]
    .map(|key| ledger.last(lines, key));
    if let Some(at) = hint {
        if chain.is_none() {
            switch_off(
                table,
                at,
                "TLS with pre-shared keys is not spoken, and without TLS it would be open; give it certificates",
                ledger,
            );
        } else {
            ledger.set(
                at,
                Fate::Lost(
                    "TLS with pre-shared keys is not spoken; give those clients certificates".to_owned(),
                ),
            );
        }
    }
    let (Some(chain), Some(key)) = (chain, key) else {
        if let Some(at) = chain.or(key) {
            let message = format!("{} wants the other of certfile and keyfile beside it", ledger.key(at));
            ledger.wrong(at, message);
        }
        for at in [ca, path, crl, require, identity, subject, version].into_iter().flatten() {
            let why = "without certfile and keyfile Mosquitto does not encrypt, and asks for no certificates";
            ledger.set(at, Fate::Moot(why.to_owned()));
        }
        return;
    };
    let mut tls = Table::new("[[tls]]");
    if table.is_off() {
        // Nobody names it then.
        tls.switch_off();
    }
    let same = |at: usize, what: &str, ledger: &mut Ledger| {
        ledger.set(at, Fate::Same(what.to_owned()));
        ledger.text(at).unwrap_or_default()
    };
    tls.put("", "name", draft::quoted(name));
    let pair = (same(chain, "tls.certificates", ledger), same(key, "tls.certificates", ledger));
    let value = format!("[{{ chain = {}, key = {} }}]", draft::quoted(&pair.0), draft::quoted(&pair.1));
    tls.put(format!("{} and {}", ledger.source(chain), ledger.source(key)), "certificates", value);
    let is_required = require.is_some_and(|at| {
        ledger.set(at, Fate::Same("tls.client_certificates".to_owned()));
        ledger.flag(at).unwrap_or_default()
    });
    authorities(is_required, ca, path, &mut tls, ledger);
    if let (true, Some(at)) = (is_required, require) {
        tls.put(ledger.source(at), "client_certificates", "\"required\"");
    }
    if let Some(at) = crl {
        let file = same(at, "tls.crl", ledger);
        if is_required {
            tls.put(ledger.source(at), "crl", draft::quoted(&file));
        } else {
            ledger.set(
                at,
                Fate::Moot("without require_certificate true nobody shows a certificate".to_owned()),
            );
        }
    }
    names(is_required, identity, subject, &mut tls, ledger);
    if let Some(at) = version {
        oldest(at, &mut tls, ledger);
    }
    table.put("", "tls", draft::quoted(name));
    draft.tls.push(tls);
}

/// Who may sign clients' certificates.
fn authorities(
    is_required: bool,
    ca: Option<usize>,
    path: Option<usize>,
    tls: &mut Table,
    ledger: &mut Ledger,
) {
    for at in [ca, path].into_iter().flatten() {
        let (text, is_file) = (ledger.text(at).unwrap_or_default(), ca == Some(at));
        let fate = match (is_required, is_file) {
            (false, _) => Fate::Moot(
                "clients are not asked for certificates; those between the server's own and its root belong into certfile"
                    .to_owned(),
            ),
            (true, true) => {
                tls.put(ledger.source(at), "client_ca", draft::quoted(&text));
                Fate::Same("tls.client_ca".to_owned())
            }
            (true, false) if ca.is_some() => {
                Fate::Lost(format!("tls.client_ca is one file: append the certificates, as in cat {text}/*.pem"))
            }
            (true, false) => {
                tls.put(format!("{}: cat {text}/*.pem > client-ca.pem", ledger.source(at)), "client_ca", "\"client-ca.pem\"");
                Fate::Lost(format!("tls.client_ca is one file: cat {text}/*.pem > client-ca.pem"))
            }
        };
        ledger.set(at, fate);
    }
    if is_required && ca.is_none() && path.is_none() {
        tls.put(
            "Mosquitto takes whom OpenSSL trusts; name who signs your clients' certificates",
            "client_ca",
            "\"client-ca.pem\"",
        );
    }
}

/// Whether and where a certificate has its user's name.
fn names(
    is_required: bool,
    identity: Option<usize>,
    subject: Option<usize>,
    tls: &mut Table,
    ledger: &mut Ledger,
) {
    for at in [identity, subject].into_iter().flatten() {
        let is_wanted = ledger.flag(at).unwrap_or_default();
        let fate = match (is_wanted, is_required, subject == Some(at)) {
            (false, ..) => Fate::Same("the name is not taken from the certificate".to_owned()),
            (true, false, _) => {
                Fate::Moot("without require_certificate true nobody shows a certificate".to_owned())
            }
            (true, true, false) => {
                tls.put(ledger.source(at), "identity", "\"cn\"");
                Fate::Same("tls.identity \"cn\" and listener.auth [\"certificate\"]".to_owned())
            }
            (true, true, true) => {
                tls.put(ledger.source(at), "identity", "\"cn\"");
                Fate::Lost("the user is called by the common name here, not by the whole subject; rename users in [[acl]]".to_owned())
            }
        };
        ledger.set(at, fate);
    }
}

fn oldest(at: usize, tls: &mut Table, ledger: &mut Ledger) {
    let value = ledger.text(at).unwrap_or_default();
    let fate = match &*value {
        "tlsv1.3" => {
            tls.put(ledger.source(at), "min_version", "\"1.3\"");
            Fate::Same("tls.min_version".to_owned())
        }
        "tlsv1.2" => Fate::Same("tls.min_version, 1.2 by default".to_owned()),
        "tlsv1.1" | "tlsv1" => Fate::Other(
            "1.2 is the oldest version spoken: clients that know none newer can't connect".to_owned(),
        ),
        _ => {
            let message = format!("tls_version {value:?} is none of tlsv1.3, tlsv1.2, tlsv1.1 and tlsv1");
            return ledger.wrong(at, message);
        }
    };
    ledger.set(at, fate);
}

fn web(block: &Block, table: &mut Table, ledger: &mut Ledger) {
    let protocol = ledger.last(&block.lines, "protocol");
    let is_web = protocol.is_some_and(|at| match &*ledger.text(at).unwrap_or_default() {
        "websockets" => true,
        "mqtt" => {
            ledger.set(at, Fate::Same("listener.protocol".to_owned()));
            false
        }
        other => {
            ledger.wrong(at, format!("protocol {other:?} is neither mqtt nor websockets"));
            false
        }
    });
    let origins = ledger.every(&block.lines, "websockets_origin");
    if let (true, Some(at)) = (is_web, protocol) {
        let what = "listener.websocket \"/mqtt\": Mosquitto takes any path, here clients must name this one";
        ledger.set(at, Fate::Other(what.to_owned()));
        table.put(ledger.source(at), "websocket", "\"/mqtt\"");
        let named: Vec<String> = origins.iter().map(|at| ledger.value(*at)).collect();
        if named.is_empty() {
            table.put("Mosquitto lets every web page connect; better name yours", "origins", "[\"*\"]");
        } else {
            table.put("", "origins", draft::list(&named));
        }
    }
    for at in origins {
        let fate = if is_web {
            Fate::Same("listener.origins".to_owned())
        } else {
            Fate::Moot("only WebSocket has origins".to_owned())
        };
        ledger.set(at, fate);
    }
    if let Some(at) = ledger.last(&block.lines, "http_dir") {
        ledger.set(
            at,
            Fate::Lost(
                "no files are served; have a web server do it, and name its origin in origins".to_owned(),
            ),
        );
    }
}

fn connections(block: &Block, table: &mut Table, ledger: &mut Ledger) -> Option<i64> {
    let at = ledger.last(&block.lines, "max_connections")?;
    let count = ledger.number(at, -1..=1_000_000)?;
    if count <= 0 {
        ledger.set(
            at,
            Fate::Other(
                "no bound of the listener's own; limits.max_connections bounds all together".to_owned(),
            ),
        );
        return None;
    }
    table.put(ledger.source(at), "max_connections", count.to_string());
    ledger.set(at, Fate::Same("listener.max_connections".to_owned()));
    Some(count)
}

/// Keys that mean little here.
fn few(block: &Block, table: &mut Table, ledger: &mut Ledger) {
    if let Some(at) = ledger.last(&block.lines, "mount_point") {
        let why = "topics get no prefix here, so its clients would meet all the others; give them topics of their own in [[acl]]";
        switch_off(table, at, why, ledger);
    }
    if let Some(at) = ledger.last(&block.lines, "max_qos") {
        let fate = match ledger.number(at, 0..=2) {
            Some(2) => Fate::Same("any QoS, as by default".to_owned()),
            _ => Fate::Lost(
                "a listener has no highest QoS; [[acl]] has max_qos, for clients and topics".to_owned(),
            ),
        };
        ledger.set(at, fate);
    }
    if let Some(at) = ledger.last(&block.lines, "use_username_as_clientid") {
        let fate = match ledger.flag(at) {
            Some(false) => Fate::Same("clients keep their identifiers".to_owned()),
            _ => Fate::Lost(
                "clients keep their identifiers; nobody takes over another user's session, and %u in [[acl]] is the name"
                    .to_owned(),
            ),
        };
        ledger.set(at, fate);
    }
}

/// One number for all listeners here.
fn aliases(parts: &Parts, draft: &mut Draft, ledger: &mut Ledger) {
    let all: Vec<usize> =
        parts.blocks.iter().filter_map(|block| ledger.last(&block.lines, "max_topic_alias")).collect();
    let numbers: Vec<i64> = all.iter().filter_map(|at| ledger.number(*at, 0..=65_535)).collect();
    let (Some(most), Some(first)) = (numbers.iter().max(), all.first()) else { return };
    draft.limits.put(ledger.source(*first), "topic_alias_max", most.to_string());
    let is_same = numbers.iter().all(|number| number == most) && all.len() == parts.blocks.len();
    for at in all {
        ledger.set(
            at,
            if is_same {
                Fate::Same("limits.topic_alias_max".to_owned())
            } else {
                Fate::Other(format!("limits.topic_alias_max = {most}, for all listeners"))
            },
        );
    }
}
