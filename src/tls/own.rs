//! Our certificates and their keys: read, matched, and looked over for what clients would trip over.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::acceptor::Notes;
use super::error::TlsError;
use super::names::Named;
use super::settings::CertificateFiles;

const OTHERS_READ: u32 = 0o007;
const GROUP_WRITES: u32 = 0o020;
/// A renewal that should have happened by now: public CAs renew at a third of 90 days.
const SOON_S: u64 = 14 * 24 * 3600;

/// All our certificates.
pub(super) struct Own {
    pub(super) certificates: Vec<Named>,
    /// When the first of them expires, in seconds since 1970.
    pub(super) expires_s: u64,
}

/// Reads all chains and keys.
pub(super) fn read(
    files: &[CertificateFiles],
    crypto: &CryptoProvider,
    notes: &mut Notes,
) -> Result<Own, TlsError> {
    if files.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let mut own = Own { certificates: Vec::with_capacity(files.len()), expires_s: u64::MAX };
    for files in files {
        let (named, expires_s) = pair(files, crypto, notes)?;
        own.expires_s = own.expires_s.min(expires_s);
        own.certificates.push(named);
    }
    Ok(own)
}

fn pair(
    files: &CertificateFiles,
    crypto: &CryptoProvider,
    notes: &mut Notes,
) -> Result<(Named, u64), TlsError> {
    let CertificateFiles { chain, key } = files;
    let certificates = notes.read(chain, "a certificate")?.certificates()?;
    let key_file = notes.read(key, "a private key")?;
    if key_file.mode & (OTHERS_READ | GROUP_WRITES) != 0 {
        let mode = key_file.mode;
        notes.warn(
            key,
            format!("others can read or change the key (mode {mode:04o}); chmod 600 {}", key.display()),
        );
    }
    let signer = crypto
        .key_provider
        .load_private_key(key_file.key()?)
        .map_err(|error| TlsError::Key { path: key.clone(), reason: error.to_string() })?;

    let unfit = |reason: String| TlsError::Certificate { path: chain.clone(), reason };
    let mut parsed = Vec::with_capacity(certificates.len());
    for certificate in &certificates {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|error| unfit(error.to_string()))?;
        parsed.push(certificate);
    }
    let Some(leaf) = parsed.first() else { return Err(unfit("there is none".to_owned())) };
    let names = dns_names(leaf).map_err(unfit)?;
    if names.is_empty() && !has_address(leaf) {
        notes.warn(
            chain,
            "the certificate has no subject alternative name, so clients that check names refuse it; issue one with \
             its DNS names or addresses",
        );
    }
    let expires_s = validity(chain, leaf, notes);
    for pair in parsed.windows(2) {
        if let [lower, upper] = pair
            && lower.issuer().as_raw() != upper.subject().as_raw()
        {
            notes.warn(
                chain,
                format!(
                    "the chain is out of order: after the certificate of {} should come that of {}, its issuer, not \
                     that of {}",
                    lower.subject(),
                    lower.issuer(),
                    upper.subject()
                ),
            );
        }
    }
    let certified = CertifiedKey::new(certificates.clone(), signer);
    match certified.keys_match() {
        // A key that can't say what its public half is can still sign.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(TlsError::Mismatch { chain: chain.clone(), key: key.clone() });
        }
        Err(error) => return Err(unfit(error.to_string())),
    }
    Ok((Named { names, key: Arc::new(certified) }, expires_s))
}

/// Warns of a certificate whose time has not come or is over; returns when it expires, in seconds since 1970.
pub(super) fn validity(path: &Path, certificate: &X509Certificate<'_>, notes: &mut Notes) -> u64 {
    let now_s = super::now_s();
    let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
    let validity = certificate.validity();
    let (from_s, until_s) =
        (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
    let subject = certificate.subject();
    if until_s <= now_s {
        notes.warn(path, format!("the certificate of {subject} expired on {}; renew it", validity.not_after));
    } else if from_s > now_s {
        notes.warn(
            path,
            format!(
                "the certificate of {subject} is valid from {} only; is this machine's clock right?",
                validity.not_before
            ),
        );
    } else if until_s - now_s < SOON_S {
        notes.warn(path, format!("the certificate of {subject} expires on {}; renew it", validity.not_after));
    }
    until_s
}

fn dns_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let alternatives = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}

fn has_address(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject_alternative_name().ok().flatten().is_some_and(|extension| {
        extension.value.general_names.iter().any(|name| matches!(name, GeneralName::IPAddress(_)))
    })
}
