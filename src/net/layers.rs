//! The layers of one connection: a proxy's header, TLS, WebSocket, and which of them and which protocol there is.
//!
//! What each of them says is decided in its own place; here they lie one upon the other.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use noctule_core::refusal::{Kind, Refusal};
use noctule_websocket::{
    CloseCode, Decoder, FrameLimits, HeadLimits, HeadReader, Kind as Frame, Rejection, Role, Violation,
    encode,
};

use super::Spoken;
use super::proxy::{self, Header};
use super::sniff::{self, Begins};
use super::wiring::Wiring;
use crate::reactor::{Layer, Next, Opened, Origin};
use crate::tls::telemetry::Handshake;
use crate::tls::{self, TlsEnd};

/// Most bytes that are looked at to tell what a connection begins with: a STOMP client may send ends of lines first.
const MAX_SNIFFED: usize = 64;

/// What the layers have found out about a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// For whom a proxy connects.
    pub(crate) source: Option<SocketAddr>,
    /// What is spoken, where the listener leaves it open and something said it.
    pub(crate) spoken: Option<Spoken>,
    /// Whom the client's certificate names.
    pub(crate) identity: Option<Arc<str>>,
    /// Why the client's certificate names nobody.
    pub(crate) nameless: Option<Arc<str>>,
    /// A proxy connects, and does not say for whom.
    pub(crate) is_for_nobody: bool,
}

impl Facts {
    /// Whether the client has shown a certificate, and TLS found it good.
    pub(crate) fn has_certificate(&self) -> bool {
        self.identity.is_some() || self.nameless.is_some()
    }
}

/// What lies between the socket and the protocol.
#[derive(Debug)]
pub(crate) struct Layers {
    wiring: Arc<Wiring>,
    /// The proxy whose header is still to come.
    proxy: Option<IpAddr>,
    tls: Tls,
    /// Counts as failed when the connection goes before it is done.
    handshake: Option<Handshake>,
    web: Web,
    /// Decrypted bytes that are not a whole head or frame yet; without a buffer between them.
    inner: Vec<u8>,
    /// What had to be said of a failure has been said: whatever else the protocol says, nobody could read it.
    broken: bool,
    facts: Facts,
}

#[derive(Debug)]
enum Tls {
    Undecided,
    None,
    Spoken(Box<tls::Session>),
}

#[derive(Debug)]
enum Web {
    Undecided,
    None,
    /// The request is still to come.
    Asked(HeadReader),
    /// Frames go to and fro; STOMP's clients get the kind that they send.
    Open(Decoder, Frame),
    /// The client has sent its Close frame. The answer to it waits for what the client is still owed, behind which it is the
    /// last (RFC 6455, section 5.5.1).
    Closing(Frame, Box<[u8]>),
}

/// How far a layer came: bytes that are done with, and whether the peer has said good-bye in it.
#[derive(Clone, Copy, Debug)]
struct Taken {
    consumed: usize,
    ended: bool,
}

impl Taken {
    const fn of(consumed: usize) -> Self {
        Self { consumed, ended: false }
    }
}

impl Layers {
    /// For a connection to a listener; `None` if nothing lies between.
    pub(crate) fn new(wiring: &Arc<Wiring>, origin: Origin) -> Option<Self> {
        let proxy = origin.ip().filter(|address| wiring.is_proxy(*address));
        let is_open = wiring.spoken.is_none();
        if proxy.is_none() && !is_open && wiring.tls.is_none() && wiring.websocket.is_none() {
            return None;
        }
        Some(Self {
            wiring: Arc::clone(wiring),
            proxy,
            tls: if wiring.tls.is_some() { Tls::Undecided } else { Tls::None },
            handshake: None,
            web: match &wiring.websocket {
                _ if is_open => Web::Undecided,
                Some(_) => Web::Asked(HeadReader::new()),
                None => Web::None,
            },
            inner: Vec::new(),
            broken: false,
            facts: Facts::default(),
        })
    }

    /// What has been found out. Complete when the first byte of the protocol is there.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The same, of layers that have done their part.
    pub(crate) fn into_facts(self) -> Facts {
        self.facts
    }

    /// Takes the layers one after the other off `wire`; `consumed` says how far it came, whatever else is said.
    fn open_all(
        &mut self,
        wire: &mut [u8],
        consumed: &mut usize,
        plain: &mut Vec<u8>,
        sealed: &mut BytesMut,
    ) -> Result<Next, Refusal> {
        if let Some(proxy) = self.proxy {
            match proxy::header(wire).map_err(|error| Refusal::new(Kind::Transport, error))? {
                Header::Incomplete => return Ok(Next::GoOn),
                Header::Whole(len, source) => {
                    self.proxy = None;
                    // A loopback is the proxy's own: on another machine it is not this one's, and the proxy stands for it.
                    self.facts.source = source
                        .filter(|source| !source.ip().is_loopback() || proxy.to_canonical().is_loopback());
                    self.facts.is_for_nobody = source.is_none();
                    *consumed = len;
                }
            }
        }
        let wire = wire.get_mut(*consumed..).unwrap_or_default();
        if matches!(self.tls, Tls::Undecided) && !self.decide_tls(wire)? {
            return Ok(Next::GoOn);
        }
        let taken = if let Tls::Spoken(mut session) = mem::replace(&mut self.tls, Tls::None) {
            let taken = self.open_tls(&mut session, wire, plain, sealed);
            self.tls = Tls::Spoken(session);
            taken?
        } else {
            if !self.decide_web(wire)? {
                return Ok(Next::GoOn);
            }
            if matches!(self.web, Web::None) {
                return Ok(Next::Bare);
            }
            self.open_web(wire, plain, sealed)?
        };
        *consumed += taken.consumed;
        Ok(if taken.ended { Next::Ended } else { Next::GoOn })
    }

