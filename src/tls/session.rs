//! One TLS connection as the server sees it: bytes in, bytes out, and no socket.
//!
//! It is rustls's unbuffered server: what is decrypted lies where it came from, what is encrypted goes where the caller
//! says, and a session that nobody talks to owns no buffer. Files, keys and settings are the acceptor's business.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use super::end::TlsEnd;
use super::first::{First, look};
use super::identity::{Identity, IdentityFrom, Nameless};
use super::names;

/// The longest record: a header, 16 KiB and what a cipher may add (RFC 5246 section 6.2.3).
///
/// [`Session::open`] leaves at most one byte less than this when the handshake is over.
pub const MAX_RECORD_BYTES: usize = 5 + 16 * 1024 + 2048;

/// Most bytes of an unfinished handshake message, with its records.
///
/// The longest are chains of client certificates; those of a dozen RSA certificates fit.
pub const MAX_HANDSHAKE_BYTES: usize = 32 * 1024;

/// Most records without content beyond those with.
///
/// Key updates, empty records and warnings cost us work and the peer nothing. rustls counts them too (32 key updates and
/// 32 empty records in a row), but each kind begins anew after the other.
const MAX_FRUITLESS: u16 = 64;

/// Room for the header, nonce, type and tag of one record, whatever the cipher.
const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;
const FRAGMENT: usize = 16 * 1024;

/// What [`Session::open`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// How many bytes of `wire` are done with. The rest must be handed in again, as it lies there now and followed by
    /// more: parts of it may have been decrypted in place.
    pub consumed: usize,
    /// The handshake is over: [`Session::peer`] is known and [`Session::seal`] works.
    pub established: bool,
    /// The peer has said that nothing will follow (close_notify). It can still be written to.
    pub closed: bool,
}

/// One TLS connection.
pub struct Session {
    tls: UnbufferedServerConnection,
    identity_from: IdentityFrom,
    stage: Stage,
    closed: bool,
    only_13: bool,
    fruitless: u16,
    about: Option<Box<About>>,
}

