//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (sections 3.8 to 3.11), both ways.
//!
//! Filters are checked for their form here, so that a bad one is refused with the packet; the core parses them again
//! into what it matches with. In 5.0 that includes `$share`; 3.x has no such thing and there it is a filter like any.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};
use mqttbytes::v4;
use noctule_core::id::Qos;

use crate::carrier::Carrier;
use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeError};
use crate::packet::{PacketLen, put_header};
use crate::property::{Properties, UserProperties, text_len, write_binary};
use crate::reason::{Reason, ReasonList, WireReasons};
use crate::text;
use crate::version::{PacketType, Version};

/// Retain Handling (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// 0: send retained messages when subscribing.
    #[default]
    Always,
    /// 1: only if the subscription did not exist.
    IfNew,
    /// 2: never.
    Never,
}

/// One filter and what is wanted of it; in 3.x only the QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// Topic Filter, of valid form.
    pub filter: &'a str,
    /// Maximum QoS.
    pub qos: Qos,
    /// No Local; never with a shared subscription [MQTT-3.8.3-4].
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

impl<'a> Subscription<'a> {
    /// A subscription with defaults for all but the filter and the QoS.
    #[must_use]
    pub fn new(filter: &'a str, qos: Qos) -> Self {
        let retain_handling = RetainHandling::Always;
        Self { filter, qos, no_local: false, retain_as_published: false, retain_handling }
    }

    fn decode(version: Version, cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        let v5 = version.is_v5();
        let filter = cursor.text("topic filter")?;
        let shared = text::filter(filter, v5).map_err(DecodeError::Filter)?;
        let options = cursor.u8("subscription options")?;
        if options & if v5 { 0b1100_0000 } else { 0b1111_1100 } != 0 {
            return Err(DecodeError::OptionsReserved(options));
        }
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(DecodeError::OptionsRetain(options)),
        };
        let no_local = options & 0b0100 != 0;
        if no_local && shared {
            return Err(DecodeError::NoLocalShared);
        }
        Ok(Self {
            filter,
            qos: Qos::from_level(options & 0b11).ok_or(DecodeError::OptionsQos(options))?,
            no_local,
            retain_as_published: options & 0b1000 != 0,
            retain_handling,
        })
    }

    fn options(&self, version: Version) -> u8 {
        if !version.is_v5() {
            return self.qos.level();
        }
        self.qos.level()
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// The filters of a SUBSCRIBE, as decoded or as given to be encoded.
#[derive(Clone, Copy, Debug)]
pub enum Subscriptions<'a> {
    /// Inside a packet that a decoder has validated.
    Wire(WireFilters<'a>),
    /// To be sent.
    Given(&'a [Subscription<'a>]),
}

/// The filters of an UNSUBSCRIBE, as decoded or as given to be encoded.
#[derive(Clone, Copy, Debug)]
pub enum Filters<'a> {
    /// Inside a packet that a decoder has validated.
    Wire(WireFilters<'a>),
    /// To be sent.
    Given(&'a [&'a str]),
}

/// The payload of a SUBSCRIBE or UNSUBSCRIBE that a decoder has validated.
#[derive(Clone, Copy, Debug)]
pub struct WireFilters<'a> {
    payload: &'a [u8],
    version: Version,
}

impl<'a> WireFilters<'a> {
    /// Checks every item once, so that going through them later can't fail.
    fn checked<T>(
        payload: &'a [u8],
        version: Version,
        item: impl Fn(Version, &mut Cursor<'a>) -> Result<T, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload);
        while !cursor.is_empty() {
            item(version, &mut cursor)?;
        }
        Ok(Self { payload, version })
    }

    fn items<T>(
        self,
        item: impl Fn(Version, &mut Cursor<'a>) -> Result<T, DecodeError>,
    ) -> impl Iterator<Item = T> {
        let mut cursor = Cursor::new(self.payload);
        std::iter::from_fn(move || item(self.version, &mut cursor).ok())
    }
}

const NOTHING: WireFilters<'static> = WireFilters { payload: &[], version: Version::V5 };

impl<'a> Subscriptions<'a> {
    /// Each in the packet's order, in which SUBACK answers [MQTT-3.8.4-6].
    pub fn iter(self) -> impl Iterator<Item = Subscription<'a>> + use<'a> {
        let (wire, given): (_, &[_]) = match self {
            Self::Wire(wire) => (wire, &[]),
            Self::Given(given) => (NOTHING, given),
        };
        wire.items(Subscription::decode).chain(given.iter().copied())
    }
}

impl PartialEq for Subscriptions<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> Filters<'a> {
    /// Each in the packet's order, in which UNSUBACK answers [MQTT-3.11.3-1].
    pub fn iter(self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (wire, given): (_, &[_]) = match self {
            Self::Wire(wire) => (wire, &[]),
            Self::Given(given) => (NOTHING, given),
        };
        wire.items(bare_filter).chain(given.iter().copied())
    }
}

impl PartialEq for Filters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

fn bare_filter<'a>(version: Version, cursor: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    let filter = cursor.text("topic filter")?;
    text::filter(filter, version.is_v5()).map_err(DecodeError::Filter)?;
    Ok(filter)
}

