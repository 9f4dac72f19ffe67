//! CAs, certificates and files made on the spot, and a client of rustls's on the other side of two byte vectors.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::data_dir::DataDir;
use crate::tls::{Acceptor, CertificateFiles, Opened, Session, Settings, TlsEnd};

pub(super) const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub(super) const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;
pub(super) const BOTH: [&SupportedProtocolVersion; 2] = [TLS12, TLS13];

/// Files of one test.
pub(super) struct Files(DataDir);

impl Files {
    pub(super) fn new() -> Self {
        let directory = DataDir::in_memory();
        std::fs::create_dir(directory.path()).unwrap();
        Self(directory)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(super) fn pair(&self, name: &str, issued: &Issued) -> CertificateFiles {
        CertificateFiles {
            chain: self.write(&format!("{name}.pem"), &issued.chain),
            key: self.write(&format!("{name}.key"), &issued.key),
        }
    }
}

/// A certificate with its chain and key, in PEM.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// PEM of those between this one and the root, which clients and servers send along.
    between: String,
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named(name);
        params
    }

    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(Self::params(name), key).unwrap();
        Self { issuer, between: String::new() }
    }

    /// A CA below this one.
    pub(super) fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(Self::params(name), key, &self.issuer).unwrap();
        let between = format!("{}{}", issuer.pem(), self.between);
        Self { issuer, between }
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub(super) fn issue(&self, params: &CertificateParams) -> Issued {
        self.issue_with(params, &PKCS_ECDSA_P256_SHA256)
    }

    pub(super) fn issue_with(
        &self,
        params: &CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Issued {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { chain: format!("{}{}", certificate.pem(), self.between), key: key.serialize_pem() }
    }

    pub(super) fn server(&self, names: &[&str]) -> Issued {
        self.issue(&server(names))
    }

    pub(super) fn client(&self, name: &str) -> Issued {
        self.issue(&client(name))
    }

    /// A revocation list with these serial numbers, to be replaced in that year.
    pub(super) fn crl(&self, serials: &[u64], next: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

pub(super) fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

pub(super) fn server(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

pub(super) fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(super) fn with_names(names: Vec<SanType>) -> CertificateParams {
    let mut params = client("cn");
    params.subject_alt_names = names;
    params
}

/// A listener with one certificate for `localhost`, and a client that trusts it.
pub(super) struct World {
    pub(super) files: Files,
    pub(super) authority: Authority,
    pub(super) settings: Settings,
    pub(super) client: ClientConfig,
}

impl World {
    pub(super) fn new() -> Self {
        let (files, authority) = (Files::new(), Authority::new("root"));
        let own = files.pair("server", &authority.server(&["localhost"]));
        let settings = Settings { certificates: vec![own], ..Settings::default() };
        let client = trusting(&authority, &BOTH, None);
        Self { files, authority, settings, client }
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor::load(&self.settings).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The reason why the settings are refused.
    #[track_caller]
    pub(super) fn refused(&self) -> String {
        Acceptor::load(&self.settings).unwrap_err().to_string()
    }

    /// A client of `versions` that shows `certificate`.
    pub(super) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        certificate: Option<&Issued>,
    ) -> ClientConfig {
        trusting(&self.authority, versions, certificate)
    }

    /// Both ends after a handshake that must succeed.
    #[track_caller]
    pub(super) fn established(&self, versions: &[&'static SupportedProtocolVersion]) -> Pair {
        Pair::new(&self.acceptor(), &self.client(versions, None)).established()
    }
}

pub(super) fn trusting(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&Issued>,
) -> ClientConfig {
    trusting_with(rustls::crypto::ring::default_provider(), authority, versions, certificate)
}

pub(super) fn trusting_with(
    provider: CryptoProvider,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&Issued>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain: Vec<_> =
                CertificateDer::pem_slice_iter(issued.chain.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// A session of ours and a client, and what is between them.
pub(super) struct Pair {
    pub(super) session: Session,
    pub(super) client: ClientConnection,
    /// What the session has not taken yet.
    pub(super) wire: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) out: BytesMut,
}

impl Pair {
    pub(super) fn new(acceptor: &Acceptor, client: &ClientConfig) -> Self {
        Self::asking(acceptor, client, "localhost")
    }

    pub(super) fn asking(acceptor: &Acceptor, client: &ClientConfig, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self {
            session: acceptor.session().unwrap(),
            client: ClientConnection::new(Arc::new(client.clone()), name).unwrap(),
            wire: Vec::new(),
            plain: Vec::new(),
            out: BytesMut::new(),
        }
    }

    /// What the client has to write goes on the wire.
    pub(super) fn pump(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire).unwrap();
        }
    }

    /// The session takes what it can of the wire.
    pub(super) fn take(&mut self) -> Result<Opened, TlsEnd> {
        let opened = self.session.open(&mut self.wire, &mut self.plain, &mut self.out)?;
        self.wire.drain(..opened.consumed);
        Ok(opened)
    }

    /// The client reads what the session has to say, and returns the plain text of it.
    pub(super) fn hear(&mut self) -> Result<Vec<u8>, rustls::Error> {
        let out = self.out.split();
        let (mut rest, mut plain) = (&out[..], Vec::new());
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets()?;
            let mut chunk = [0; 20_000];
            while let Ok(length @ 1..) = std::io::Read::read(&mut self.client.reader(), &mut chunk) {
                plain.extend_from_slice(&chunk[..length]);
            }
        }
        Ok(plain)
    }

    /// Both talk until neither has anything to say, or one fails: the session's error is returned, the client's only
    /// noted, because it shows in what the client says next.
    pub(super) fn shake(&mut self) -> Result<Opened, TlsEnd> {
        let mut last = Opened::default();
        loop {
            self.pump();
            if self.wire.is_empty() {
                return Ok(last);
            }
            last = self.take()?;
            let _ = self.hear();
        }
    }

    #[track_caller]
    pub(super) fn established(mut self) -> Self {
        let opened = self.shake().unwrap_or_else(|end| panic!("{end}"));
        assert!(opened.established && !opened.closed && !self.client.is_handshaking());
        self
    }

    /// Why the handshake fails, and the alert that the client gets.
    #[track_caller]
    pub(super) fn fails(mut self) -> (TlsEnd, Option<rustls::Error>) {
        let end = self.shake().unwrap_err();
        assert!(self.session.peer().is_none());
        (end, self.hear().err())
    }

    pub(super) fn says(&mut self, data: &[u8]) {
        std::io::Write::write_all(&mut self.client.writer(), data).unwrap();
        self.pump();
    }
}
