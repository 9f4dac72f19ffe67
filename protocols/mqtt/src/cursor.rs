//! Reads the basic data types (section 1.5) off the front of a packet's body; every read is checked.

use std::num::NonZeroU16;

use crate::error::DecodeError;
use crate::framing::{read_varint, varint_len};
use crate::text;

/// What is left of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (value, rest) = self.rest.split_first().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(*value)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*value))
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*value))
    }

    /// A packet identifier, never 0 [MQTT-2.2.1-3].
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.u16("packet identifier")?).ok_or(DecodeError::PacketIdZero)
    }

    /// A variable byte integer in its shortest form; only 5.0 has them inside a body [MQTT-1.5.5-1].
    #[inline]
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let (value, used) = read_varint(self.rest)?.ok_or(DecodeError::Truncated(field))?;
        if used != varint_len(value) {
            return Err(DecodeError::IntegerNotMinimal);
        }
        self.rest = self.rest.get(used..).unwrap_or_default();
        Ok(value)
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Two bytes of length and as many bytes.
    #[inline]
    pub(crate) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(usize::from(len), field)
    }

    /// Two bytes of length and as many of text.
    #[inline]
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        text::text(self.binary(field)?, field)
    }

    /// Refuses what is left over.
    #[inline]
    pub(crate) fn end(&self, packet: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { packet, bytes: self.rest.len() as u32 })
        }
    }
}
