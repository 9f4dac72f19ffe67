//! The CA and what it issues: ECDSA P-256 throughout, which every TLS library has and which costs a board little.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use super::directory::Directory;
use super::{Access, CertsError, ServerName, now_s};

/// How long a CA is valid, in days, unless what it issues is to be valid for longer.
const AUTHORITY_DAYS: u32 = 3_650;
const DAY_S: u64 = 24 * 3_600;

/// A CA.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// When it expires, in seconds since 1970.
    until_s: u64,
}

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    certificate: String,
    key: Zeroizing<String>,
}

impl Issued {
    /// Writes both, the key first: a certificate without its key is what a watching broker would stumble over longest.
    pub(super) fn write(
        &self,
        directory: &Directory,
        certificate: &str,
        key: &str,
        replace: bool,
    ) -> Result<(), CertsError> {
        directory.write(key, &self.key, Access::Owner, replace)?;
        directory.write(certificate, &self.certificate, Access::Everybody, replace)
    }
}

impl Authority {
    /// A new one, named after the machine.
    pub(super) fn new(host: &str, days: u32) -> Result<Self, CertsError> {
        let until_s = now_s() + u64::from(days.max(AUTHORITY_DAYS)) * DAY_S;
        let mut params = params(until_s);
        // With the day, so that one that comes after it is not taken for it.
        let name = format!("Noctule development CA of {host}, {}", day(now_s()));
        // RFC 5280, ub-common-name.
        params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem, until_s })
    }

    /// The one whose certificate and key were found in files.
    pub(super) fn existing(path: &Path, pem: &str, key_path: &Path, key: &str) -> Result<Self, CertsError> {
        let unfit = |path: &Path, reason: &dyn std::fmt::Display| CertsError::Authority {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let key = KeyPair::from_pem(key).map_err(|error| unfit(key_path, &error))?;
        let (_, section) = parse_x509_pem(pem.as_bytes()).map_err(|error| unfit(path, &error))?;
        let certificate = section.parse_x509().map_err(|error| unfit(path, &error))?;
        if !certificate.is_ca() {
            return Err(unfit(path, &"it is not the certificate of a CA"));
        }
        if *certificate.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(unfit(path, &"ca.key is the key of another certificate"));
        }
        let not_after = certificate.validity().not_after;
        let until_s = u64::try_from(not_after.timestamp()).unwrap_or(0);
        if until_s <= now_s() {
            return Err(unfit(path, &format!("the CA expired on {not_after}")));
        }
        let issuer = Issuer::from_ca_cert_der(&section.contents.as_slice().into(), key)
            .map_err(|error| unfit(path, &error))?;
        Ok(Self { issuer, pem: pem.to_owned(), until_s })
    }

    pub(super) fn certificate_pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// When what is issued now for so many days expires, in seconds since 1970: never after the CA, without which it is
    /// worth nothing.
    pub(super) fn until_s(&self, days: u32) -> u64 {
        self.until_s.min(now_s() + u64::from(days) * DAY_S)
    }

    /// A certificate for the broker.
    pub(super) fn server(&self, names: &[ServerName], until_s: u64) -> Result<Issued, CertsError> {
        let mut params = params(until_s);
        params.distinguished_name.push(DnType::CommonName, "Noctule");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(match name {
                ServerName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                ServerName::Address(address) => SanType::IpAddress(*address),
            });
        }
        self.issue(params)
    }

    /// A certificate for a client.
    pub(super) fn client(&self, name: &str, until_s: u64) -> Result<Issued, CertsError> {
        let mut params = params(until_s);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, CertsError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

/// Of nobody, valid from yesterday: clocks of boards are late more often than early.
fn params(until_s: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let moment = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = moment(now_s().saturating_sub(DAY_S));
    params.not_after = moment(until_s);
    params
}

/// The day in which a moment lies, as `2029-02-24`.
pub(super) fn day(seconds: u64) -> String {
    (date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)).date().to_string()
}
