//! What a TLS listener is told: files, and what is asked of clients. Nothing is read or checked here.

use std::path::PathBuf;

use super::identity::IdentityFrom;

/// The settings of one `[[tls]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Our certificates with their keys. Which one a client gets is chosen by the name it asks for (SNI), and among equals
    /// by what it can verify, in this order; the first is for those who ask for no name, or for an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// PEM file of the CAs that issue certificates to clients.
    pub client_ca: Option<PathBuf>,
    /// What is asked of clients.
    pub client_certificates: ClientCertificates,
    /// PEM file of revocation lists, one for every CA that may stand in a client's chain, up to the one in `client_ca`.
    /// Who can't be looked up, because a list is missing or out of date, is refused.
    pub crl: Option<PathBuf>,
    /// What of a client's certificate is its user name.
    pub identity: IdentityFrom,
    /// The lowest version spoken.
    pub min_version: MinVersion,
    /// Application protocols (ALPN), the one liked best first. Empty: whatever clients offer is passed over.
    pub alpn: Vec<Vec<u8>>,
    /// Whether clients may resume sessions by tickets, which saves both sides a handshake. The key of the tickets is in
    /// memory only, lasts twelve hours at most, and changes when a file does.
    pub tickets: Tickets,
}

/// One certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file: our certificate first, then the one that issued it, and so on.
    pub chain: PathBuf,
    /// PEM file of the private key, without a passphrase.
    pub key: PathBuf,
}

/// What is asked of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    #[default]
    None,
    /// A certificate if the client has one; a bad one is refused all the same.
    Optional,
    /// A certificate.
    Required,
}

/// The lowest version spoken. Those before 1.2 are not there at all (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2, which many embedded clients are at.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Whether sessions can be resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tickets {
    /// They can.
    #[default]
    Issued,
    /// Each connection begins from nothing.
    None,
}
