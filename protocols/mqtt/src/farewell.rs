//! DISCONNECT (section 3.14) and AUTH (section 3.15): the two packets that are nothing but a reason and properties.

use bytes::{BufMut, BytesMut};

use crate::carrier::Carrier;
use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeError};
use crate::packet::{PacketLen, put_header};
use crate::property::{Properties, UserProperties};
use crate::reason::Reason;
use crate::version::{Direction, PacketType, Version};

/// The last packet of a connection, borrowed; in 3.x it is only a client's and says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// Why.
    pub reason: Reason,
    /// Session Expiry Interval in seconds, only from a client [MQTT-3.14.2-2].
    pub session_expiry_s: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// Server Reference, only from a server.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// A farewell with a reason and no properties.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            session_expiry_s: None,
            reason_string: None,
            user_properties: UserProperties::default(),
            server_reference: None,
        }
    }

    pub(crate) fn decode(
        version: Version,
        direction: Direction,
        body: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let mut disconnect = Self::new(Reason::SUCCESS);
        if version.is_v5() {
            let (reason, properties) = reason_and_properties(Carrier::disconnect(direction), &mut cursor)?;
            disconnect = Self {
                reason,
                session_expiry_s: properties.session_expiry_s,
                reason_string: properties.reason_string,
                user_properties: properties.user_properties,
                server_reference: properties.server_reference,
            };
        }
        cursor.end("DISCONNECT")?;
        Ok(disconnect)
    }

    /// Writes the packet as the side that sends in `direction`.
    ///
    /// # Errors
    /// When this side must not say so (in 3.x a server says nothing, and a client only that it goes), or something
    /// does not fit; nothing is written then.
    pub fn encode(
        &self,
        version: Version,
        direction: Direction,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if !version.is_v5() {
            return match (direction, self.reason) {
                (Direction::ToServer, Reason::SUCCESS) => {
                    put_header(PacketType::Disconnect, &PacketLen::default(), out)
                }
                (Direction::ToServer, reason) => Err(EncodeError::Reason(reason)),
                (Direction::ToClient, _) => Err(EncodeError::NeedsV5("a server's DISCONNECT")),
            };
        }
        let properties = Properties {
            session_expiry_s: self.session_expiry_s,
            reason_string: self.reason_string,
            user_properties: self.user_properties,
            server_reference: self.server_reference,
            ..Properties::default()
        };
        encode(PacketType::Disconnect, Carrier::disconnect(direction), self.reason, &properties, out)
    }
}

/// A step of an enhanced authentication, borrowed; only in 5.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Success, Continue or Re-authenticate; whether it fits now is the exchange's to know.
    pub reason: Reason,
    /// Authentication Method; absent only in a success without properties.
    pub method: Option<&'a str>,
    /// Authentication Data; never without a method.
    pub data: Option<&'a [u8]>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// A step with a method and data.
    #[must_use]
    pub fn new(reason: Reason, method: &'a str, data: Option<&'a [u8]>) -> Self {
        Self {
            reason,
            method: Some(method),
            data,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }

    pub(crate) fn decode(direction: Direction, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let (reason, properties) = reason_and_properties(Carrier::auth(direction), &mut cursor)?;
        cursor.end("AUTH")?;
        let auth = Self {
            reason,
            method: properties.auth_method,
            data: properties.auth_data,
            reason_string: properties.reason_string,
            user_properties: properties.user_properties,
        };
        if auth.lacks_method() { Err(DecodeError::AuthWithoutMethod) } else { Ok(auth) }
    }

    /// Only a success without properties may do without a method (sections 3.15.2.1 and 3.15.2.2.2).
    fn lacks_method(&self) -> bool {
        let silent = self.reason_string.is_none() && self.user_properties.is_empty() && self.data.is_none();
        self.method.is_none() && !(self.reason == Reason::SUCCESS && silent)
    }

    /// Writes the packet as the side that sends in `direction`.
    ///
    /// # Errors
    /// When the version is below 5.0, this side must not say so, the method is missing, or something does not fit;
    /// nothing is written then.
    pub fn encode(
        &self,
        version: Version,
        direction: Direction,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NeedsV5("AUTH"));
        }
        if self.lacks_method() {
            return Err(EncodeError::NotAllowed("AUTH without a method"));
        }
        let properties = Properties {
            auth_method: self.method,
            auth_data: self.data,
            reason_string: self.reason_string,
            user_properties: self.user_properties,
            ..Properties::default()
        };
        encode(PacketType::Auth, Carrier::auth(direction), self.reason, &properties, out)
    }
}

/// Reason code and properties; what may be left out with everything after it (sections 3.14.2 and 3.15.2).
fn reason_and_properties<'a>(
    carrier: Carrier,
    cursor: &mut Cursor<'a>,
) -> Result<(Reason, Properties<'a>), DecodeError> {
    if cursor.is_empty() {
        return Ok((Reason::SUCCESS, Properties::default()));
    }
    let code = cursor.u8("reason code")?;
    let reason =
        Reason::checked(code, carrier).ok_or(DecodeError::ReasonCode { code, carrier: carrier.name() })?;
    // DISCONNECT may end here; AUTH has both or neither.
    if cursor.is_empty() && matches!(carrier, Carrier::DisconnectToServer | Carrier::DisconnectToClient) {
        return Ok((reason, Properties::default()));
    }
    Ok((reason, Properties::decode(cursor, carrier)?))
}

fn encode(
    kind: PacketType,
    carrier: Carrier,
    reason: Reason,
    properties: &Properties<'_>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if !reason.fits(carrier) {
        return Err(EncodeError::Reason(reason));
    }
    let block = properties.block_len(carrier)?;
    let mut len = PacketLen::default();
    if block > 0 || reason != Reason::SUCCESS {
        len.add(1);
        len.add_block(block);
    }
    put_header(kind, &len, out)?;
    if block > 0 || reason != Reason::SUCCESS {
        out.put_u8(reason.code());
        properties.write(block, out);
    }
    Ok(())
}