    /// Decides whether TLS is spoken; false if it can't be said yet.
    fn decide_tls(&mut self, wire: &[u8]) -> Result<bool, Refusal> {
        let is_open = self.wiring.spoken.is_none();
        if is_open && wire.is_empty() {
            return Ok(false);
        }
        let spoken = self.wiring.tls.as_ref().filter(|_| !is_open || sniff::begins(wire) == Begins::Tls);
        self.tls = match spoken {
            Some(acceptor) => Tls::Spoken(Box::new(acceptor.session().map_err(|end| ended(&end))?)),
            None => Tls::None,
        };
        Ok(true)
    }

    /// Takes TLS, and what is in it.
    fn open_tls(
        &mut self,
        session: &mut tls::Session,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        sealed: &mut BytesMut,
    ) -> Result<Taken, Refusal> {
        let mut inner = mem::take(&mut self.inner);
        let is_bare = matches!(self.web, Web::None);
        let into = if is_bare { &mut *plain } else { &mut inner };
        let was_handshaking = session.is_handshaking();
        // Who has not said anything yet may only have looked whether somebody listens.
        if was_handshaking && !wire.is_empty() {
            let counted_as = self.wiring.counted_as();
            self.handshake.get_or_insert_with(|| Handshake::begin(counted_as));
        }
        let opened = session.open(wire, into, sealed).map_err(|end| ended(&end))?;
        if was_handshaking && opened.established {
            if let Some(handshake) = self.handshake.take() {
                handshake.done();
            }
            self.facts.identity = session.peer().map(|identity| Arc::clone(&identity.name));
            self.facts.nameless = session.nameless().map(|why| why.to_string().into());
        }
        let mut taken = Taken { consumed: opened.consumed, ended: opened.closed };
        if !inner.is_empty() {
            let mut says = BytesMut::new();
            let result = self.open_web(&mut inner, plain, &mut says);
            session.seal(&says, sealed).map_err(|end| ended(&end))?;
            let Taken { consumed, ended } = result?;
            inner.drain(..consumed);
            taken.ended |= ended;
            if !inner.is_empty() {
                self.inner = inner;
            }
        }
        Ok(taken)
    }

    /// Decides whether WebSocket is spoken, and without it which protocol; false if it can't be said yet.
    fn decide_web(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        if !matches!(self.web, Web::Undecided) {
            return Ok(true);
        }
        match sniff::begins(bytes) {
            Begins::Unclear if bytes.len() < MAX_SNIFFED => return Ok(false),
            Begins::Http if self.wiring.websocket.is_some() => self.web = Web::Asked(HeadReader::new()),
            Begins::With(spoken) => {
                self.facts.spoken = Some(spoken);
                self.web = Web::None;
            }
            found => return Err(unknown(found)),
        }
        Ok(true)
    }

    /// Takes WebSocket, and what is in it; without it everything is the protocol's.
    fn open_web(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<Taken, Refusal> {
        let mut at = 0;
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            match &mut self.web {
                Web::None => {
                    plain.extend_from_slice(rest);
                    return Ok(Taken::of(bytes.len()));
                }
                Web::Undecided => {
                    if !self.decide_web(rest)? {
                        return Ok(Taken::of(at));
                    }
                }
                Web::Asked(reader) => {
                    let mut reader = *reader;
                    match self.upgrade(&mut reader, rest, out)? {
                        Some(len) => at += len,
                        None => {
                            self.web = Web::Asked(reader);
                            return Ok(Taken::of(at));
                        }
                    }
                }
                Web::Closing(..) => return Ok(Taken { consumed: bytes.len(), ended: true }),
                Web::Open(decoder, kind) => {
                    // [MQTT-6.0.0-1]
                    let binary_only = self.facts.spoken == Some(Spoken::Mqtt);
                    let limits = FrameLimits { binary_only, ..FrameLimits::default() };
                    let (before, silent) = (plain.len(), out.len());
                    let decoded = decoder.decode(Role::Server, &limits, rest, plain, out);
                    let progress = decoded.map_err(|violation| violated(decoder, violation, out))?;
                    *kind = progress.kind.unwrap_or(*kind);
                    if self.facts.spoken.is_none()
                        && let Some(first) = plain.get(before)
                    {
                        self.facts.spoken = sniff::begins_with(*first);
                        let refusal = match self.facts.spoken {
                            None => Some(unknown(Begins::Unknown)),
                            Some(Spoken::Mqtt) if *kind == Frame::Text => {
                                Some(violated(decoder, Violation::TextNotTaken, out))
                            }
                            Some(_) => None,
                        };
                        if let Some(refusal) = refusal {
                            plain.truncate(before);
                            return Err(refusal);
                        }
                    }
                    let ended = progress.closed.is_some();
                    if ended {
                        self.web = Web::Closing(*kind, out.split_off(silent)[..].into());
                    }
                    return Ok(Taken { consumed: at + progress.consumed, ended });
                }
            }
        }
    }

