//! A certification authority in a directory of its own, and clients that trust it. Keys are made anew in every run.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::DataDir;

const TLS_12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub(crate) const TLS_13: &SupportedProtocolVersion = &rustls::version::TLS13;
/// Every version.
pub(crate) const TLS_VERSIONS: [&SupportedProtocolVersion; 2] = [TLS_12, TLS_13];

/// A certificate with its key.
pub(crate) type Named = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// An authority and what it has issued.
pub(crate) struct Pki {
    dir: DataDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// With a certificate for `localhost` in `server.pem` and `server.key`, and its own in `ca.pem`.
    pub(crate) fn new() -> Self {
        let dir = DataDir::in_memory();
        fs::create_dir_all(dir.path()).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // An authority of the same name would be taken for this one.
        params.distinguished_name.push(DnType::CommonName, dir.path().display().to_string());
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { dir, ca };
        fs::write(pki.path("ca.pem"), pki.ca.pem()).unwrap();
        pki.issue("server", "localhost");
        pki
    }

    /// A file of its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `[[tls]]` named "plant" with the certificate in `server.pem`, and more keys.
    pub(crate) fn plant(&self, more: &str) -> String {
        format!(
            "[[tls]]\nname = \"plant\"\ncertificates = [{{ chain = {:?}, key = {:?} }}]\n{more}\n",
            self.path("server.pem"),
            self.path("server.key")
        )
    }

    /// `client_ca` of a `[[tls]]`.
    pub(crate) fn client_ca(&self) -> String {
        format!("client_ca = {:?}", self.path("ca.pem"))
    }

    /// Writes a new certificate for that host to `{file}.pem` and its key to `{file}.key`.
    pub(crate) fn issue(&self, file: &str, host: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        self.secret(&format!("{file}.key"), &key.serialize_pem());
    }

    fn secret(&self, name: &str, text: &str) {
        let path = self.path(name);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A client's certificate.
    pub(crate) fn client(&self, name: &str) -> Named {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// A client of that version that trusts this authority, with a certificate or without. It resumes no session.
    pub(crate) fn connector(
        &self,
        version: &'static SupportedProtocolVersion,
        named: Option<Named>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match named {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }
}
