//! Who a client is by its certificate: one name, or nobody.
//!
//! The certificate has been verified before it comes here. What is decided here is only whether a name in it can be a
//! user's: it will be compared with, and put into, patterns of topics.

use std::sync::Arc;

use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityFrom {
    /// The common name of the subject.
    #[default]
    Cn,
    /// The DNS name among the alternative names, in lower case.
    Dns,
    /// The URI among the alternative names; one without `/`, such as `urn:dev:mac:0024befffe804ff1`.
    Uri,
    /// The mail address among the alternative names.
    Email,
    /// SHA-256 of the certificate in lower-case hexadecimal digits: each certificate is a user of its own.
    Fingerprint,
}

impl IdentityFrom {
    fn words(self) -> &'static str {
        match self {
            Self::Cn => "common name (CN)",
            Self::Dns => "DNS name",
            Self::Uri => "URI",
            Self::Email => "mail address",
            Self::Fingerprint => "fingerprint",
        }
    }
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user name: 1 to [`MAX_NAME_BYTES`] bytes without `+`, `#`, `/` and control characters.
    pub name: Arc<str>,
    /// When its certificate expires, in seconds since 1970.
    pub expires_s: u64,
}

/// The longest name that is one. Common names end at 64 characters, DNS names at 253, mail addresses at 254.
pub const MAX_NAME_BYTES: usize = 256;

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Nameless {
    /// It has none of what is asked for.
    #[error(
        "the client's certificate has no {0}; issue one that does, or choose another identity for this [[tls]]"
    )]
    Missing(&'static str),
    /// It has several, and none is more right than the other.
    #[error(
        "the client's certificate has {count} {what}s ({first:?} and others) and can't be two users; issue one with one"
    )]
    Ambiguous {
        /// What there are several of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The first.
        first: String,
    },
    /// A name that would mean something else in a pattern of topics, or nothing.
    #[error("the {what} {name:?} of the client's certificate is no user name: {why}; issue another")]
    Unfit {
        /// What it is.
        what: &'static str,
        /// It, cut short.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What should hold the name can't be read.
    #[error("the names in the client's certificate can't be read: {0}")]
    Unreadable(String),
}

impl Identity {
    /// Who `der`, a verified certificate, names.
    pub(super) fn of(der: &[u8], from: IdentityFrom) -> Result<Self, Nameless> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| Nameless::Unreadable(error.to_string()))?;
        let expires_s = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let name = match from {
            IdentityFrom::Fingerprint => fingerprint(der),
            from => only(from.words(), names(&certificate, from)?)?,
        };
        fit(from.words(), &name)?;
        Ok(Self { name: name.into(), expires_s })
    }
}

/// SHA-256 of `der` in lower-case hexadecimal digits.
pub(super) fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All different names of that kind.
fn names(certificate: &X509Certificate<'_>, from: IdentityFrom) -> Result<Vec<String>, Nameless> {
    let mut names = Vec::new();
    if from == IdentityFrom::Cn {
        for attribute in certificate.subject().iter_common_name() {
            let name = attribute.as_str().map_err(|error| Nameless::Unreadable(error.to_string()))?;
            names.push(name.to_owned());
        }
    } else {
        let alternatives = certificate
            .subject_alternative_name()
            .map_err(|error| Nameless::Unreadable(error.to_string()))?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        for alternative in alternatives {
            match (from, alternative) {
                (IdentityFrom::Dns, GeneralName::DNSName(name)) => names.push(name.to_ascii_lowercase()),
                (IdentityFrom::Uri, GeneralName::URI(name))
                | (IdentityFrom::Email, GeneralName::RFC822Name(name)) => names.push((*name).to_owned()),
                _ => {}
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn only(what: &'static str, mut names: Vec<String>) -> Result<String, Nameless> {
    match (names.len(), names.pop()) {
        (1, Some(name)) => Ok(name),
        (count, Some(last)) => {
            Err(Nameless::Ambiguous { what, count, first: names.into_iter().next().unwrap_or(last) })
        }
        (_, None) => Err(Nameless::Missing(what)),
    }
}

fn fit(what: &'static str, name: &str) -> Result<(), Nameless> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it has more than 256 bytes"
    } else if name.contains(['+', '#', '/']) {
        "+, # and / mean something in topics"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(Nameless::Unfit { what, name: name.chars().take(80).collect(), why })
}
