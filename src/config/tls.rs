//! `[[tls]]`: certificates and whom they are shown to. A listener names the block that it uses.
//!
//! The files are read by whoever opens the listener; here stands only which they are.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::section::{Setting, section, text, words};

section! {
    /// One way to be encrypted, for the listeners that name it. TLS with pre-shared keys is not spoken.
    pub struct Tls {
        /// What listeners call it. It has to be given.
        name: TlsName = TlsName::default(), Now;

        /// Certificate chains with their keys, PEM. The first is shown to clients that ask for none of the names in the
        /// others (SNI). At least one. `noctule certs` makes some for development.
        certificates: Vec<Certificate> = Vec::new(), Now;

        /// Certificates of those who may sign clients' certificates, PEM: none.
        client_ca: Option<File> = None, Now;

        /// Whether clients show a certificate: `"none"`.
        client_certificates: ClientCertificates = ClientCertificates::None, Now;

        /// Certificates that are no longer good, PEM: none. Of every authority in `client_ca`, or its clients are refused.
        crl: Option<File> = None, Now;

        /// Where in a client's certificate its user name stands: `"cn"`.
        identity: CertificateName = CertificateName::CommonName, Now;

        /// Oldest version spoken: `"1.2"`, because older ones are broken.
        min_version: TlsVersion = TlsVersion::V12, Now;

        /// Application protocols that are agreed on with clients (ALPN, RFC 7301), the best first: none, what clients
        /// offer is passed over. With any, a client that offers only others is refused; one that offers nothing is not.
        /// Browsers offer `"http/1.1"` for WebSocket.
        alpn: Vec<ApplicationProtocol> = Vec::new(), Now;
    }
}

words! {
    /// Whether clients show a certificate.
    pub enum ClientCertificates {
        /// They are not asked.
        None = "none",
        /// They are asked, and may come without.
        Optional = "optional",
        /// Who has none is refused.
        Required = "required",
    }
}

words! {
    /// Where in a client's certificate its user name stands.
    pub enum CertificateName {
        /// The subject's common name.
        CommonName = "cn",
        /// The first DNS name.
        Dns = "dns",
        /// The first URI.
        Uri = "uri",
        /// The first e-mail address.
        Email = "email",
        /// SHA-256 over the whole certificate, in small hexadecimal letters.
        Fingerprint = "fingerprint",
    }
}

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// RFC 5246.
        V12 = "1.2",
        /// RFC 8446.
        V13 = "1.3",
    }
}

text! {
    /// The name of a `[[tls]]`.
    pub struct TlsName = "a name such as \"plant\"";
}

text! {
    /// The name of what is spoken through TLS, 1 to 255 bytes.
    pub struct ApplicationProtocol = "a name such as \"mqtt\" or \"http/1.1\"";
}

text! {
    /// The path of a file, relative to the working directory.
    pub struct File = "a file such as \"certs/ca.pem\" or \"/etc/noctule/ca.pem\"";
}

impl File {
    /// The path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(self.as_str())
    }
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, PEM, the server's own certificate first.
    pub chain: PathBuf,
    /// The key of that certificate, PEM, without a passphrase.
    pub key: PathBuf,
}

impl Setting for Certificate {
    fn expected(_: Option<RangeInclusive<u64>>) -> String {
        "{ chain = \"certs/server.pem\", key = \"certs/server.key\" }".to_owned()
    }

    fn written(&self) -> String {
        format!(
            "{{ chain = {:?}, key = {:?} }}",
            self.chain.display().to_string(),
            self.key.display().to_string()
        )
    }
}
