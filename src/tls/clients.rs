//! How clients' certificates are verified: the CAs that issue them, and what these have revoked.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::acceptor::Notes;
use super::error::TlsError;
use super::own::validity;
use super::settings::{ClientCertificates, Settings};

/// The verifier that `settings` ask for. Settings that contradict one another are errors rather than guesses: each guess
/// would leave a door open that somebody believes to be shut.
pub(super) fn verifier(
    settings: &Settings,
    crypto: &Arc<CryptoProvider>,
    notes: &mut Notes,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let asked = match settings.client_certificates {
        ClientCertificates::None => {
            if settings.client_ca.is_some() {
                return Err(TlsError::UnusedClientCa);
            }
            if settings.crl.is_some() {
                return Err(TlsError::UnusedCrl);
            }
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        ClientCertificates::Optional => "optional",
        ClientCertificates::Required => "required",
    };
    let client_ca = settings.client_ca.as_deref().ok_or(TlsError::NoClientCa(asked))?;
    let authorities = notes.read(client_ca, "the certificate of a CA")?.certificates()?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        roots.add(authority.clone()).map_err(|error| unfit(client_ca, &error))?;
    }
    let parsed = parse(client_ca, &authorities)?;
    for authority in &parsed {
        validity(client_ca, authority, notes);
    }
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(crypto));
    if let Some(path) = settings.crl.as_deref() {
        let lists = notes.read(path, "a revocation list")?.revocation_lists()?;
        check_lists(path, &lists, client_ca, &parsed, notes)?;
        // Every certificate of the chain is looked up, and who can't be looked up is refused.
        verifier = verifier.with_crls(lists).enforce_revocation_expiration();
    }
    if settings.client_certificates == ClientCertificates::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    let built = verifier.build();
    built.map_err(|error| match settings.crl.as_deref() {
        Some(path) => TlsError::Crl { path: path.to_owned(), reason: error.to_string() },
        None => unfit(client_ca, &error),
    })
}

fn unfit(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Certificate { path: path.to_owned(), reason: error.to_string() }
}

fn parse<'a>(
    path: &Path,
    authorities: &'a [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'a>>, TlsError> {
    let parsed = authorities.iter().map(|authority| {
        let (_, certificate) = X509Certificate::from_der(authority).map_err(|error| unfit(path, &error))?;
        Ok(certificate)
    });
    parsed.collect()
}

fn check_lists(
    path: &Path,
    lists: &[CertificateRevocationListDer<'static>],
    client_ca: &Path,
    authorities: &[X509Certificate<'_>],
    notes: &mut Notes,
) -> Result<(), TlsError> {
    let mut of_authority = vec![false; authorities.len()];
    let mut foreign = None;
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|error| TlsError::Crl { path: path.to_owned(), reason: error.to_string() })?;
        let issuer = list.issuer();
        let mut known = false;
        for (authority, has_list) in authorities.iter().zip(&mut of_authority) {
            if authority.subject().as_raw() == issuer.as_raw() {
                (known, *has_list) = (true, true);
            }
        }
        if !known {
            foreign = Some(issuer.to_string());
        }
        let next = list.next_update();
        if next.is_some_and(|next| u64::try_from(next.timestamp()).unwrap_or(0) <= super::now_s()) {
            let since = next.map(|next| next.to_string()).unwrap_or_default();
            notes.warn(
                path,
                format!("the revocation list of {issuer} is out of date since {since}, so that CA's clients are refused; fetch the list anew"),
            );
        }
    }
    if !of_authority.contains(&true)
        && let Some(issuer) = foreign
    {
        let (path, client_ca) = (path.to_owned(), client_ca.to_owned());
        return Err(TlsError::ForeignCrl { path, client_ca, issuer });
    }
    for (authority, has_list) in authorities.iter().zip(of_authority) {
        if !has_list {
            let subject = authority.subject();
            notes.warn(
                path,
                format!(
                    "there is no revocation list of {subject}, so that CA's clients are refused; add its list"
                ),
            );
        }
    }
    Ok(())
}
