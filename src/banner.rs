//! The block that a person sees at the start: where the broker listens, who may come in, and how to open it up.

use std::io::{self, Write};
use std::path::Path;

use crate::config::{Address, Anonymous, Config, Dialect, Protocol};

/// Writes the block to `out`. `addresses` are those really bound, in the order of the configuration's listeners.
///
/// # Errors
/// What writing says.
pub fn write(
    out: &mut impl Write,
    config: &Config,
    addresses: &[Address],
    file: Option<&Path>,
) -> io::Result<()> {
    writeln!(out, "noctule {}", env!("CARGO_PKG_VERSION"))?;
    match file {
        Some(file) => writeln!(out, "  configuration  {}", file.display())?,
        None => writeln!(out, "  configuration  none, defaults apply")?,
    }
    for (listener, address) in config.listener.iter().zip(addresses) {
        let who = match listener.anonymous {
            Anonymous::Nobody => "nobody without credentials",
            Anonymous::Loopback => "programs on this machine only, without credentials",
            Anonymous::Everybody => "everybody who can reach it, without credentials",
        };
        let speaks = match (listener.protocol, listener.dialect) {
            (Protocol::Auto, _) => "MQTT and STOMP",
            (Protocol::Mqtt, _) => "MQTT 3.1, 3.1.1 and 5.0",
            (Protocol::Stomp, Dialect::Native) => "STOMP 1.0, 1.1 and 1.2",
            (Protocol::Stomp, Dialect::Rabbitmq) => "STOMP 1.0, 1.1 and 1.2 as RabbitMQ's clients write it",
            (Protocol::Stomp, Dialect::Activemq) => "STOMP 1.0, 1.1 and 1.2 as ActiveMQ's clients write it",
        };
        writeln!(out, "  {:<14} {address}, {speaks}; {who}", listener.protocol.as_str())?;
    }
    writeln!(out, "  workers        {}", config.server.workers)?;
    if config.is_stored() {
        writeln!(out, "  storage        {}", config.server.data_dir.display())?;
    } else {
        writeln!(out, "  storage        memory: retained messages and sessions end with the process")?;
    }
    if config.listener.iter().all(|listener| listener.anonymous == Anonymous::Loopback) {
        let program = "noctule run --mqtt 0.0.0.0:1883 --stomp 0.0.0.0:61613 --anonymous";
        writeln!(out, "  to let other machines in: {program}")?;
        writeln!(
            out,
            "  or a [[listener]] with its address and `anonymous = true`; see config/noctule.toml"
        )?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(config: &Config) -> String {
        let addresses: Vec<_> = config.listener.iter().map(|listener| listener.address.clone()).collect();
        let mut out = Vec::new();
        write(&mut out, config, &addresses, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_default_says_who_may_come_in_and_how_to_open_it_up() {
        let text = block(&Config::default());
        assert!(text.contains("127.0.0.1:1883"), "{text}");
        assert!(text.contains("programs on this machine only"), "{text}");
        assert!(text.contains("--anonymous"), "{text}");
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
