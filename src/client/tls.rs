//! The client's end of TLS: which CAs are trusted, which certificate is shown, a stream that is plain or encrypted, and
//! what goes wrong with it in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage,
    RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{Failure, Place};
use crate::cli::TlsArgs;

/// What a connection is encrypted with.
#[derive(Clone, Debug)]
pub(super) struct Encryption {
    config: Arc<ClientConfig>,
    cafile: Option<PathBuf>,
    shows_certificate: bool,
}

impl Encryption {
    /// Reads the files that the flags name.
    pub(super) fn new(arguments: &TlsArgs) -> Result<Arc<Self>, Failure> {
        let roots = roots(arguments.cafile.as_deref())?;
        let provider = Arc::new(ring::default_provider());
        let internal = |error: &dyn std::fmt::Display| Failure::NoTls(error.to_string());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| internal(&error))?;
        let verifier: Arc<dyn ServerCertVerifier> =
            if arguments.insecure { Arc::new(AnyName(verifier)) } else { verifier };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| internal(&error))?
            // The verifier is rustls' own, in front of which --insecure may stand.
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match (&arguments.cert, &arguments.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates("--cert", cert)?;
                let private = private_key("--key", key)?;
                config.with_client_auth_cert(chain, private).map_err(|error| {
                    let words = match error {
                        Error::InconsistentKeys(_) => {
                            format!("it is not the key of the certificate in {}", cert.display())
                        }
                        error => format!("it can't be used: {error}"),
                    };
                    unreadable("--key", key, words)
                })?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(Arc::new(Self {
            config: Arc::new(config),
            cafile: arguments.cafile.clone(),
            shows_certificate: arguments.cert.is_some(),
        }))
    }
}

