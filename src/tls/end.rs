//! Why a TLS connection ended, in words for the log and as a label for counters.
//!
//! What the peer is told (an alert) is rustls's choice; here is what the operator is told, and how to mend it.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};
use thiserror::Error as ThisError;

/// Why a session is over. The peer is at fault, save for [`TlsEnd::Internal`].
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TlsEnd {
    /// It speaks something else than TLS.
    #[error("{0} on a TLS port; have the client use TLS, or name a port without")]
    Plain(&'static str),
    /// It knows no version that is allowed here.
    #[error("client offered only {offered} and {wanted} is wanted; update the client's TLS library{lower}")]
    Version {
        /// The highest version it offered.
        offered: &'static str,
        /// The lowest version allowed.
        wanted: &'static str,
        /// What the operator could do about it, or nothing.
        lower: &'static str,
    },
    /// Client and server have no cipher suite, curve or signature in common.
    #[error("client and server have no {0} in common; update the client's TLS library")]
    NothingInCommon(&'static str),
    /// It offered application protocols and none of ours.
    #[error(
        "client offered application protocols (ALPN), and none that is in alpn; add its own, or take alpn out"
    )]
    Alpn,
    /// A certificate is required and none came.
    #[error(
        "no certificate given, and client_certificates is \"required\"; give the client one of a CA in client_ca"
    )]
    NoCertificate,
    /// Its certificate was refused.
    #[error("client certificate refused: {0}")]
    Certificate(String),
    /// It ended the connection with an alert.
    #[error("client gave up: {0}")]
    Alert(String),
    /// It broke a rule of TLS.
    #[error("client broke TLS: {0}")]
    Protocol(String),
    /// A record was damaged on the way, or forged.
    #[error("a record can't be decrypted: it was damaged or forged")]
    Damaged,
    /// Its handshake is longer than anybody's.
    #[error("client sent {0} bytes without completing the handshake; nobody's is that long")]
    TooLong(usize),
    /// It sends records that carry nothing.
    #[error("client sent {0} records without content; more than it sent with")]
    Flood(u16),
    /// The keys of TLS 1.2 have been used for as long as is safe, and cannot be changed.
    #[error(
        "the keys of this TLS 1.2 connection are used up; it has to be made anew, TLS 1.3 changes them by itself"
    )]
    Exhausted,
    /// The session had ended before.
    #[error("the TLS connection is over")]
    Over,
    /// Nobody's fault but ours or the machine's.
    #[error("TLS failed here: {0}")]
    Internal(String),
}

impl TlsEnd {
    /// The kind of end, for counters: one of a dozen words.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Plain(_) => "plain",
            Self::Version { .. } => "version",
            Self::NothingInCommon(_) | Self::Alpn => "nothing_in_common",
            Self::NoCertificate => "no_certificate",
            Self::Certificate(_) => "certificate",
            Self::Alert(_) => "alert",
            Self::Protocol(_) | Self::TooLong(_) => "protocol",
            Self::Damaged => "damaged",
            Self::Flood(_) => "flood",
            Self::Exhausted => "exhausted",
            Self::Over => "over",
            Self::Internal(_) => "internal",
        }
    }

    /// Says what rustls says, in the operator's words. `hello` is what the first message of the handshake begins with,
    /// if that is what failed.
    pub(super) fn of(error: &Error, hello: &[u8], only_13: bool) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(error) => Self::Certificate(certificate(error)),
            Error::InvalidCertRevocationList(error) => Self::Certificate(format!(
                "a revocation list in crl can't be used ({error:?}); fetch it again from the CA"
            )),
            Error::AlertReceived(alert) => Self::Alert(self::alert(*alert)),
            Error::DecryptError => Self::Damaged,
            Error::PeerSentOversizedRecord => Self::Protocol("a record is longer than 16 KiB".to_owned()),
            Error::NoApplicationProtocol => Self::Alpn,
            Error::PeerIncompatible(what) => incompatible(what, hello, only_13),
            Error::PeerMisbehaved(what) => misbehaved(what),
            Error::InvalidMessage(InvalidMessage::MessageTooLarge) => {
                Self::Protocol("a record header announces more than a record may hold".to_owned())
            }
            Error::InvalidMessage(what) => Self::Protocol(format!("a message can't be read ({what:?})")),
            Error::InappropriateMessage { got_type, .. } => {
                Self::Protocol(format!("a message of type {got_type:?} when none was due"))
            }
            Error::InappropriateHandshakeMessage { got_type, .. } => {
                Self::Protocol(format!("a handshake message of type {got_type:?} when none was due"))
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

fn incompatible(what: &PeerIncompatible, hello: &[u8], only_13: bool) -> TlsEnd {
    let offered = version_of(hello);
    let version =
        |lower| TlsEnd::Version { offered, wanted: if only_13 { "TLS 1.3" } else { "TLS 1.2" }, lower };
    match what {
        // Old ones lack much; rustls names what it misses first.
        _ if OLD.contains(&offered) => version(""),
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            let lower = only_13 && offered == "TLS 1.2";
            version(if lower { ", or set min_version = \"1.2\"" } else { "" })
        }
        PeerIncompatible::NoCipherSuitesInCommon => TlsEnd::NothingInCommon("cipher suite"),
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::UncompressedEcPointsRequired
        | PeerIncompatible::KeyShareExtensionRequired => TlsEnd::NothingInCommon("key exchange group"),
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
            TlsEnd::NothingInCommon("signature scheme")
        }
        other => TlsEnd::Protocol(format!("the client lacks something that is needed ({other:?})")),
    }
}

