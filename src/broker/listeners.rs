//! The listeners of a running broker: their sockets, certificates and what holds for their connections.

use std::io::ErrorKind;
use std::sync::Arc;

use super::StartError;
use super::settings::{self, ListenerSettings};
use crate::config::{Address, Config, Tls, TlsName};
use crate::net::{self, BindError, Bound, Inherited};
use crate::reactor::Socket;
use crate::tls::{self, Acceptor, Watch};

/// Every listener at the place that workers and connections know it by, and never another one there.
#[derive(Debug)]
pub(super) struct Listeners {
    open: Vec<Option<Open>>,
    certificates: Vec<Named>,
    inherited: Inherited,
}

/// The certificates of a `[[tls]]`.
#[derive(Debug)]
struct Named {
    name: TlsName,
    settings: tls::Settings,
    acceptor: Arc<Acceptor>,
    watch: Watch,
}

#[derive(Debug)]
struct Open {
    /// As configured, with port 0 where the system chose.
    configured: Address,
    bound: Arc<Bound>,
    settings: Arc<ListenerSettings>,
}

/// Listeners as another configuration wants them, opened and not yet served.
#[derive(Debug)]
pub(super) struct Prepared {
    open: Vec<Option<Open>>,
    certificates: Vec<Named>,
    /// What acceptors that there are take over, read from their files.
    fresh: Vec<(Arc<Acceptor>, Acceptor)>,
    /// What each worker is to do.
    changed: Vec<Changed>,
}

/// What a worker does when the listeners change.
#[derive(Debug)]
pub(super) struct Changed {
    /// Sockets to accept from, and their places.
    pub(super) listen: Vec<(usize, Socket)>,
    /// Places to let go of.
    pub(super) unlisten: Vec<usize>,
}

