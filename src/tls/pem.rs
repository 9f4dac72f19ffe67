//! Reading PEM files: the whole file, with its mode and digest, and what kind of thing is in it.
//!
//! Most mistakes with TLS are a wrong file in the right place, so that much is said about what a file is instead.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::TlsError;

/// Nobody's bundle is larger; the one of all public CAs has 200 KiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A file as it was read.
pub(super) struct PemFile {
    path: PathBuf,
    what: &'static str,
    bytes: zeroize::Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub(super) mode: u32,
}

impl PemFile {
    /// Reads `path`, which should hold `what`.
    pub(super) fn read(path: &Path, what: &'static str) -> Result<Self, TlsError> {
        let unreadable = |source| TlsError::Unreadable { what, path: path.to_owned(), source };
        let not_a_file = |found| TlsError::NotAFile { what, path: path.to_owned(), found };
        // Asked before it is opened, because opening a pipe waits for somebody to write.
        let about = path.metadata().map_err(unreadable)?;
        if about.is_dir() {
            return Err(not_a_file("a directory"));
        }
        if !about.is_file() {
            return Err(not_a_file("no plain file"));
        }
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(
            usize::try_from(about.len().min(MAX_FILE_BYTES)).unwrap_or_default() + 1,
        ));
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(not_a_file("a file of more than 4 MiB"));
        }
        Ok(Self { path: path.to_owned(), what, bytes, mode: about.mode() & 0o7777 })
    }

    /// SHA-256 of what is in the file.
    pub(super) fn digest(&self) -> ring::digest::Digest {
        ring::digest::digest(&ring::digest::SHA256, &self.bytes)
    }

    /// Its certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.all(CertificateDer::pem_slice_iter(&self.bytes))
    }

    /// Its revocation lists, at least one.
    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        self.all(CertificateRevocationListDer::pem_slice_iter(&self.bytes))
    }

    /// Its private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let encrypted = self.labels().any(|label| label == "ENCRYPTED PRIVATE KEY")
            // The older form says so inside (RFC 1421 section 4.6.1.1).
            || self.bytes.windows(11).any(|window| window == b"4,ENCRYPTED");
        if encrypted {
            return Err(TlsError::EncryptedKey(self.path.clone()));
        }
        match PrivateKeyDer::from_pem_slice(&self.bytes) {
            Ok(key) => Ok(key),
            Err(PemError::NoItemsFound) => Err(self.nothing()),
            Err(error) => Err(self.damaged(&error)),
        }
    }

    fn all<T>(&self, items: impl Iterator<Item = Result<T, PemError>>) -> Result<Vec<T>, TlsError> {
        let items: Vec<T> = items.collect::<Result<_, _>>().map_err(|error| self.damaged(&error))?;
        if items.is_empty() { Err(self.nothing()) } else { Ok(items) }
    }

    fn damaged(&self, error: &PemError) -> TlsError {
        let reason = match error {
            PemError::MissingSectionEnd { end_marker } => {
                format!("the END line of {} is missing", String::from_utf8_lossy(end_marker))
            }
            PemError::IllegalSectionStart { .. } => "a BEGIN line is not complete".to_owned(),
            other => other.to_string(),
        };
        TlsError::Damaged { path: self.path.clone(), reason }
    }

    /// What there is instead of what should be.
    fn nothing(&self) -> TlsError {
        let (what, path) = (self.what, self.path.clone());
        let mut found: Vec<String> = Vec::new();
        for label in self.labels() {
            let words = words(label);
            if !found.contains(&words) {
                found.push(words);
            }
        }
        if !found.is_empty() {
            return TlsError::Other { what, path, found: found.join(" and ") };
        }
        let found = match self.bytes.first() {
            None => "empty",
            // An ASN.1 sequence of more than 127 bytes.
            Some(0x30) if self.bytes.get(1).is_some_and(|length| length & 0x80 != 0) => {
                "in DER, its binary form; convert it with openssl (x509, pkey or crl) -inform der -in FILE -out NEW"
            }
            Some(_) => "something else; a PEM file has lines such as -----BEGIN CERTIFICATE-----",
        };
        TlsError::NotPem { what, path, found }
    }

    /// What stands in the BEGIN lines.
    fn labels(&self) -> impl Iterator<Item = &str> {
        self.bytes.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = std::str::from_utf8(line).ok()?.trim();
            line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
        })
    }
}

fn words(label: &str) -> String {
    match label {
        "CERTIFICATE" => "a certificate".to_owned(),
        "X509 CRL" => "a revocation list".to_owned(),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "a certificate request (CSR)".to_owned(),
        "PUBLIC KEY" => "a public key".to_owned(),
        label if label.ends_with("PRIVATE KEY") => "a private key".to_owned(),
        label => label.chars().filter(|letter| !letter.is_control()).take(40).collect(),
    }
}
