//! As much of MQTT as forwarding needs.

use std::io::{self, ErrorKind};

/// The largest packet, in bytes.
pub(crate) const MAX_PACKET: usize = 1024 * 1024;

/// One packet: its type and flags, where its body starts, and all of it.
pub(crate) struct Packet<'a> {
    pub(crate) head: u8,
    pub(crate) body: &'a [u8],
    pub(crate) whole: &'a [u8],
}

impl Packet<'_> {
    pub(crate) fn qos(&self) -> u8 {
        (self.head >> 1) & 3
    }
}

/// The first packet of `bytes` and what follows; `Ok(None)` where it is not all there.
pub(crate) fn split(bytes: &[u8]) -> io::Result<Option<(Packet<'_>, &[u8])>> {
    let Some((&head, mut rest)) = bytes.split_first() else { return Ok(None) };
    let (mut length, mut shift) = (0_usize, 0_u32);
    loop {
        let Some((&byte, behind)) = rest.split_first() else { return Ok(None) };
        rest = behind;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 21 {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    if length > MAX_PACKET {
        return Err(ErrorKind::InvalidData.into());
    }
    let Some((body, behind)) = rest.split_at_checked(length) else { return Ok(None) };
    let whole = bytes.get(..bytes.len().saturating_sub(behind.len())).unwrap_or_default();
    Ok(Some((Packet { head, body, whole }, behind)))
}

/// Bytes behind their length in two bytes, and what follows them.
pub(crate) fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

pub(crate) fn matches(filter: &[u8], topic: &[u8]) -> bool {
    let mut levels = topic.split(|byte| *byte == b'/');
    for part in filter.split(|byte| *byte == b'/') {
        match (part, levels.next()) {
            (b"#", _) => return true,
            (_, None) => return false,
            (b"+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// What SUBSCRIBE asks for: the filters, and the SUBACK that grants them as asked.
pub(crate) fn subscribe(body: &[u8], v5: bool) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let (id, mut rest) = body.split_first_chunk::<2>()?;
    if v5 {
        // Properties of this generator are shorter than 128 bytes.
        let (&length, behind) = rest.split_first()?;
        rest = behind.get(usize::from(length)..)?;
    }
    let (mut filters, mut granted) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (filter, behind) = field(rest)?;
        let (&options, behind) = behind.split_first()?;
        granted.push(options & 3);
        filters.push(filter.to_vec());
        rest = behind;
    }
    let length = u8::try_from(2 + usize::from(v5) + granted.len()).ok().filter(|n| *n < 128)?;
    let mut answer = vec![0x90, length, id[0], id[1]];
    answer.extend_from_slice(if v5 { &[0] } else { &[] });
    answer.extend_from_slice(&granted);
    Some((filters, answer))
}

/// What CONNECT is answered with, and whether it is MQTT 5's.
pub(crate) fn connected(body: &[u8]) -> Option<(bool, &'static [u8])> {
    let v5 = field(body)?.1.first() == Some(&5);
    Some((v5, if v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] }))
}
