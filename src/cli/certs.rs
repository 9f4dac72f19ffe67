//! `noctule certs`: certificates for development, and what to do with them next.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Exit;
use crate::certs::{self, CA, CA_KEY, ClientName, Made, Request, SERVER, SERVER_KEY, ServerName};

const AFTER_HELP: &str = "\
Examples:
  noctule certs                              a CA and a certificate for this machine, in certs/
  noctule certs --name gateway.local         one that clients elsewhere can use as well
  noctule certs --client press-7             a client's, by the CA that is there
  noctule certs --force --name 10.0.0.7      the broker's anew; clients go on trusting the CA

Without --force nothing is written over, and the CA never is. Keys are readable for you alone.

Exit codes: 0 done, 1 failed, 2 wrong command line.";

/// Arguments of `noctule certs`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CertsArgs {
    /// Where they go, and where the CA is if there is one
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,

    /// Another name or address of the broker, besides localhost and this machine's name (repeatable)
    #[arg(long, value_name = "HOST")]
    pub name: Vec<ServerName>,

    /// A client to make a certificate for: its user name (repeatable)
    #[arg(long, value_name = "NAME")]
    pub client: Vec<ClientName>,

    /// For how long they are valid
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,

    /// Replace certificates of the broker and of clients that exist
    #[arg(long)]
    pub force: bool,
}

impl CertsArgs {
    /// Makes them; what was made and what comes next goes to `out`.
    ///
    /// # Errors
    /// If they can't be made, see [`certs::CertsError`], or writing fails.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let request = Request {
            directory: self.dir.clone(),
            names: self.name.clone(),
            clients: self.client.clone(),
            days: self.days,
            force: self.force,
        };
        let made = certs::make(&request)?;
        self.list(&made, out)?;
        self.next_steps(&made, out)?;
        Ok(Exit::Done)
    }

    fn at(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn list(&self, made: &Made, out: &mut impl Write) -> std::io::Result<()> {
        if made.authority {
            writeln!(out, "made {}: the CA, which clients have to trust", self.at(CA))?;
            writeln!(out, "made {}: its key; whoever has it can make certificates too", self.at(CA_KEY))?;
        } else {
            writeln!(out, "used {}", self.at(CA))?;
        }
        if made.server {
            let names: Vec<String> = made.names.iter().map(ToString::to_string).collect();
            writeln!(
                out,
                "made {} and {}: the broker's, for {}",
                self.at(SERVER),
                self.at(SERVER_KEY),
                names.join(", ")
            )?;
        } else {
            writeln!(out, "kept {}", self.at(SERVER))?;
        }
        for client in &self.client {
            let (certificate, key) = (self.at(&client.certificate()), self.at(&client.key()));
            writeln!(out, "made {certificate} and {key}: for the client {}", client.as_str())?;
        }
        if made.server || !self.client.is_empty() {
            writeln!(out, "valid until {}", made.until)?;
        }
        Ok(())
    }

    fn next_steps(&self, made: &Made, out: &mut impl Write) -> std::io::Result<()> {
        if made.server {
            writeln!(out, "\nFor the configuration:\n")?;
            writeln!(out, "[[listener]]\nprotocol = \"mqtt\"")?;
            // What is pasted lets nobody in from elsewhere before somebody has said who that may be.
            writeln!(
                out,
                "address = \"127.0.0.1:8883\"    # \"0.0.0.0:8883\" for others, once [auth] says whom"
            )?;
            writeln!(out, "tls = \"development\"\n")?;
            writeln!(out, "[[tls]]\nname = \"development\"")?;
            let (chain, key) =
                (toml::Value::String(self.at(SERVER)), toml::Value::String(self.at(SERVER_KEY)));
            writeln!(out, "certificates = [{{ chain = {chain}, key = {key} }}]")?;
            writeln!(out, "client_ca = {}", toml::Value::String(self.at(CA)))?;
            writeln!(out, "client_certificates = \"optional\"    # or \"required\"")?;
        }
        writeln!(out, "\nTo try it:\n")?;
        write!(out, "mosquitto_sub -h localhost -p 8883 --cafile {}", quoted(&self.at(CA)))?;
        if let Some(client) = self.client.first() {
            let (certificate, key) = (self.at(&client.certificate()), self.at(&client.key()));
            write!(out, " --cert {} --key {}", quoted(&certificate), quoted(&key))?;
        }
        writeln!(out, " -t '#' -v")
    }
}

/// As a shell takes it for one word.
pub(super) fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
