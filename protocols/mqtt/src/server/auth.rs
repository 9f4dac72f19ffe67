//! Enhanced authentication (MQTT 5, section 4.12): AUTH packets before CONNACK and re-authentication after it.
//!
//! The methods themselves are handed in through [`AuthMethods`]; this room knows only the exchange.

use std::fmt;

use bytes::BytesMut;
use noctule_core::refusal::{Kind, Refusal};

use super::reply::above_maximum;
use super::{Cold, Phase, Server, Step, Surroundings, check_user_properties, refusal};
use crate::connect::{Connect, decode_connect};
use crate::farewell::Auth;
use crate::framing::{Frame, Framer, MAX_PACKET, Split};
use crate::packet::{Packet, decode};
use crate::reason::Reason;
use crate::version::{Direction, PacketType, Version};

/// What an exchange makes of the client's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthStep {
    /// The client is asked for more, with this data.
    Continue(Vec<u8>),
    /// The client is who it says.
    Success {
        /// The user that was proved.
        user: Option<Box<str>>,
        /// Data for the client, such as the server's own proof.
        data: Option<Vec<u8>>,
    },
    /// It is not; the text is for the log alone, since telling a stranger why helps only strangers.
    Failure(&'static str),
}

/// One exchange under way.
pub trait Exchange: fmt::Debug + Send {
    /// Takes the client's next data.
    fn step(&mut self, data: &[u8]) -> AuthStep;
}

/// A method of enhanced authentication.
pub trait AuthMethod: fmt::Debug + Send + Sync {
    /// Its name in CONNECT, such as `SCRAM-SHA-256`.
    fn name(&self) -> &str;
    /// Begins an exchange; what it needs of randomness it brings along.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// The methods that this broker offers.
#[derive(Debug, Default)]
pub struct AuthMethods {
    methods: Vec<Box<dyn AuthMethod>>,
}

impl AuthMethods {
    /// Offers one more method.
    pub fn register(&mut self, method: Box<dyn AuthMethod>) {
        self.methods.push(method);
    }

    pub(super) fn find(&self, name: &str) -> Option<&dyn AuthMethod> {
        self.methods.iter().find(|method| method.name() == name).map(|method| &**method)
    }
}

/// An exchange before CONNACK, with the CONNECT that it decides about.
#[derive(Debug)]
pub(super) struct Pending {
    method: Box<str>,
    exchange: Box<dyn Exchange>,
    /// The whole packet; its size is bounded by the limit on CONNECT.
    connect: KeptConnect,
}

impl Server {
    /// Begins the enhanced authentication that `connect` asks for; `packet` is that CONNECT as it came. It is judged
    /// when the exchange has ended, and kept until then.
    ///
    /// # Errors
    /// When the method is not known (0x8C) or its first step fails.
    pub fn exchange(
        &mut self,
        connect: &Connect<'_>,
        packet: &[u8],
        around: Surroundings<'_>,
        out: &mut BytesMut,
    ) -> Result<Step<'static>, Refusal> {
        let name = connect.auth_method.unwrap_or_default();
        let Some(method) = around.methods.find(name) else {
            let detail = format!("authentication method {name:?} is not known here");
            return Err(Refusal::new(Kind::BadAuthenticationMethod, detail));
        };
        let connect_packet = KeptConnect { packet: packet.into() };
        let pending = Pending { method: name.into(), exchange: method.begin(), connect: connect_packet };
        self.phase = Phase::Authenticating(Box::new(pending));
        self.framer = Framer::new(Version::V5, Direction::ToServer, around.server.max_connect_size);
        self.auth_step(connect.auth_data.unwrap_or_default(), out)
    }

    /// Takes the CONNECT out that waited for its authentication, after [`Step::Authenticated`].
    pub fn take_pending(&mut self) -> Option<KeptConnect> {
        match std::mem::replace(&mut self.phase, Phase::Deciding) {
            Phase::Authenticating(pending) => Some(pending.connect),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// A packet while AUTH packets go to and fro: only AUTH and DISCONNECT may come [MQTT-3.1.2-30].
    pub(super) fn authenticating<'a>(
        &mut self,
        frame: &Frame<'a>,
        around: Surroundings<'_>,
        out: &mut BytesMut,
    ) -> Result<Step<'a>, Refusal> {
        if !matches!(frame.packet_type(), Some(PacketType::Auth | PacketType::Disconnect)) {
            let detail = "only AUTH and DISCONNECT may come before CONNACK [MQTT-3.1.2-30]";
            return Err(Refusal::new(Kind::ProtocolError, detail));
        }
        match decode(Version::V5, Direction::ToServer, frame).map_err(|error| refusal(&error))? {
            Packet::Auth(auth) => {
                check_user_properties(auth.user_properties, around.server)?;
                let Phase::Authenticating(pending) = &self.phase else { return Ok(Step::Done) };
                same_method(&auth, Some(&pending.method))?;
                if auth.reason != Reason::CONTINUE_AUTHENTICATION {
                    let detail = "AUTH before CONNACK must have reason 0x18 [MQTT-4.12.0-3]";
                    return Err(Refusal::new(Kind::ProtocolError, detail));
                }
                self.auth_step(auth.data.unwrap_or_default(), out)
            }
            _ => Ok(Step::Farewell),
        }
    }

