//! What a listener's connections go through, as its configuration says.

use std::net::IpAddr;
use std::sync::Arc;

use noctule_websocket::{Endpoint, Rejection, Request};

use super::Spoken;
use crate::config::{Listener, Network, WebPath};
use crate::tls;

/// Subprotocols of WebSocket that mean MQTT. The second is what clients of MQTT 3.1 say.
const MQTT_SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Those that mean STOMP, the best first.
const STOMP_SUBPROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

/// What all connections of a listener have in common below their protocol.
#[derive(Debug)]
pub(crate) struct Wiring {
    /// What is spoken, if it is one protocol only.
    pub(super) spoken: Option<Spoken>,
    /// Certificates, where TLS is spoken.
    pub(super) tls: Option<Arc<tls::Acceptor>>,
    /// Who may speak WebSocket and what, where it is spoken.
    pub(super) websocket: Option<Endpoint>,
    /// Proxies that say for whom they connect.
    proxy_from: Box<[Network]>,
}

impl Wiring {
    /// As the listener's configuration says; `tls` is what it names, and `is_proved` whether clients have to prove who they
    /// are.
    pub(crate) fn new(listener: &Listener, tls: Option<Arc<tls::Acceptor>>, is_proved: bool) -> Self {
        let spoken = Spoken::of(listener.protocol);
        if tls.is_some() {
            counted_as(spoken).is_served();
        }
        Self {
            spoken,
            tls,
            websocket: listener.websocket.as_ref().map(|path| endpoint(listener, path, is_proved)),
            proxy_from: listener.proxy_from.iter().copied().collect(),
        }
    }

    /// Whether who connects from there has to say for whom.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxy_from.iter().any(|network| network.contains(address))
    }

    /// Whether clients have to show a certificate, whichever way they come in.
    pub(crate) fn requires_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|acceptor| acceptor.requires_certificates())
    }

    /// What its handshakes are counted as.
    pub(super) fn counted_as(&self) -> tls::telemetry::Listener {
        counted_as(self.spoken)
    }

    /// The subprotocol that a request for WebSocket is answered with, if the client offers one, and what is spoken then;
    /// unknown where the listener speaks both and the client says neither.
    pub(super) fn admit(&self, request: &Request<'_>) -> Result<(Option<&str>, Option<Spoken>), Rejection> {
        let Some(endpoint) = &self.websocket else { return Ok((None, self.spoken)) };
        let subprotocol = endpoint.admit(request)?;
        let means = |names: &[&str]| subprotocol.is_some_and(|chosen| names.contains(&chosen));
        let spoken = match self.spoken {
            None if means(&MQTT_SUBPROTOCOLS) => Some(Spoken::Mqtt),
            None if means(&STOMP_SUBPROTOCOLS) => Some(Spoken::Stomp),
            spoken => spoken,
        };
        Ok((subprotocol, spoken))
    }
}

fn counted_as(spoken: Option<Spoken>) -> tls::telemetry::Listener {
    match spoken {
        Some(Spoken::Mqtt) => tls::telemetry::Listener::Mqtt,
        Some(Spoken::Stomp) => tls::telemetry::Listener::Stomp,
        None => tls::telemetry::Listener::Auto,
    }
}

fn endpoint(listener: &Listener, path: &WebPath, is_proved: bool) -> Endpoint {
    let speaks = |spoken| Spoken::of(listener.protocol).is_none_or(|only| only == spoken);
    let mqtt = MQTT_SUBPROTOCOLS.iter().filter(|_| speaks(Spoken::Mqtt));
    let stomp = STOMP_SUBPROTOCOLS.iter().filter(|_| speaks(Spoken::Stomp));
    Endpoint {
        path: path.as_str().into(),
        origins: listener.origins.iter().map(|origin| origin.as_str().into()).collect(),
        // A page whose name was made to point here (DNS rebinding) has neither our certificate nor anybody's password.
        trust_host: listener.tls.is_some() || is_proved,
        protocols: mqtt.chain(stomp).map(|&name| name.into()).collect(),
    }
}
