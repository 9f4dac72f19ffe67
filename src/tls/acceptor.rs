//! Everything that a listener's sessions share: certificates, keys, CAs, revocation lists and the ticket key, read from
//! files, checked, and exchanged as a whole while sessions go on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ring::digest::Digest;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::server::NoServerSessionStorage;

use super::clients;
use super::end::TlsEnd;
use super::error::{TlsError, Warning};
use super::names::ByName;
use super::own;
use super::pem::PemFile;
use super::session::Session;
use super::settings::{ClientCertificates, MinVersion, Settings, Tickets};

/// Opens sessions for one TLS listener.
#[derive(Debug)]
pub struct Acceptor {
    settings: Settings,
    current: RwLock<Arc<Loaded>>,
}

/// What [`Acceptor::reload`] or [`Acceptor::take_over`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Changed {
    /// The files hold what they held.
    Nothing,
    /// New sessions use what the files hold now; tickets of earlier ones have lost their value.
    Files,
}

/// What was read from the files.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    warnings: Vec<Warning>,
    digests: Vec<(PathBuf, [u8; 32])>,
    expires_s: u64,
}

impl Acceptor {
    /// Reads and checks everything that `settings` name.
    ///
    /// # Errors
    /// The first thing that is wrong; see [`TlsError`]. What works but deserves a look is in [`Acceptor::warnings`].
    pub fn load(settings: &Settings) -> Result<Self, TlsError> {
        let loaded = Loaded::read(settings)?;
        Ok(Self { settings: settings.clone(), current: RwLock::new(Arc::new(loaded)) })
    }

    /// Reads everything anew, and has new sessions use it if it holds something else than before. Sessions that are
    /// there go on with what they were opened with.
    ///
    /// # Errors
    /// As [`Acceptor::load`]; then everything stays as it was.
    pub fn reload(&self) -> Result<Changed, TlsError> {
        Ok(self.replace(Arc::new(Loaded::read(&self.settings)?)))
    }

    /// As [`Acceptor::reload`], with what `fresh`, an acceptor of the same settings, has just read: so that it can be known
    /// beforehand that it works.
    pub fn take_over(&self, fresh: Self) -> Changed {
        self.replace(fresh.current.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, loaded: Arc<Loaded>) -> Changed {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if loaded.digests == current.digests {
            return Changed::Nothing;
        }
        *current = loaded;
        Changed::Files
    }

    /// A session for a connection that was just accepted.
    ///
    /// # Errors
    /// Only if rustls can't make one, which is nobody's fault but ours.
    pub fn session(&self) -> Result<Session, TlsEnd> {
        let config = Arc::clone(&self.current().config);
        Session::new(config, self.settings.identity, self.settings.min_version == MinVersion::Tls13)
    }

    /// What new sessions are opened with now, for a server whose IO is another's.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// Whether a client has to show a certificate.
    #[must_use]
    pub fn requires_certificates(&self) -> bool {
        self.settings.client_certificates == ClientCertificates::Required
    }

    /// What was read and deserves a look: certificates out of date, keys that others can read, and the like.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        self.current().warnings.clone()
    }

    /// When the first of our certificates expires, in seconds since 1970.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.current().expires_s
    }

    /// Every file that the settings name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        files(&self.settings)
    }

    fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn files(settings: &Settings) -> impl Iterator<Item = &Path> {
    let own = settings.certificates.iter().flat_map(|files| [files.chain.as_path(), files.key.as_path()]);
    own.chain(settings.client_ca.as_deref()).chain(settings.crl.as_deref())
}

/// What reading has brought up besides what was wanted.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) warnings: Vec<Warning>,
    digests: Vec<(PathBuf, [u8; 32])>,
}

impl Notes {
    /// Reads a file, which should hold `what`, and notes its digest.
    pub(super) fn read(&mut self, path: &Path, what: &'static str) -> Result<PemFile, TlsError> {
        let file = PemFile::read(path, what)?;
        self.digests.push((path.to_owned(), bytes(file.digest())));
        Ok(file)
    }

    pub(super) fn warn(&mut self, path: &Path, text: impl Into<String>) {
        self.warnings.push(Warning { path: path.to_owned(), text: text.into() });
    }
}

fn bytes(digest: Digest) -> [u8; 32] {
    // SHA-256 has 32 bytes; were it otherwise, every file would count as changed by its path only.
    digest.as_ref().try_into().unwrap_or_default()
}

impl Loaded {
    fn read(settings: &Settings) -> Result<Self, TlsError> {
        let mut notes = Notes::default();
        let provider = Arc::new(crypto());
        let own = own::read(&settings.certificates, &provider, &mut notes)?;
        let verifier = clients::verifier(settings, &provider, &mut notes)?;
        let versions: &[_] = match settings.min_version {
            MinVersion::Tls12 => rustls::ALL_VERSIONS,
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(internal)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(ByName(own.certificates)));
        for protocol in &settings.alpn {
            if !(1..=255).contains(&protocol.len()) {
                return Err(TlsError::Alpn(String::from_utf8_lossy(protocol).into_owned()));
            }
        }
        config.alpn_protocols.clone_from(&settings.alpn);
        // We choose where the choice matters to us, and follow the client where it does not.
        config.ignore_client_order = !has_aes();
        // What a session needs to be resumed is with the client, not here: nothing to bound, nothing to share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match settings.tickets {
            Tickets::Issued => {
                // Made anew with everything else: a ticket must not get past a CA or a revocation list that has changed,
                // because a resumed session is not verified again.
                config.ticketer = provider::Ticketer::new().map_err(internal)?;
                // Clients that keep two connections apart are rare here, and a ticket with a certificate in it is long.
                config.send_tls13_tickets = 1;
            }
            Tickets::None => config.send_tls13_tickets = 0,
        }
        Ok(Self {
            config: Arc::new(config),
            warnings: notes.warnings,
            digests: notes.digests,
            expires_s: own.expires_s,
        })
    }
}

fn internal(error: impl std::fmt::Display) -> TlsError {
    TlsError::Internal(error.to_string())
}

/// ring, with the ciphers in an order of our own where AES is slow.
fn crypto() -> CryptoProvider {
    let mut crypto = provider::default_provider();
    if !has_aes() {
        crypto.cipher_suites.sort_by_key(|suite| {
            let name = suite.suite().as_str().unwrap_or_default();
            // Within each, TLS 1.3 stays in front.
            (!name.contains("CHACHA20"), name.contains("AES_256"))
        });
    }
    crypto
}

/// Whether the processor has instructions for AES-GCM. Without, as on a Raspberry Pi up to 4, ChaCha20 is several times
/// as fast.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has =
        std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}