impl Listeners {
    /// Opens what `config` names.
    ///
    /// # Errors
    /// When a certificate or an address can't be used; nothing stays open then.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let mut listeners = Self { open: Vec::new(), certificates: Vec::new(), inherited: Inherited::take() };
        let prepared = listeners.prepare(config, 0)?;
        listeners.open = prepared.open;
        listeners.certificates = prepared.certificates;
        listeners.report_certificates();
        Ok(listeners)
    }

    /// Tells a monitor how long certificates are valid still.
    fn report_certificates(&self) {
        for named in &self.certificates {
            tls::telemetry::expires(named.name.as_str(), named.acceptor.expires_s());
        }
    }

    /// Opens what `config` names and is not open yet, for so many workers. Nothing is changed by it: what it gives may be
    /// thrown away.
    ///
    /// # Errors
    /// When a certificate or an address can't be used, or descriptors have run out.
    pub(super) fn prepare(&self, config: &Config, workers: u16) -> Result<Prepared, StartError> {
        let (mut certificates, mut fresh) = (Vec::new(), Vec::new());
        for tls in &config.tls {
            let (name, settings) = (tls.name.clone(), settings::tls(tls));
            let acceptor = Acceptor::load(&settings).map_err(|error| refused(tls, error))?;
            for warning in acceptor.warnings() {
                tracing::warn!(tls = name.as_str(), "{warning}");
            }
            // Who uses the same as before goes on with it, tickets of sessions included.
            let known =
                self.certificates.iter().find(|known| known.name == name && known.settings == settings);
            let acceptor = match known.map(|known| Arc::clone(&known.acceptor)) {
                Some(known) => {
                    fresh.push((Arc::clone(&known), acceptor));
                    known
                }
                None => Arc::new(acceptor),
            };
            let watch = Watch::new(Arc::clone(&acceptor));
            certificates.push(Named { name, settings, acceptor, watch });
        }
        let mut prepared = Prepared { open: Vec::new(), certificates, fresh, changed: Vec::new() };
        let mut new = Vec::new();
        prepared.open.resize_with(self.open.len(), || None);
        for listener in &config.listener {
            let configured = listener.address.clone();
            // Of several with port 0, each keeps the socket that it has.
            let taken = |at: usize| prepared.open.get(at).is_some_and(Option::is_some);
            let kept = self.open.iter().enumerate().find_map(|(at, place)| {
                let open = place.as_ref().filter(|open| open.configured == configured && !taken(at))?;
                Some((at, Arc::clone(&open.bound)))
            });
            let (at, bound) = match kept {
                Some(kept) => kept,
                None => {
                    let bound = net::bind(&configured, &self.inherited).map_err(|error| self.own(error))?;
                    new.push(prepared.open.len());
                    prepared.open.push(None);
                    (prepared.open.len() - 1, bound)
                }
            };
            let settings = Arc::new(ListenerSettings::new(
                listener,
                &config.limits,
                &config.auth,
                prepared.certificates(listener.tls.as_ref()),
            ));
            if let Some(place) = prepared.open.get_mut(at) {
                *place = Some(Open { configured, bound, settings });
            }
        }
        let was_open = self.open.iter().map(Option::is_some).enumerate();
        let is_gone = |at: &usize| prepared.open.get(*at).is_some_and(Option::is_none);
        let gone: Vec<_> =
            was_open.filter(|(_, was_open)| *was_open).map(|(at, _)| at).filter(is_gone).collect();
        for _ in 0..workers {
            let socket = |at: &usize| {
                let open = prepared.open.get(*at).and_then(Option::as_ref)?;
                Some(open.bound.socket.try_clone().map(|socket| (*at, socket)))
            };
            let listen = new.iter().filter_map(socket).collect::<Result<_, _>>();
            let listen = listen.map_err(StartError::Descriptors)?;
            prepared.changed.push(Changed { listen, unlisten: gone.clone() });
        }
        Ok(prepared)
    }

    /// Names ourselves where it is our own socket that an address can't be had for.
    fn own(&self, error: BindError) -> BindError {
        match error {
            BindError::Refused { address, error } if error.kind() == ErrorKind::AddrInUse => {
                let mut open = self.open.iter().flatten().map(|open| &open.bound.address);
                match open.find(|open| open.collides_with(&address)).cloned() {
                    Some(open) => BindError::Own { address, open },
                    None => BindError::Refused { address, error },
                }
            }
            other => other,
        }
    }

    /// Takes over what was prepared; returns what each worker is to do.
    pub(super) fn change(&mut self, prepared: Prepared) -> Vec<Changed> {
        for (known, fresh) in prepared.fresh {
            // Whether it is anything new is for those who connect next.
            let _ = known.take_over(fresh);
        }
        self.open = prepared.open;
        let before = std::mem::replace(&mut self.certificates, prepared.certificates);
        for gone in before.iter().filter(|named| self.certificates(&named.name).is_none()) {
            tls::telemetry::is_gone(gone.name.as_str());
        }
        self.report_certificates();
        prepared.changed
    }

    /// Those of a `[[tls]]`, by its name.
    pub(super) fn certificates(&self, name: &TlsName) -> Option<Arc<Acceptor>> {
        let named = self.certificates.iter().find(|named| named.name == *name)?;
        Some(Arc::clone(&named.acceptor))
    }

    /// Whether there are certificates, whose files may change.
    pub(super) fn has_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// Has certificates read again whose files have changed; what comes of it goes to the log.
    pub(super) fn watch_certificates(&mut self) {
        for named in &mut self.certificates {
            let tls = named.name.as_str();
            match named.watch.poll() {
                None => {}
                Some(Ok(())) => {
                    tracing::info!(tls, "certificates changed; new connections are shown the new ones");
                    for warning in named.acceptor.warnings() {
                        tracing::warn!(tls, "{warning}");
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(tls, "changed certificates can't be used, the old ones are: {error}");
                }
            }
        }
        self.report_certificates();
    }

    /// What holds for the connections of each.
    pub(super) fn settings(&self) -> Vec<Option<Arc<ListenerSettings>>> {
        settings_of(&self.open)
    }

    /// Each socket once more, for one worker.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<Socket>> {
        self.open.iter().flatten().map(|open| open.bound.socket.try_clone()).collect()
    }

    /// Where they listen, with the ports that the system chose for port 0.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.open.iter().flatten().map(|open| open.bound.address.clone()).collect()
    }
}

impl Prepared {
    fn certificates(&self, name: Option<&TlsName>) -> Option<Arc<Acceptor>> {
        let name = name?;
        let found = self.certificates.iter().find(|known| known.name == *name);
        found.map(|known| Arc::clone(&known.acceptor))
    }

    /// What will hold for the connections of each.
    pub(super) fn settings(&self) -> Vec<Option<Arc<ListenerSettings>>> {
        settings_of(&self.open)
    }
}

fn settings_of(open: &[Option<Open>]) -> Vec<Option<Arc<ListenerSettings>>> {
    open.iter().map(|place| place.as_ref().map(|open| Arc::clone(&open.settings))).collect()
}

fn refused(tls: &Tls, error: tls::TlsError) -> StartError {
    StartError::Tls { name: tls.name.as_str().to_owned(), error }
}
