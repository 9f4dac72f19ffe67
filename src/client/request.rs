//! What the command line asks of an MQTT connection, as the client machine's options.

use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use noctule_core::id::Qos;
use noctule_mqtt::Version;
use noctule_mqtt::client::{Options, Properties, Will};

use super::failure::{Failure, Place, Speaks};
use super::tls::Encryption;
use crate::cli::{ConnectArgs, MqttVersion, UserProperty};

/// Longest line that is taken for a password, bytes: what MQTT can carry.
const MAX_PASSWORD: u64 = 65_535;

/// Where to connect to.
pub(super) fn place(arguments: &ConnectArgs) -> Result<Place, Failure> {
    let (host, port) = arguments.place();
    Ok(Place {
        host: host.to_owned(),
        port,
        speaks: Speaks::Mqtt(version(arguments)),
        has_user: arguments.user_name().is_some(),
        encryption: arguments.is_encrypted().then(|| Encryption::new(&arguments.tls)).transpose()?,
    })
}

fn version(arguments: &ConnectArgs) -> Version {
    match arguments.protocol {
        MqttVersion::V31 => Version::V31,
        MqttVersion::V311 => Version::V311,
        MqttVersion::V5 => Version::V5,
    }
}

/// What both commands ask for; each adds its own.
pub(super) fn options(arguments: &ConnectArgs) -> Result<Options, Failure> {
    let version = version(arguments);
    let client_id = match &arguments.client_id {
        Some(id) => id.clone(),
        // 3.1 has no other way; later brokers make one up themselves.
        None if version == Version::V31 => made_up_id(),
        None => String::new(),
    };
    let mut options = Options::new(version, client_id);
    options.keep_alive_s = arguments.keep_alive.as_secs().try_into().unwrap_or(u16::MAX);
    options.user_name = arguments.user_name().map(str::to_owned);
    options.password = password(arguments)?;
    options.session_expiry_s =
        arguments.session_expiry.map(|expiry| expiry.as_secs().try_into().unwrap_or(u32::MAX));
    let will = &arguments.will;
    options.will = will.will_topic.as_ref().map(|topic| Will {
        topic: topic.clone(),
        payload: Bytes::from(will.will_message.clone().unwrap_or_default()),
        qos: will.will_qos.unwrap_or(Qos::AtMostOnce),
        retain: will.will_retain,
        delay_s: will.will_delay.map_or(0, |delay| delay.as_secs().try_into().unwrap_or(u32::MAX)),
        expiry_s: None,
        properties: Properties::default(),
    });
    Ok(options)
}

fn password(arguments: &ConnectArgs) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(password) = &arguments.password {
        return Ok(Some(password.clone().into_bytes()));
    }
    if let Some(file) = &arguments.password_file {
        return first_line("--password-file", file).map(Some);
    }
    Ok(arguments.url.as_ref().and_then(|url| url.password.clone()).map(String::into_bytes))
}

/// The first line of a file that holds a password; `flag` named it.
pub(super) fn first_line(flag: &'static str, file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::Unreadable { flag, file: file.to_owned(), error };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mut line = Vec::new();
    BufReader::new(opened.take(MAX_PASSWORD + 2)).read_until(b'\n', &mut line).map_err(unreadable)?;
    for end in [b'\n', b'\r'] {
        line.pop_if(|last| *last == end);
    }
    Ok(line)
}

/// An id that is unlikely to be anybody else's and short enough for 3.1's 23 characters.
fn made_up_id() -> String {
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("noctule-{:012x}", random >> 16)
}

/// User properties as the machine takes them.
pub(super) fn user_properties(given: &[UserProperty]) -> Vec<(String, String)> {
    given.iter().map(|property| (property.name.clone(), property.value.clone())).collect()
}