    /// Hands the client's data to the exchange before CONNACK.
    fn auth_step(&mut self, data: &[u8], out: &mut BytesMut) -> Result<Step<'static>, Refusal> {
        let Phase::Authenticating(pending) = &mut self.phase else { return Ok(Step::Done) };
        match pending.exchange.step(data) {
            AuthStep::Continue(data) => {
                // [MQTT-4.12.0-2]
                send(
                    Reason::CONTINUE_AUTHENTICATION,
                    &pending.method,
                    Some(&data),
                    self.cold.as_deref(),
                    out,
                )?;
                Ok(Step::Done)
            }
            AuthStep::Success { user, data } => {
                self.cold().final_data = data.map(Vec::into_boxed_slice);
                Ok(Step::Authenticated { user })
            }
            AuthStep::Failure(why) => Err(Refusal::new(Kind::NotAuthorized, why)),
        }
    }

    /// AUTH after CONNACK: the client begins re-authentication, or goes on with it (section 4.12.1).
    pub(super) fn reauthenticate<'a>(
        &mut self,
        auth: &Auth<'_>,
        around: Surroundings<'_>,
        out: &mut BytesMut,
    ) -> Result<Step<'a>, Refusal> {
        check_user_properties(auth.user_properties, around.server)?;
        let cold = self.cold();
        same_method(auth, cold.method.as_deref())?;
        let Some(name) = cold.method.clone() else { return Ok(Step::Done) };
        if auth.reason == Reason::REAUTHENTICATE {
            cold.reauthentication = around.methods.find(&name).map(AuthMethod::begin);
        } else if auth.reason != Reason::CONTINUE_AUTHENTICATION {
            return Err(Refusal::new(
                Kind::ProtocolError,
                "AUTH from a client must have reason 0x18 or 0x19",
            ));
        }
        let Some(exchange) = &mut cold.reauthentication else {
            return Err(Refusal::new(
                Kind::ProtocolError,
                "AUTH 0x18, but no re-authentication is under way",
            ));
        };
        match exchange.step(auth.data.unwrap_or_default()) {
            AuthStep::Continue(data) => {
                send(Reason::CONTINUE_AUTHENTICATION, &name, Some(&data), Some(cold), out)?;
                Ok(Step::Done)
            }
            AuthStep::Success { user, data } => {
                cold.reauthentication = None;
                if user != cold.user {
                    let detail = format!("re-authentication as {user:?} on a connection of {:?}", cold.user);
                    return Err(Refusal::new(Kind::NotAuthorized, detail));
                }
                send(Reason::SUCCESS, &name, data.as_deref(), Some(cold), out)?;
                Ok(Step::Done)
            }
            AuthStep::Failure(why) => Err(Refusal::new(Kind::NotAuthorized, why)),
        }
    }
}

/// The bytes of a CONNECT that waited for its authentication.
#[derive(Debug)]
pub struct KeptConnect {
    packet: Box<[u8]>,
}

impl KeptConnect {
    /// The CONNECT; it was valid when it came, so `None` does not happen.
    #[must_use]
    pub fn connect(&self) -> Option<Box<Connect<'_>>> {
        match Framer::awaiting_connect(MAX_PACKET).split(&self.packet) {
            Ok(Split::Frame(frame)) => decode_connect(&frame).ok().map(Box::new),
            _ => None,
        }
    }
}

/// [MQTT-4.12.0-5]: every AUTH names the method that CONNECT named.
fn same_method(auth: &Auth<'_>, expected: Option<&str>) -> Result<(), Refusal> {
    let Some(expected) = expected else {
        let detail = "AUTH, but CONNECT named no authentication method [MQTT-4.12.0-7]";
        return Err(Refusal::new(Kind::ProtocolError, detail));
    };
    if auth.method == Some(expected) {
        return Ok(());
    }
    let detail = format!("AUTH names method {:?}, CONNECT named {expected:?} [MQTT-4.12.0-5]", auth.method);
    Err(Refusal::new(Kind::ProtocolError, detail))
}

fn send(
    reason: Reason,
    method: &str,
    data: Option<&[u8]>,
    cold: Option<&Cold>,
    out: &mut BytesMut,
) -> Result<(), Refusal> {
    let start = out.len();
    Auth::new(reason, method, data)
        .encode(Version::V5, Direction::ToClient, out)
        .map_err(|error| Refusal::new(Kind::Internal, error.to_string()))?;
    let bytes = out.len() - start;
    if cold.is_some_and(|cold| cold.is_above_maximum(bytes)) {
        out.truncate(start);
        return Err(above_maximum(bytes));
    }
    Ok(())
}