fn misbehaved(what: &PeerMisbehaved) -> TlsEnd {
    TlsEnd::Protocol(match what {
        PeerMisbehaved::TooManyKeyUpdateRequests => "too many key updates without data".to_owned(),
        PeerMisbehaved::TooManyEmptyFragments => "too many empty records".to_owned(),
        PeerMisbehaved::TooManyRenegotiationRequests => {
            "it insists on renegotiation, which does not exist here".to_owned()
        }
        PeerMisbehaved::TooManyWarningAlertsReceived => "too many warnings".to_owned(),
        other => format!("{other:?}"),
    })
}

/// Why a client's certificate is no good.
fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "it has expired; issue a new one".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "it expired {} s ago; issue a new one, unless this machine's clock is wrong",
            time.as_secs().saturating_sub(not_after.as_secs())
        ),
        CertificateError::NotValidYet => {
            "it is not valid yet; the clock here or where it was issued is wrong".to_owned()
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "it will be valid in {} s; the clock here or where it was issued is wrong",
            not_before.as_secs().saturating_sub(time.as_secs())
        ),
        CertificateError::Revoked => "certificate revoked".to_owned(),
        CertificateError::UnknownIssuer => {
            "no CA in client_ca issued it, or the client left out its intermediate certificates".to_owned()
        }
        CertificateError::UnknownRevocationStatus => {
            "crl has no revocation list of the CA that issued it, or of one above; add that list to the file".to_owned()
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list in crl is out of date, so it can't be told whether it was revoked; fetch the list anew"
                .to_owned()
        }
        CertificateError::BadSignature => "a signature in it or made with it is wrong".to_owned(),
        CertificateError::BadEncoding => "it can't be read".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was not issued for clients; issue one with the extended key usage clientAuth".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension that is not known here".to_owned()
        }
        // webpki's own words for a certificate that may issue others.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is that of a CA, or signed by itself; issue one for the client by a CA in client_ca".to_owned()
        }
        other => other.to_string(),
    }
}

/// What a client's alert means for whoever runs the server (RFC 8446 section 6.2).
fn alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => {
            "it does not trust the CA of our certificate (unknown_ca); give it the CA's certificate"
                .to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => format!(
            "it does not like our certificate ({}); is the name it connects to in it, and the chain complete?",
            label(alert)
        ),
        AlertDescription::CertificateExpired => {
            "our certificate has expired by its clock (certificate_expired)".to_owned()
        }
        AlertDescription::CertificateRevoked => {
            "our certificate was revoked (certificate_revoked)".to_owned()
        }
        other => format!("alert {}", label(other)),
    }
}

fn label(alert: AlertDescription) -> String {
    let name = format!("{alert:?}");
    let mut label = String::with_capacity(name.len() + 4);
    let mut previous_is_lower = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && previous_is_lower {
            label.push('_');
        }
        previous_is_lower = letter.is_ascii_lowercase();
        label.push(letter.to_ascii_lowercase());
    }
    label
}

/// Those that are not spoken here at all.
const OLD: [&str; 3] = ["SSL 3.0", "TLS 1.0", "TLS 1.1"];

/// The version in a ClientHello whose record begins `hello` (RFC 5246 section 7.4.1.2).
fn version_of(hello: &[u8]) -> &'static str {
    match hello.get(9..11) {
        Some([3, 0]) => "SSL 3.0",
        Some([3, 1]) => "TLS 1.0",
        Some([3, 2]) => "TLS 1.1",
        Some([3, 3]) => "TLS 1.2",
        _ => "an unknown version",
    }
}