    /// Answers the request for WebSocket at the front of `bytes`; its length, if it is whole.
    fn upgrade(
        &mut self,
        reader: &mut HeadReader,
        bytes: &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<usize>, Refusal> {
        let answered = match reader.request(bytes, &HeadLimits::default()) {
            Ok(None) => return Ok(None),
            Ok(Some(request)) => self.wiring.admit(&request).map(|(subprotocol, spoken)| {
                request.accept(subprotocol, out);
                (request.len(), spoken)
            }),
            Err(rejection) => Err(rejection),
        };
        match answered {
            Ok((len, spoken)) => {
                self.facts.spoken = spoken;
                self.web = Web::Open(Decoder::new(), Frame::Binary);
                Ok(Some(len))
            }
            Err(rejection) => Err(rejected(&rejection, out)),
        }
    }
}

impl Layer for Layers {
    fn open(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, sealed: &mut BytesMut) -> Opened {
        let mut consumed = 0;
        let was_known = self.facts.source.is_some();
        let next = match self.open_all(wire, &mut consumed, plain, sealed) {
            Ok(next) => next,
            Err(refusal) => {
                self.broken = true;
                Next::Broken(refusal)
            }
        };
        Opened { consumed, next, news: self.facts.source.is_some() != was_known }
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut BytesMut) -> Result<(), Refusal> {
        let framed;
        if self.broken {
            return Ok(());
        }
        let bytes = match &self.web {
            Web::Open(_, kind) | Web::Closing(kind, _) => {
                // A text that is none would be refused by the client (RFC 6455, section 8.1).
                let is_text = *kind == Frame::Text && std::str::from_utf8(plain).is_ok();
                let kind = if is_text { Frame::Text } else { Frame::Binary };
                if matches!(self.tls, Tls::None) {
                    encode(Role::Server, kind, plain, sealed);
                    return Ok(());
                }
                let mut frame = BytesMut::new();
                encode(Role::Server, kind, plain, &mut frame);
                framed = frame;
                &framed[..]
            }
            Web::Undecided | Web::None | Web::Asked(_) => plain,
        };
        match &mut self.tls {
            Tls::Spoken(session) => session.seal(bytes, sealed).map_err(|end| ended(&end)),
            Tls::None => {
                sealed.extend_from_slice(bytes);
                Ok(())
            }
            // Nobody can read anything yet.
            Tls::Undecided => Ok(()),
        }
    }

    fn close(&mut self, sealed: &mut BytesMut) {
        let mut goodbye = BytesMut::new();
        match &mut self.web {
            Web::Open(decoder, _) => decoder.close(Role::Server, CloseCode::NORMAL, "", &mut goodbye),
            Web::Closing(_, answer) => goodbye.extend_from_slice(answer),
            Web::Undecided | Web::None | Web::Asked(_) => {}
        }
        match &mut self.tls {
            // Without it the client learns of the end all the same.
            Tls::Spoken(session) => drop(session.seal(&goodbye, sealed)),
            Tls::Undecided | Tls::None => sealed.extend_from_slice(&goodbye),
        }
        if let Tls::Spoken(session) = &mut self.tls {
            session.close(sealed);
        }
    }

    fn is_costly(&self) -> bool {
        match &self.tls {
            // The first message of a handshake is the one that costs most.
            Tls::Undecided => true,
            Tls::Spoken(session) => session.is_handshaking(),
            Tls::None => false,
        }
    }
}

fn unknown(found: Begins) -> Refusal {
    let what = match found {
        Begins::Http => "HTTP is spoken, and this listener has no websocket path",
        Begins::Tls => {
            "TLS is spoken, and this listener has none: set tls, or let the client connect without"
        }
        _ => "the first bytes are neither of MQTT nor of STOMP",
    };
    Refusal::new(Kind::Transport, what)
}

fn ended(end: &TlsEnd) -> Refusal {
    Refusal::new(Kind::Transport, format!("TLS: {end}"))
}

/// Says good-bye to a client that has broken the rules of WebSocket.
fn violated(decoder: &mut Decoder, violation: Violation, out: &mut BytesMut) -> Refusal {
    let why = violation.to_string();
    decoder.close(Role::Server, violation.code(), &why, out);
    Refusal::new(Kind::Transport, format!("WebSocket: {why}"))
}

fn rejected(rejection: &Rejection, out: &mut BytesMut) -> Refusal {
    rejection.write(out);
    Refusal::new(Kind::Transport, format!("no WebSocket: {rejection}"))
}

#[cfg(test)]
mod tests;
