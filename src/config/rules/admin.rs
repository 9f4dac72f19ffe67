//! Operators: where they come in, nobody else is to.

use super::Fault;
use crate::config::place::Path;
use crate::config::{Address, Config};

pub(super) fn faults(config: &Config, faults: &mut Vec<Fault>) {
    let admin = &config.admin;
    let mut fault = |key: &str, message: String| {
        faults.push(Fault { keys: vec![Path::key("admin", key)], message });
    };
    if let Some(name) = &admin.tls
        && !config.tls.iter().any(|tls| tls.name == *name)
    {
        let name = name.as_str();
        fault("tls", format!("no [[tls]] has name = \"{name}\"; add one, or leave it out for no encryption"));
    }
    for address in &admin.listen {
        if let Some(listener) =
            config.listener.iter().find(|listener| listener.address.collides_with(address))
        {
            let taken = &listener.address;
            fault("listen", format!("{address} is taken by the listener on {taken}; give each its own port"));
        }
        if matches!(address, Address::Systemd(_)) {
            fault(
                "listen",
                format!("{address}: operators come to an address or a path, not to a socket of systemd"),
            );
        } else if !address.is_local() {
            is_open_on_purpose(config, address, &mut fault);
        }
    }
}

/// Who can look after the broker from elsewhere can end everything on it.
fn is_open_on_purpose(config: &Config, address: &Address, fault: &mut impl FnMut(&str, String)) {
    let missing = [
        (config.admin.tls.is_none(), "tls, or passwords could be read on the way"),
        (!config.is_authenticated(), "[auth], or anybody could do anything"),
        (config.admin.users.is_empty(), "users, or nobody could do anything"),
    ];
    for (is_missing, what) in missing {
        if is_missing {
            fault("listen", format!("{address} can be reached by other machines: it wants {what}"));
        }
    }
}
