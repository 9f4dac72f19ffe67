//! How `pub`, `sub` and `stomp` encrypt their connection. The files are read elsewhere.

use std::path::PathBuf;

use clap::Args;

use super::address::BrokerUrl;

/// TLS of a connection to a broker.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Encrypt the connection; mqtts:// and stomp+ssl:// say the same, and so do --cafile and --cert
    #[arg(long)]
    pub tls: bool,

    /// Trust the CAs of this PEM file, instead of those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,

    /// Certificate of the client, PEM, if the broker wants one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Its key, PEM, without a passphrase
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// Take the broker's certificate whatever name it is for: whoever has any certificate of the same CA can pose as the
    /// broker then, and gets the password
    #[arg(long)]
    pub insecure: bool,
}

impl TlsArgs {
    /// Whether any of its flags asks for encryption.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.tls || self.cafile.is_some() || self.cert.is_some() || self.insecure
    }

    /// Refuses a URL that says the contrary: neither would be what was meant.
    pub(super) fn check(&self, command: &[&str], url: Option<&BrokerUrl>) -> Result<(), clap::Error> {
        match url {
            Some(url) if self.is_asked() && !url.tls => Err(super::usage(
                command,
                format!("the URL is one without TLS, and TLS is asked for; write {}", url.protocol.secure()),
            )),
            _ => Ok(()),
        }
    }
}
