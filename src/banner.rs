//! The block that a person sees at the start: where the broker listens, who may come in, and how to open it up.

use std::io::{self, Write};
use std::path::Path;

use crate::config::{Address, Anonymous, AuthMethod, Config, Dialect, Listener, Protocol};

/// Writes the block to `out`. `addresses` are those really bound, in the order of the configuration's listeners; `operators`
/// those where the broker is looked after.
///
/// # Errors
/// What writing says.
pub fn write(
    out: &mut impl Write,
    config: &Config,
    addresses: &[Address],
    operators: &[Address],
    file: Option<&Path>,
) -> io::Result<()> {
    writeln!(out, "noctule {}", env!("CARGO_PKG_VERSION"))?;
    match file {
        Some(file) => writeln!(out, "  configuration  {}", file.display())?,
        None => writeln!(out, "  configuration  none, defaults apply")?,
    }
    for (listener, address) in config.listener.iter().zip(addresses) {
        let (who, way) = (who(listener, config), way(listener));
        let speaks = match (listener.protocol, listener.dialect) {
            (Protocol::Auto, _) => "MQTT and STOMP",
            (Protocol::Mqtt, _) => "MQTT 3.1, 3.1.1 and 5.0",
            (Protocol::Stomp, Dialect::Native) => "STOMP 1.0, 1.1 and 1.2",
            (Protocol::Stomp, Dialect::Rabbitmq) => "STOMP 1.0, 1.1 and 1.2 as RabbitMQ's clients write it",
            (Protocol::Stomp, Dialect::Activemq) => "STOMP 1.0, 1.1 and 1.2 as ActiveMQ's clients write it",
        };
        writeln!(out, "  {:<14} {address}, {speaks}{way}; {who}", listener.protocol.as_str())?;
    }
    writeln!(out, "  workers        {}", config.server.workers)?;
    if config.is_stored() {
        writeln!(out, "  storage        {}", config.server.data_dir.display())?;
    } else {
        writeln!(out, "  storage        memory: retained messages and sessions end with the process")?;
    }
    for address in operators {
        match address {
            Address::Net(address) => {
                let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
                writeln!(out, "  dashboard      {scheme}://{address}/")?;
            }
            Address::Unix(_) | Address::Systemd(_) => writeln!(out, "  noctule ctl    {address}")?,
        }
    }
    let is_closed = |listener: &Listener| {
        listener.anonymous == Anonymous::Loopback && listener.chain(&config.auth).is_empty()
    };
    if config.listener.iter().all(is_closed) {
        let program = "noctule run --mqtt 0.0.0.0:1883 --stomp 0.0.0.0:61613 --anonymous";
        writeln!(out, "  to let other machines in, with TLS and passwords: noctule init")?;
        writeln!(out, "  or, on a network that you trust, everybody: {program}")?;
    }
    out.flush()
}

/// Who may come in through a listener, and how.
pub(crate) fn who(listener: &Listener, config: &Config) -> String {
    let chain = listener.chain(&config.auth);
    if chain.is_empty() {
        return match listener.anonymous {
            Anonymous::Nobody => "nobody",
            Anonymous::Loopback => "programs on this machine only, without credentials",
            Anonymous::Everybody => "everybody who can reach it, without credentials",
        }
        .to_owned();
    }
    let ways: Vec<&str> = chain.iter().copied().map(proof).collect();
    let others = match listener.anonymous {
        Anonymous::Nobody => "",
        Anonymous::Loopback => ", and programs on this machine without credentials",
        Anonymous::Everybody => ", and everybody else without credentials",
    };
    format!("users with {}{others}", ways.join(" or "))
}

fn proof(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::Certificate => "a certificate",
        AuthMethod::Peer => "an account on this machine (Unix socket)",
        AuthMethod::Password => "a password",
        AuthMethod::Jwt => "a token",
        AuthMethod::Http => "the consent of auth_http.url",
    }
}

/// What lies between the socket and the protocol.
pub(crate) fn way(listener: &Listener) -> String {
    let tls = listener.tls.is_some();
    match (&listener.websocket, listener.protocol) {
        (None, _) if tls && listener.protocol == Protocol::Auto => ", with TLS or without".to_owned(),
        (None, _) if tls => " over TLS".to_owned(),
        (None, _) => String::new(),
        (Some(path), Protocol::Auto) => {
            let tls = if tls { ", with TLS or without" } else { "" };
            format!(", also over WebSocket (path {}){tls}", path.as_str())
        }
        (Some(path), Protocol::Mqtt | Protocol::Stomp) => {
            let under = if tls { " and TLS" } else { "" };
            format!(" over WebSocket (path {}){under}", path.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(config: &Config) -> String {
        let addresses: Vec<_> = config.listener.iter().map(|listener| listener.address.clone()).collect();
        let mut out = Vec::new();
        write(&mut out, config, &addresses, &config.admin.listen, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_default_says_who_may_come_in_and_how_to_open_it_up() {
        let text = block(&Config::default());
        assert!(text.contains("127.0.0.1:1883"), "{text}");
        assert!(text.contains("programs on this machine only"), "{text}");
        assert!(text.contains("--anonymous"), "{text}");
        assert!(text.contains("http://127.0.0.1:9883/"), "{text}");
    }

    #[test]
    fn who_is_asked_for_what_is_said() {
        let config = Config::parse(
            "[auth]\nchain = [\"certificate\", \"password\"]\npassword_file = \"u\"\n[[tls]]\nname = \"t\"\n\
             certificates = [{ chain = \"c\", key = \"k\" }]\n\
             [[listener]]\naddress = \"0.0.0.0:8883\"\ntls = \"t\"\nanonymous = false\n\
             [[listener]]\naddress = \"127.0.0.1:1883\"\n\
             [[listener]]\nprotocol = \"auto\"\naddress = \"0.0.0.0:8884\"\nwebsocket = \"/\"\ntls = \"t\"\nanonymous = true\n",
            "FILE",
        )
        .unwrap();
        let text = block(&config);
        for part in [
            "0.0.0.0:8883, MQTT 3.1, 3.1.1 and 5.0 over TLS; users with a certificate or a password\n",
            "5.0; users with a certificate or a password, and programs on this machine without credentials\n",
            "MQTT and STOMP, also over WebSocket (path /), with TLS or without; users with a certificate or a password, and \
             everybody else without credentials\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("to let other machines in"), "{text}");
    }

    #[test]
    fn an_open_listener_is_called_open_and_nothing_is_advised() {
        let mut config = Config::default();
        for listener in &mut config.listener {
            listener.anonymous = Anonymous::Everybody;
        }
        let text = block(&config);
        assert!(text.contains("everybody who can reach it"), "{text}");
        assert!(!text.contains("to let other machines in"), "{text}");
    }
}