/// What was found out about the peer; most sessions know nothing.
#[derive(Default)]
struct About {
    server_name: Option<Box<str>>,
    peer: Option<Result<Identity, Nameless>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not a byte was seen.
    New,
    Handshake,
    Established,
    /// It failed. rustls must not be asked any more: it would look for bytes that are gone.
    Over,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // rustls's own would show nothing either, for there are keys in it.
        f.debug_struct("Session")
            .field("stage", &self.stage)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        identity_from: IdentityFrom,
        only_13: bool,
    ) -> Result<Self, TlsEnd> {
        let tls =
            UnbufferedServerConnection::new(config).map_err(|error| TlsEnd::Internal(error.to_string()))?;
        Ok(Self { tls, identity_from, stage: Stage::New, closed: false, only_13, fruitless: 0, about: None })
    }

    /// Takes whole records of `wire`, decrypting in place; appends what they carry to `plain` and what TLS itself has to
    /// say (handshake, tickets, alerts) to `out`.
    ///
    /// A step of the handshake costs hundreds of microseconds; [`Session::is_handshaking`] beforehand tells.
    ///
    /// # Errors
    /// When the connection is over, and why. What has been appended to `out` (an alert) should still be written; nothing
    /// else is left to do with this session.
    pub fn open(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<Opened, TlsEnd> {
        match self.stage {
            Stage::Over => return Err(TlsEnd::Over),
            Stage::New => match look(wire) {
                First::Tls => self.stage = Stage::Handshake,
                First::Open => return Ok(Opened::default()),
                First::Other(what) => return self.fail(TlsEnd::Plain(what), out),
            },
            Stage::Handshake | Stage::Established => {}
        }
        let was_established = self.stage == Stage::Established;
        let mut useful = 0;
        let consumed = match self.records(wire, plain, out, &mut useful) {
            Ok(consumed) => consumed,
            Err(end) => return self.fail(end, out),
        };
        if self.stage == Stage::Handshake
            && !self.tls.is_handshaking()
            && let Err(end) = self.establish()
        {
            return self.fail(end, out);
        }
        let rest = wire.get(consumed..).unwrap_or_default();
        if self.stage == Stage::Handshake {
            if rest.len() > MAX_HANDSHAKE_BYTES {
                return self.fail(TlsEnd::TooLong(rest.len()), out);
            }
        } else if whole_records(rest) > 0 {
            // rustls waits for the rest of a handshake message and wants to see its beginning again whenever it is asked
            // for anything. Nobody sends a key update in pieces.
            let why = "a handshake message in pieces after the handshake".to_owned();
            return self.fail(TlsEnd::Protocol(why), out);
        }
        if was_established {
            let records = whole_records(wire.get(..consumed).unwrap_or_default());
            self.count(records, useful, out)?;
        }
        Ok(Opened { consumed, established: self.stage == Stage::Established, closed: self.closed })
    }

    /// Lets rustls work until it wants more; returns how much of `wire` is done with.
    fn records(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut BytesMut,
        useful: &mut usize,
    ) -> Result<usize, TlsEnd> {
        let mut consumed = 0;
        // What another session on this thread has left.
        let _ = names::asked();
        loop {
            // What follows close_notify is to be ignored (RFC 8446 section 6.1).
            if self.closed {
                return Ok(wire.len());
            }
            let rest = wire.get_mut(consumed..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(rest);
            let mut more = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| TlsEnd::of(&error, &[], self.only_13))?;
                        discard += record.discard;
                        *useful += usize::from(!record.payload.is_empty());
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => self.closed = true,
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => more = false,
                // Early data is not offered.
                Ok(_) => return Err(TlsEnd::Internal("an unknown state".to_owned())),
                Err(error) => {
                    let hello = wire.get(consumed..).unwrap_or_default();
                    return Err(TlsEnd::of(&error, hello, self.only_13));
                }
            }
            consumed += discard;
            if let Some(name) = names::asked() {
                self.about.get_or_insert_default().server_name = Some(name);
            }
            if !more {
                return Ok(consumed);
            }
        }
    }

    /// The handshake is over: finds out who it was with.
    fn establish(&mut self) -> Result<(), TlsEnd> {
        self.stage = Stage::Established;
        let Some([leaf, ..]) = self.tls.peer_certificates() else { return Ok(()) };
        let peer = Identity::of(leaf, self.identity_from);
        // A resumed session is not verified again, and its ticket may have outlived the certificate.
        if let Ok(identity) = &peer
            && self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
            && identity.expires_s <= super::now_s()
        {
            return Err(TlsEnd::Certificate(
                "it has expired since the session that is resumed; issue a new one".to_owned(),
            ));
        }
        self.about.get_or_insert_default().peer = Some(peer);
        Ok(())
    }

    /// Keeps the records without content in proportion to those with.
    fn count(&mut self, records: usize, useful: usize, out: &mut BytesMut) -> Result<(), TlsEnd> {
        let narrow = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let fruitless = self.fruitless.saturating_add(narrow(records.saturating_sub(useful)));
        self.fruitless = fruitless.saturating_sub(narrow(useful));
        if self.fruitless > MAX_FRUITLESS { self.fail(TlsEnd::Flood(self.fruitless), out) } else { Ok(()) }
    }

    /// Ends the session; the alert, if there is one, goes to `out`.
    fn fail<T>(&mut self, end: TlsEnd, out: &mut BytesMut) -> Result<T, TlsEnd> {
        self.stage = Stage::Over;
        // Asked only while there is an alert: beyond it, rustls looks for input that it believes to be there.
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out)?,
                _ => break,
            }
        }
        Err(end)
    }

    /// Encrypts `plain` and appends the records to `out`; nothing of it is kept.
    ///
    /// One call for much is cheaper than many for little: each makes a record of its own, of up to 16 KiB.
    ///
    /// # Errors
    /// Before the handshake is over, after the session has ended, and when the keys of TLS 1.2 are used up: the connection
    /// must be closed.
    pub fn seal(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), TlsEnd> {
        if plain.is_empty() {
            return Ok(());
        }
        let room = plain.len() + (plain.len() / FRAGMENT + 1) * RECORD_OVERHEAD;
        self.write(Some(plain), room, out)
    }

    /// Tells the peer that nothing will follow (close_notify): appends it to `out`. Before the handshake is over, and
    /// after the session has ended, there is nothing to say.
    pub fn close(&mut self, out: &mut BytesMut) {
        if self.stage == Stage::Established {
            // It can't fail in a way that would change anything: the connection is being closed.
            let _ = self.write(None, RECORD_OVERHEAD + 2, out);
            self.stage = Stage::Over;
        }
    }

    /// Encrypts data, or with none close_notify, for which there is probably enough `room`.
    fn write(&mut self, plain: Option<&[u8]>, mut room: usize, out: &mut BytesMut) -> Result<(), TlsEnd> {
        match self.stage {
            Stage::Established => {}
            Stage::Over => return Err(TlsEnd::Over),
            Stage::New | Stage::Handshake => {
                return Err(TlsEnd::Internal("data before the end of the handshake".to_owned()));
            }
        }
        loop {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let before = out.len();
                    out.resize(before + room, 0);
                    let place = out.get_mut(before..).unwrap_or_default();
                    let put = match plain {
                        Some(plain) => traffic.encrypt(plain, place),
                        None => traffic.queue_close_notify(place),
                    };
                    out.truncate(before + put.as_ref().map_or(0, |written| *written));
                    match put {
                        Ok(_) => return Ok(()),
                        // A key update goes first.
                        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                            if required_size > room =>
                        {
                            room = required_size;
                        }
                        Err(_) => return self.fail(TlsEnd::Exhausted, out),
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.closed = true,
                Ok(_) => return Err(TlsEnd::Over),
                Err(error) => {
                    let end = TlsEnd::of(&error, &[], self.only_13);
                    return self.fail(end, out);
                }
            }
        }
    }

    /// Whether the handshake goes on: then the next [`Session::open`] may take hundreds of microseconds.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Handshake)
    }

    /// Who the peer is by its certificate. Nobody before the handshake is over, without a certificate, and with one whose
    /// name can't be one; see [`Session::nameless`].
    #[must_use]
    pub fn peer(&self) -> Option<&Identity> {
        self.about.as_ref()?.peer.as_ref()?.as_ref().ok()
    }

    /// Why the certificate that the peer has shown names nobody, if that is so.
    #[must_use]
    pub fn nameless(&self) -> Option<&Nameless> {
        self.about.as_ref()?.peer.as_ref()?.as_ref().err()
    }

    /// The host name that the client asked for (SNI), in lower case.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.about.as_ref()?.server_name.as_deref()
    }

    /// `"1.2"` or `"1.3"`, as soon as it is known.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        match self.tls.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("1.2"),
            ProtocolVersion::TLSv1_3 => Some("1.3"),
            _ => None,
        }
    }

    /// The IANA name of the cipher suite, as soon as it is known.
    #[must_use]
    pub fn cipher(&self) -> Option<&'static str> {
        self.tls.negotiated_cipher_suite()?.suite().as_str()
    }

    /// The application protocol agreed upon (ALPN).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Whether an earlier session was resumed, by a ticket: cheaper, and the client's certificate was not verified again.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Appends what rustls has to say.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut BytesMut) -> Result<(), TlsEnd> {
    // The first try asks how much room it needs.
    let mut room = 0;
    loop {
        let before = out.len();
        out.resize(before + room, 0);
        match data.encode(out.get_mut(before..).unwrap_or_default()) {
            Ok(_) => return Ok(()),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > room =>
            {
                out.truncate(before);
                room = required_size;
            }
            Err(error) => return Err(TlsEnd::Internal(error.to_string())),
        }
    }
}

/// How many whole records `wire` begins with.
fn whole_records(mut wire: &[u8]) -> usize {
    let mut count = 0;
    while let [_, _, _, high, low, rest @ ..] = wire {
        let Some(next) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { break };
        wire = next;
        count += 1;
    }
    count
}
