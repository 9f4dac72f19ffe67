//! Frames in, a stream of bytes out (RFC 6455, sections 5 to 8). Keeps no input and collects no message.
//!
//! A payload is passed on as it arrives. Only a header, and a control frame (at most 131 bytes), is waited for: what is
//! there of it stays with the caller until the rest has come.

use std::ops::Range;

use bytes::BytesMut;

use crate::close::{CloseCode, Closed};
use crate::encode::{write_close, write_empty_close, write_pong};
use crate::header::{Header, Kind, Opcode, Role};
use crate::mask::Mask;
use crate::utf8::Utf8;
use crate::violation::Violation;

/// Limits that the other side's frames must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Most bytes of a message, all fragments together. Any is fine for us, as none is collected.
    pub max_message: u64,
    /// By how many the fragments of a message that carry next to nothing (less than
    /// [`MIN_FRAGMENT`](Self::MIN_FRAGMENT) bytes, and something to follow) may outnumber its others; empty frames count
    /// too, and empty messages in a row. A message that came whole and has something in it costs nothing, however small.
    pub max_tiny_frames: u16,
    /// Whether text is refused, as MQTT demands [MQTT-6.0.0-1].
    pub binary_only: bool,
}

impl FrameLimits {
    /// Fewer payload bytes than this, and a fragment was not worth its header.
    pub const MIN_FRAGMENT: u64 = 16;
}

impl Default for FrameLimits {
    /// Messages of any size, 128 tiny frames, text and binary.
    fn default() -> Self {
        Self { max_message: u64::MAX, max_tiny_frames: 128, binary_only: false }
    }
}

/// What a call of [`Decoder::decode`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes at the front of the input that are done with; the rest, at most 130, is to be handed in again with what
    /// follows it.
    pub consumed: usize,
    /// What the last message was that carried something in this call.
    pub kind: Option<Kind>,
    /// Once the other side's Close frame has come: it has been answered, and nothing more will come. Send what is in
    /// `out`; then the server closes the connection, and the client waits for it to (section 7.1.1).
    pub closed: Option<Closed>,
}

/// Which of the two Close frames there have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Ours has been written: no frame may follow it (section 5.5.1), but theirs is still to come.
    Closing,
    /// Theirs has come, or something that can't be read on from. Ours is still to be written if `owing`.
    Ended {
        owing: bool,
    },
}

/// Where one side's stream of frames is; 32 bytes, since every idle connection keeps one.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Payload of the current data frame that is still to come, in bytes.
    left: u64,
    /// Payload bytes of the current message, those that its frames so far only announced among them. Saturates.
    length: u64,
    mask: Mask,
    tiny: u16,
    utf8: Utf8,
    /// The message that a frame is to continue.
    message: Option<Kind>,
    /// Whether the current data frame is its message's last.
    last: bool,
    phase: Phase,
}