/// A subscribe request, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// To be repeated by SUBACK.
    pub packet_id: NonZeroU16,
    /// Subscription Identifier for all of its filters, 1 to 268,435,455.
    pub subscription_id: Option<NonZeroU32>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// At least one [MQTT-3.8.3-2].
    pub subscriptions: Subscriptions<'a>,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let packet_id = cursor.packet_id()?;
        let mut properties = Properties::default();
        if version.is_v5() {
            properties = Properties::decode(&mut cursor, Carrier::Subscribe)?;
        }
        if cursor.is_empty() {
            return Err(DecodeError::SubscribeEmpty);
        }
        let wire = WireFilters::checked(cursor.rest(), version, Subscription::decode)?;
        Ok(Self {
            packet_id,
            subscription_id: properties.subscription_id,
            user_properties: properties.user_properties,
            subscriptions: Subscriptions::Wire(wire),
        })
    }

    /// Writes the packet; in 3.x without identifier, user properties and options beyond the QoS.
    ///
    /// # Errors
    /// When something does not fit or the server would have to refuse it; nothing is written then.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let v5 = version.is_v5();
        let properties = Properties {
            subscription_id: self.subscription_id,
            user_properties: self.user_properties,
            ..Properties::default()
        };
        let mut len = PacketLen::default();
        len.add(2);
        let block = if v5 { len.add_block(properties.block_len(Carrier::Subscribe)?) } else { 0 };
        let mut any = false;
        for subscription in self.subscriptions.iter() {
            any = true;
            match text::filter(subscription.filter, v5) {
                Err(_) => return Err(EncodeError::NotAllowed("topic filter")),
                Ok(true) if subscription.no_local => {
                    return Err(EncodeError::NotAllowed("no local on a shared subscription"));
                }
                Ok(_) => len.add(text_len(subscription.filter, "topic filter")? + 1),
            }
        }
        if !any {
            return Err(EncodeError::NotAllowed("SUBSCRIBE without a filter"));
        }
        put_header(PacketType::Subscribe, &len, out)?;
        out.put_u16(self.packet_id.get());
        if v5 {
            properties.write(block, out);
        }
        for subscription in self.subscriptions.iter() {
            write_binary(subscription.filter.as_bytes(), out);
            out.put_u8(subscription.options(version));
        }
        Ok(())
    }
}

/// An unsubscribe request, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// To be repeated by UNSUBACK.
    pub packet_id: NonZeroU16,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// At least one [MQTT-3.10.3-2].
    pub filters: Filters<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let packet_id = cursor.packet_id()?;
        let mut user_properties = UserProperties::default();
        if version.is_v5() {
            user_properties = Properties::decode(&mut cursor, Carrier::Unsubscribe)?.user_properties;
        }
        if cursor.is_empty() {
            return Err(DecodeError::UnsubscribeEmpty);
        }
        let wire = WireFilters::checked(cursor.rest(), version, bare_filter)?;
        Ok(Self { packet_id, user_properties, filters: Filters::Wire(wire) })
    }

    /// Writes the packet; in 3.x without user properties.
    ///
    /// # Errors
    /// When something does not fit or the server would have to refuse it; nothing is written then.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let v5 = version.is_v5();
        let properties = Properties { user_properties: self.user_properties, ..Properties::default() };
        let mut len = PacketLen::default();
        len.add(2);
        let block = if v5 { len.add_block(properties.block_len(Carrier::Unsubscribe)?) } else { 0 };
        let mut any = false;
        for filter in self.filters.iter() {
            any = true;
            text::filter(filter, v5).map_err(|_| EncodeError::NotAllowed("topic filter"))?;
            len.add(text_len(filter, "topic filter")?);
        }
        if !any {
            return Err(EncodeError::NotAllowed("UNSUBSCRIBE without a filter"));
        }
        put_header(PacketType::Unsubscribe, &len, out)?;
        out.put_u16(self.packet_id.get());
        if v5 {
            properties.write(block, out);
        }
        for filter in self.filters.iter() {
            write_binary(filter.as_bytes(), out);
        }
        Ok(())
    }
}