fn unreadable(
    flag: &'static str,
    file: &Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Failure {
    let error = io::Error::new(io::ErrorKind::InvalidData, error);
    Failure::Unreadable { flag, file: file.to_owned(), error }
}

fn pem(flag: &'static str, file: &Path, what: &str, error: PemError) -> Failure {
    match error {
        PemError::Io(error) => Failure::Unreadable { flag, file: file.to_owned(), error },
        PemError::NoItemsFound => unreadable(flag, file, format!("there is no {what} in PEM in it")),
        error => unreadable(flag, file, format!("its PEM is damaged: {error}")),
    }
}

fn certificates(flag: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(pem(flag, file, "certificate", PemError::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(pem(flag, file, "certificate", error)),
    }
}

fn private_key(flag: &'static str, file: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| pem(flag, file, "private key (without a passphrase)", error))
}

fn roots(cafile: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(file) = cafile else {
        // One that is broken among the system's two hundred is no reason to stop.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let words = "the system trusts no CA; install the package ca-certificates, or name the broker's CA with --cafile";
            return Err(Failure::NoTls(words.to_owned()));
        }
        return Ok(roots);
    };
    for certificate in certificates("--cafile", file)? {
        roots.add(certificate).map_err(|error| {
            unreadable("--cafile", file, format!("it holds no certificate of a CA: {error}"))
        })?;
    }
    Ok(roots)
}

/// Verifies everything but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // rustls looks at the name last: whoever comes to it has shown a valid certificate of a trusted CA.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A connection, plain or encrypted.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Encrypts `stream` if that is what `place` says.
    pub(super) async fn over(stream: TcpStream, place: &Place) -> Result<Self, Failure> {
        let Some(encryption) = &place.encryption else { return Ok(Self::Plain(stream)) };
        let failed = |error| Failure::Tls { place: place.clone(), error };
        let name = ServerName::try_from(place.host.clone()).map_err(|_| {
            failed(io::Error::other("a certificate can't be for such a host; is the name right?"))
        })?;
        let connector = TlsConnector::from(Arc::clone(&encryption.config));
        let stream = connector.connect(name, stream).await.map_err(failed)?;
        Ok(Self::Tls(Box::new(stream)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => match ready!(Pin::new(stream).poll_read(cx, buf)) {
                // An end without close_notify: the protocols inside know by themselves what is whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Whether TLS is what went wrong, and not the connection under it.
pub(super) fn is_at_fault(error: &io::Error) -> bool {
    cause(error).is_some()
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether it may go better without anybody's doing anything.
pub(super) fn may_pass(error: &io::Error) -> bool {
    !is_at_fault(error) && error.kind() != io::ErrorKind::Other
}

/// Why there is no encrypted connection, and what to do.
pub(super) fn in_words(place: &Place, error: &io::Error) -> String {
    let Some(cause) = cause(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => format!(
                "{place} closed the connection when TLS was to begin; does it speak TLS on this port? or it takes no more \
                 connections, or not from this address"
            ),
            _ => format!("no TLS with {place}: {error}"),
        };
    };
    match cause {
        Error::InvalidCertificate(error) => format!("{place} can't be trusted: {}", distrust(place, error)),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => {
            format!("{place} does not speak TLS on this port; leave TLS out, or name the port where it does")
        }
        Error::AlertReceived(alert) => format!("{place} refuses TLS: {}", refusal(place, *alert)),
        Error::PeerIncompatible(_) => {
            format!("{place} speaks another TLS than 1.2 and 1.3, or shares no cipher with us: {cause}")
        }
        _ => format!("no TLS with {place}: {cause}"),
    }
}

fn distrust(place: &Place, error: &CertificateError) -> String {
    let cafile = place.encryption.as_ref().and_then(|encryption| encryption.cafile.as_deref());
    match (error, cafile) {
        (CertificateError::UnknownIssuer, None) => {
            "the system does not know the CA that issued its certificate; name that with --cafile".to_owned()
        }
        (CertificateError::UnknownIssuer | CertificateError::BadSignature, Some(file)) => {
            format!("its certificate was not issued by a CA in {}; is that the broker's CA?", file.display())
        }
        (CertificateError::NotValidForNameContext { presented, .. }, _) => {
            let presented: Vec<String> = presented.iter().map(|name| readable(name)).collect();
            format!(
                "its certificate is for {}, not for {}; connect by such a name, or have one issued for this (noctule certs \
                 --force --name {1})",
                presented.join(", "),
                place.host
            )
        }
        (CertificateError::NotValidForName, _) => {
            format!("its certificate is not for {}; connect by the name that it is for", place.host)
        }
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => {
            "its certificate has expired; renew it, or is this machine's clock wrong?".to_owned()
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, _) => {
            "its certificate is not valid yet; is this machine's clock right?".to_owned()
        }
        (error, _) => format!("its certificate is not accepted: {error}"),
    }
}

/// A name in a certificate, without the words that rustls has around it: `DnsName("a")`, `IpAddress(10.0.0.7)`.
fn readable(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

fn refusal(place: &Place, alert: AlertDescription) -> String {
    let shows = place.encryption.as_ref().is_some_and(|encryption| encryption.shows_certificate);
    match alert {
        // TLS 1.2 has no word of its own for a missing one.
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure if !shows => {
            "it wants a certificate of the client; give one with --cert and --key".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied
            if shows =>
        {
            "it does not accept the certificate of --cert; was it issued by the broker's CA, for clients?"
                .to_owned()
        }
        AlertDescription::CertificateExpired => "the certificate of --cert has expired; renew it".to_owned(),
        AlertDescription::CertificateRevoked => "the certificate of --cert was revoked".to_owned(),
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.2 or 1.3".to_owned(),
        alert => format!("{alert:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_certificates_are_shown_as_they_are_written() {
        assert_eq!(readable("DnsName(\"gateway.local\")"), "gateway.local");
        assert_eq!(readable("IpAddress(10.0.0.7)"), "10.0.0.7");
        assert_eq!(readable("what"), "what");
    }
}
