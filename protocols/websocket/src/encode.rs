//! Writes frames: each message in one, its length in the fewest bytes. What they answer is decided elsewhere.

use bytes::{BufMut, BytesMut};

use crate::close::CloseCode;
use crate::header::{Header, Kind, Opcode, Role};

/// Most bytes of a header: two, the long length, the mask.
const MAX_HEADER: usize = 14;

/// Most bytes of the words in a Close frame: a control frame's, less the code (RFC 6455, section 5.5).
const MAX_REASON: usize = Header::MAX_CONTROL - 2;

/// Appends `payload` as one message. With [`Kind::Text`] it must be UTF-8, else the other side refuses it (section 8.1).
#[inline]
pub fn encode(role: Role, kind: Kind, payload: &[u8], out: &mut BytesMut) {
    write_frame(role, kind.into(), [payload], out);
}

/// Appends a Ping with `payload`, of which only the first 125 bytes are sent (section 5.5.2).
pub fn write_ping(role: Role, payload: &[u8], out: &mut BytesMut) {
    write_frame(role, Opcode::Ping, [payload.get(..Header::MAX_CONTROL).unwrap_or(payload)], out);
}

/// Appends a Pong that answers a Ping with `payload`.
pub(crate) fn write_pong(role: Role, payload: &[u8], out: &mut BytesMut) {
    write_frame(role, Opcode::Pong, [payload], out);
}

/// Appends a Close frame; of `reason` as much as there is room for, 123 bytes (section 5.5.1).
///
/// Once it is sent nothing else may be; [`Decoder::close`](crate::Decoder::close) remembers that it was.
pub fn write_close(role: Role, code: CloseCode, reason: &str, out: &mut BytesMut) {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    write_frame(role, Opcode::Close, [&code.number().to_be_bytes(), reason.as_bytes()], out);
}

/// Appends the Close frame that answers one without a code.
pub(crate) fn write_empty_close(role: Role, out: &mut BytesMut) {
    write_frame(role, Opcode::Close, [], out);
}

#[inline]
fn write_frame<const N: usize>(role: Role, opcode: Opcode, parts: [&[u8]; N], out: &mut BytesMut) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(MAX_HEADER + len);
    out.put_u8(0x80 | opcode as u8);
    let masked = match role {
        Role::Server => 0,
        Role::Client { .. } => 0x80,
    };
    match len {
        0..=125 => out.put_u8(masked | len as u8),
        126..=0xFFFF => {
            out.put_u8(masked | 126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(masked | 127);
            out.put_u64(len as u64);
        }
    }
    if let Role::Client { mask } = role {
        out.put_slice(&mask.0);
    }
    let start = out.len();
    for part in parts {
        out.put_slice(part);
    }
    if let Role::Client { mut mask } = role {
        mask.apply(out.get_mut(start..).unwrap_or_default());
    }
}