/// The answer to SUBSCRIBE or UNSUBSCRIBE, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// The request's.
    pub packet_id: NonZeroU16,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// One per filter, in its order. None in an UNSUBACK of 3.x, which cannot say more than that it was done.
    pub reasons: ReasonList<'a>,
}

impl<'a> SubAck<'a> {
    /// An answer without properties.
    #[must_use]
    pub fn new(packet_id: NonZeroU16, reasons: &'a [Reason]) -> Self {
        let user_properties = UserProperties::default();
        Self { packet_id, reason_string: None, user_properties, reasons: ReasonList::Given(reasons) }
    }

    /// The same without reason string and user properties, for a client that did not ask for them [MQTT-3.1.2-29].
    #[must_use]
    pub fn terse(self) -> Self {
        Self { reason_string: None, user_properties: UserProperties::default(), ..self }
    }

    pub(crate) fn decode(version: Version, carrier: Carrier, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let mut ack = Self::new(cursor.packet_id()?, &[]);
        if version.is_v5() {
            let properties = Properties::decode(&mut cursor, carrier)?;
            ack.reason_string = properties.reason_string;
            ack.user_properties = properties.user_properties;
        } else if carrier == Carrier::UnsubAck {
            cursor.end("UNSUBACK")?;
            return Ok(ack);
        }
        let codes = cursor.rest();
        if codes.is_empty() {
            return Err(DecodeError::NoReasons(carrier.name()));
        }
        for code in codes.iter().copied() {
            let reason =
                if version.is_v5() { Reason::checked(code, carrier) } else { Reason::from_suback_v3(code) };
            reason.ok_or(DecodeError::ReasonCode { code, carrier: carrier.name() })?;
        }
        ack.reasons = ReasonList::Wire(WireReasons(codes));
        Ok(ack)
    }

    /// Writes it as a SUBACK; in 3.x without properties, and every failure as 0x80.
    ///
    /// # Errors
    /// When there is no reason, one that SUBACK does not know, or something does not fit; nothing is written then.
    pub fn encode_suback(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.check(Carrier::SubAck)?;
        if version.is_v5() {
            return self.encode_v5(PacketType::SubAck, Carrier::SubAck, out);
        }
        let codes = self.reasons.iter().map(v4_code).collect();
        let ack = v4::SubAck::new(self.packet_id.get(), codes);
        // Its only error is a length that does not fit, but only after it has written the first byte.
        let remaining = ack.len();
        if remaining > crate::framing::MAX_REMAINING as usize {
            return Err(EncodeError::PacketTooLong(remaining));
        }
        ack.write(out).map(drop).map_err(|_| EncodeError::PacketTooLong(remaining))
    }

    /// Writes it as an UNSUBACK; in 3.x the packet identifier alone.
    ///
    /// # Errors
    /// When (in 5.0) there is no reason, one that UNSUBACK does not know, or something does not fit; nothing is
    /// written then.
    pub fn encode_unsuback(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if version.is_v5() {
            self.check(Carrier::UnsubAck)?;
            return self.encode_v5(PacketType::UnsubAck, Carrier::UnsubAck, out);
        }
        v4::UnsubAck::new(self.packet_id.get())
            .write(out)
            .map(drop)
            .map_err(|_| EncodeError::PacketTooLong(2))
    }

    fn check(&self, carrier: Carrier) -> Result<(), EncodeError> {
        if self.reasons.is_empty() {
            return Err(EncodeError::NotAllowed("an answer without a reason code"));
        }
        match self.reasons.iter().find(|reason| !reason.fits(carrier)) {
            Some(reason) => Err(EncodeError::Reason(reason)),
            None => Ok(()),
        }
    }

    fn encode_v5(&self, kind: PacketType, carrier: Carrier, out: &mut BytesMut) -> Result<(), EncodeError> {
        let properties = Properties {
            reason_string: self.reason_string,
            user_properties: self.user_properties,
            ..Properties::default()
        };
        let mut len = PacketLen::default();
        len.add(2);
        let block = len.add_block(properties.block_len(carrier)?);
        len.add(self.reasons.len());
        put_header(kind, &len, out)?;
        out.put_u16(self.packet_id.get());
        properties.write(block, out);
        for reason in self.reasons.iter() {
            out.put_u8(reason.code());
        }
        Ok(())
    }
}

fn v4_code(reason: Reason) -> v4::SubscribeReasonCode {
    match reason.suback_v3() {
        0 => v4::SubscribeReasonCode::Success(mqttbytes::QoS::AtMostOnce),
        1 => v4::SubscribeReasonCode::Success(mqttbytes::QoS::AtLeastOnce),
        2 => v4::SubscribeReasonCode::Success(mqttbytes::QoS::ExactlyOnce),
        _ => v4::SubscribeReasonCode::Failure,
    }
}
