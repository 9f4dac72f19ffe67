//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which are one packet with four names.

use std::num::NonZeroU16;

use bytes::{BufMut, BytesMut};

use crate::carrier::Carrier;
use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeError};
use crate::packet::{PacketLen, put_header};
use crate::property::{Properties, UserProperties};
use crate::reason::Reason;
use crate::version::{PacketType, Version};

/// One of the four acknowledgements of PUBLISH, borrowed; in 3.x it is always a success.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ack<'a> {
    /// The packet identifier of the PUBLISH.
    pub packet_id: NonZeroU16,
    /// What became of it.
    pub reason: Reason,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
}

/// What is written when there is nothing to say but that.
#[inline]
fn success(kind: PacketType, packet_id: NonZeroU16) -> [u8; 4] {
    let [high, low] = packet_id.get().to_be_bytes();
    [kind.first_byte(), 2, high, low]
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    #[must_use]
    pub fn new(packet_id: NonZeroU16, reason: Reason) -> Self {
        Self { packet_id, reason, reason_string: None, user_properties: UserProperties::default() }
    }

    /// The same without reason string and user properties, for a client that did not ask for them [MQTT-3.1.2-29].
    #[must_use]
    pub fn terse(self) -> Self {
        Self::new(self.packet_id, self.reason)
    }

    #[inline]
    pub(crate) fn decode(version: Version, kind: PacketType, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let mut ack = Self::new(cursor.packet_id()?, Reason::SUCCESS);
        if version.is_v5() && !cursor.is_empty() {
            ack.decode_reason(Carrier::ack(kind), &mut cursor)?;
        }
        cursor.end(kind.name())?;
        Ok(ack)
    }

    /// Reason code and properties; each may be left out with everything after it (section 3.4.2.1 and 3.4.2.2.1).
    fn decode_reason(&mut self, carrier: Carrier, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let code = cursor.u8("reason code")?;
        self.reason = Reason::checked(code, carrier)
            .ok_or(DecodeError::ReasonCode { code, carrier: carrier.name() })?;
        if !cursor.is_empty() {
            let properties = Properties::decode(cursor, carrier)?;
            self.reason_string = properties.reason_string;
            self.user_properties = properties.user_properties;
        }
        Ok(())
    }

    /// The whole PUBACK that says that all is well, which is the same in every version.
    #[must_use]
    #[inline]
    pub fn puback(packet_id: NonZeroU16) -> [u8; 4] {
        success(PacketType::PubAck, packet_id)
    }

    /// Writes it as `kind`, one of the four. 3.x cannot say a reason, there the identifier alone is written.
    ///
    /// # Errors
    /// When `kind` is another packet, does not know the reason, or something does not fit; nothing is written then.
    #[inline]
    pub fn encode(&self, version: Version, kind: PacketType, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !matches!(kind, PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp)
        {
            return Err(EncodeError::NotAllowed(kind.name()));
        }
        let bare = self.reason_string.is_none() && self.user_properties.is_empty();
        if !version.is_v5() || self.reason == Reason::SUCCESS && bare {
            out.put_slice(&success(kind, self.packet_id));
            return Ok(());
        }
        self.encode_reason(kind, bare, out)
    }

    fn encode_reason(&self, kind: PacketType, bare: bool, out: &mut BytesMut) -> Result<(), EncodeError> {
        let carrier = Carrier::ack(kind);
        if !self.reason.fits(carrier) {
            return Err(EncodeError::Reason(self.reason));
        }
        let properties = Properties {
            reason_string: self.reason_string,
            user_properties: self.user_properties,
            ..Properties::default()
        };
        let mut len = PacketLen::default();
        len.add(3);
        let block = if bare { 0 } else { len.add_block(properties.block_len(carrier)?) };
        put_header(kind, &len, out)?;
        out.put_u16(self.packet_id.get());
        out.put_u8(self.reason.code());
        if !bare {
            properties.write(block, out);
        }
        Ok(())
    }
}
