//! What is wrong with the settings or files of TLS: which file, what, and how to mend it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why TLS can't be had with these settings and files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Nothing to show to clients.
    #[error("no certificate is given; say certificates = [{{ chain = \"FILE\", key = \"FILE\" }}]")]
    NoCertificate,
    /// Clients were to be asked for certificates that nothing could verify.
    #[error(
        "client_certificates is {0:?} and client_ca is missing; name the file of the CAs that issue to clients"
    )]
    NoClientCa(&'static str),
    /// A CA is named and nobody would be asked for its certificates.
    #[error(
        "client_ca is given and client_certificates is \"none\"; say \"required\" or \"optional\", or leave client_ca out"
    )]
    UnusedClientCa,
    /// Revocation lists are named and nobody's certificate would be looked up.
    #[error(
        "crl is given and client_certificates is \"none\"; say \"required\" or \"optional\", or leave crl out"
    )]
    UnusedCrl,
    /// An application protocol can't be expressed.
    #[error("application protocols (ALPN) have 1 to 255 bytes, {0:?} has {len}", len = .0.len())]
    Alpn(String),
    /// A file can't be read.
    #[error("{}: {what} can't be read: {source}; {}", .path.display(), mend(.source))]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A directory, a pipe, or far too long.
    #[error("{}: {what} should be here, and this is {found}; name a PEM file", .path.display())]
    NotAFile {
        /// What it should hold.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A file is in another format.
    #[error("{}: {what} in PEM should be here, and this is {found}", .path.display())]
    NotPem {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What it looks like, and how to mend it.
        found: &'static str,
    },
    /// A PEM file is damaged.
    #[error("{}: the PEM is damaged: {reason}; copy the file again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A PEM file with something else in it.
    #[error("{}: {what} should be here, and there is only {found}; are two files mixed up?", .path.display())]
    Other {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// Nobody is there to type a passphrase.
    #[error("{path}: the key is encrypted, and nobody is there to type its passphrase; write it without: openssl pkey -in {path} -out NEW, with mode 0600", path = .0.display())]
    EncryptedKey(PathBuf),
    /// A key of a kind that can't be used.
    #[error("{}: the key can't be used ({reason}); ECDSA P-256 and P-384, Ed25519 and RSA of 2048 bits or more can", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A key that belongs to another certificate.
    #[error("{}: the key is not that of the first certificate in {}; are the files of two certificates mixed up, or the chain in the wrong order?", .key.display(), .chain.display())]
    Mismatch {
        /// The file of the chain.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A certificate that can't be used.
    #[error("{}: the certificate can't be used ({reason}); issue one of X.509 version 3", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A revocation list that can't be used.
    #[error("{}: the revocation list can't be used ({reason}); fetch it again from the CA", .path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Revocation lists of other CAs only.
    #[error("{}: no revocation list in it is of a CA in {}, this one is of {issuer}; fetch that of the CA", .path.display(), .client_ca.display())]
    ForeignCrl {
        /// The file.
        path: PathBuf,
        /// The file of the CAs.
        client_ca: PathBuf,
        /// Whose list there is.
        issuer: String,
    },
    /// Nobody's fault but ours or the machine's.
    #[error("TLS can't be set up: {0}")]
    Internal(String),
}

fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "correct the path, or make certificates for development with `noctule certs`"
        }
        io::ErrorKind::PermissionDenied => "let the user that noctule runs as read it",
        _ => "is the disk all right?",
    }
}

/// Something that works, or would for now, and that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and how to mend it.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.text)
    }
}