const _: () = assert!(size_of::<Decoder>() <= 32, "an idle connection keeps one");

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the beginning of the frames, right behind the handshake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            left: 0,
            length: 0,
            mask: Mask::default(),
            tiny: 0,
            utf8: Utf8::default(),
            message: None,
            last: false,
            phase: Phase::Open,
        }
    }

    /// Takes what there is of frames at the front of `wire`, which is unmasked in place, and appends what they carry to
    /// `plain`. A Ping or a Close is answered in `out` by at most one frame per call: of several Pings the last alone
    /// is answered (section 5.5.3), and none beside a Close (section 5.5.2).
    ///
    /// Give the same kind of `role` each time; a client a new mask.
    ///
    /// # Errors
    /// At the first thing that the RFC or the limits forbid. What came before it is in `plain`. Now [`close`](Self::close)
    /// with the violation's code and words, and close the connection; whatever comes is ignored.
    pub fn decode(
        &mut self,
        role: Role,
        limits: &FrameLimits,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<Progress, Violation> {
        let mut progress = Progress { consumed: 0, kind: None, closed: None };
        let mut ping = None;
        while !matches!(self.phase, Phase::Ended { .. }) {
            let step = self.step(role, limits, wire, &mut progress, plain);
            match step {
                Ok(Step::Data) => {}
                Ok(Step::More) => {
                    self.pong(role, wire, ping, out);
                    return Ok(progress);
                }
                Ok(Step::Ping(payload)) => ping = Some(payload),
                Ok(Step::Close(closed)) => {
                    self.answer_close(role, closed.code, out);
                    progress.closed = Some(closed);
                }
                Err(violation) => {
                    self.phase = Phase::Ended { owing: self.phase == Phase::Open };
                    return Err(violation);
                }
            }
        }
        // Section 5.5.1: whatever follows a Close frame is discarded.
        progress.consumed = wire.len();
        Ok(progress)
    }

    /// Writes our Close frame, unless it was written before: one of our own accord, the other side's answer to which is
    /// then to be awaited, or the one that goes with a violation.
    pub fn close(&mut self, role: Role, code: CloseCode, reason: &str, out: &mut BytesMut) {
        self.phase = match self.phase {
            Phase::Open => Phase::Closing,
            Phase::Ended { owing: true } => Phase::Ended { owing: false },
            Phase::Closing | Phase::Ended { owing: false } => return,
        };
        write_close(role, code, reason, out);
    }

    /// Whether nothing more is read: the other side's Close frame has come, or a violation.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// One piece of payload, or one header.
    #[inline]
    fn step(
        &mut self,
        role: Role,
        limits: &FrameLimits,
        wire: &mut [u8],
        progress: &mut Progress,
        plain: &mut Vec<u8>,
    ) -> Result<Step, Violation> {
        let rest = wire.get_mut(progress.consumed..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Step::More);
        }
        if self.left > 0 {
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            self.data(rest.get_mut(..len).unwrap_or_default(), plain)?;
            progress.kind = self.message;
            progress.consumed += len;
            self.left -= len as u64;
            return self.end_frame();
        }
        let Some(header) = Header::parse(rest, role)? else { return Ok(Step::More) };
        match header.opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                self.begin_frame(&header, limits)?;
                progress.consumed += header.size;
                self.end_frame()
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                let start = progress.consumed + header.size;
                // It is at most 125, so this is exact.
                let payload = start..start + header.payload as usize;
                let Some(bytes) = wire.get_mut(payload.clone()) else { return Ok(Step::More) };
                progress.consumed = payload.end;
                let mut mask = header.mask;
                mask.apply(bytes);
                match header.opcode {
                    Opcode::Ping => Ok(Step::Ping(payload)),
                    Opcode::Close => Ok(Step::Close(read_close(bytes)?)),
                    // Section 5.5.3: one that nobody asked for is no fault.
                    _ => Ok(Step::Data),
                }
            }
        }
    }

    /// What the header of a data frame means behind those before it (section 5.4).
    fn begin_frame(&mut self, header: &Header, limits: &FrameLimits) -> Result<(), Violation> {
        let kind = match (header.opcode, self.message) {
            (Opcode::Continuation, Some(kind)) => kind,
            (Opcode::Continuation, None) => return Err(Violation::NothingToContinue),
            (_, Some(_)) => return Err(Violation::MessageInMessage),
            (Opcode::Text, None) if limits.binary_only => return Err(Violation::TextNotTaken),
            (Opcode::Text, None) => Kind::Text,
            (_, None) => Kind::Binary,
        };
        self.length = self.length.saturating_add(header.payload);
        if self.length > limits.max_message {
            return Err(Violation::MessageTooBig(limits.max_message));
        }
        if header.payload == 0 || (!header.fin && header.payload < FrameLimits::MIN_FRAGMENT) {
            if self.tiny >= limits.max_tiny_frames {
                return Err(Violation::TooManyTinyFrames(limits.max_tiny_frames));
            }
            self.tiny += 1;
        } else {
            self.tiny = self.tiny.saturating_sub(1);
        }
        self.message = Some(kind);
        self.last = header.fin;
        self.left = header.payload;
        self.mask = header.mask;
        Ok(())
    }

    #[inline]
    fn data(&mut self, piece: &mut [u8], plain: &mut Vec<u8>) -> Result<(), Violation> {
        self.mask.apply(piece);
        if self.message == Some(Kind::Text) && !self.utf8.goes_on(piece) {
            return Err(Violation::TextNotUtf8);
        }
        plain.extend_from_slice(piece);
        Ok(())
    }

    /// Ends the data frame, if nothing of it is left, and its message.
    #[inline]
    fn end_frame(&mut self) -> Result<Step, Violation> {
        if self.left == 0 && self.last {
            if !self.utf8.may_end() {
                return Err(Violation::TextNotUtf8);
            }
            if self.length > 0 {
                self.tiny = 0;
            }
            self.message = None;
            self.length = 0;
        }
        Ok(Step::Data)
    }

    fn pong(&self, role: Role, wire: &[u8], ping: Option<Range<usize>>, out: &mut BytesMut) {
        if let Some(payload) = ping
            && self.phase == Phase::Open
        {
            write_pong(role, wire.get(payload).unwrap_or_default(), out);
        }
    }

    /// Section 5.5.1: a Close frame is answered by one with the same code, unless ours went first.
    fn answer_close(&mut self, role: Role, code: Option<CloseCode>, out: &mut BytesMut) {
        if self.phase == Phase::Open {
            match code {
                Some(code) => write_close(role, code, "", out),
                None => write_empty_close(role, out),
            }
        }
        self.phase = Phase::Ended { owing: false };
    }
}

/// What one step of the decoder came to.
enum Step {
    /// Go on.
    Data,
    /// There is no more to go on with.
    More,
    /// A Ping; where in the input its payload stands.
    Ping(Range<usize>),
    Close(Closed),
}

/// The payload of a Close frame (section 5.5.1).
fn read_close(payload: &[u8]) -> Result<Closed, Violation> {
    match payload {
        [] => Ok(Closed { code: None, reason: Box::default() }),
        [_] => Err(Violation::CloseOfOneByte),
        [high, low, reason @ ..] => {
            let number = u16::from_be_bytes([*high, *low]);
            let code = CloseCode::new(number).ok_or(Violation::BadCloseCode(number))?;
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseNotUtf8)?;
            Ok(Closed { code: Some(code), reason: reason.into() })
        }
    }
}
