//! The files that a configuration names: whether they are there, hold what they should, and who else can read them. They
//! are read by the rooms that read them for the broker; nothing is written.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Findings;
use crate::auth::http::Callback;
use crate::auth::jwt::Jwt;
use crate::auth::password::Users;
use crate::auth::{DecoyKey, LoadError};
use crate::broker::{auth_settings, tls_settings};
use crate::config::Config;
use crate::tls::Acceptor;

const DAY_S: u64 = 86_400;

/// Permission bits that let others change a file.
const OTHERS_WRITE: u32 = 0o022;

/// Permission bits that let everybody read a file.
const OTHERS_READ: u32 = 0o004;

pub(super) fn look(config: &Config, file: &Path, findings: &mut Findings) {
    certificates(config, findings);
    if config.is_authenticated()
        && let Err(error) = secrets(config, findings)
    {
        findings.wrong(format!("authentication: {error}"));
    }
    itself(config, file, findings);
    data_directory(config, findings);
}

fn certificates(config: &Config, findings: &mut Findings) {
    let now_s =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for tls in &config.tls {
        let name = tls.name.as_str();
        match Acceptor::load(&tls_settings(tls)) {
            Ok(acceptor) => {
                for warning in acceptor.warnings() {
                    findings.warn(format!("tls \"{name}\": {warning}"));
                }
                // What has expired is among the warnings.
                let days = acceptor.expires_s().saturating_sub(now_s) / DAY_S;
                findings.note(format!("tls \"{name}\": its certificates are valid for {days} more days"));
            }
            Err(error) => findings.wrong(format!("tls \"{name}\": {error}")),
        }
    }
}

fn secrets(config: &Config, findings: &mut Findings) -> Result<(), LoadError> {
    let decoy = DecoyKey::random()?;
    let settings = auth_settings(config, decoy.clone());
    let mut said = |error: LoadError| findings.wrong(format!("authentication: {error}"));
    let users = settings.password_file.as_deref().map(|path| Users::load(path, &decoy));
    let users = users.transpose().map_err(&mut said).ok().flatten();
    let jwt = settings.jwt.map(Jwt::load).transpose().map_err(&mut said).ok().flatten();
    let http = settings.http.map(|http| Callback::load(&http)).transpose().map_err(&mut said).ok().flatten();
    let warnings = users.iter().flat_map(Users::warnings);
    let warnings = warnings.chain(jwt.iter().flat_map(Jwt::warnings));
    for warning in warnings.chain(http.iter().flat_map(Callback::warnings)) {
        findings.warn(format!("authentication: {warning}"));
    }
    if let (Some(users), Some(path)) = (users, settings.password_file) {
        let path = path.display();
        match users.len() {
            0 => findings.warn(format!(
                "auth.password_file: there is nobody in it; add somebody with noctule passwd {path} NAME"
            )),
            1 => findings.note(format!("1 user in {path}")),
            number => findings.note(format!("{number} users in {path}")),
        }
    }
    Ok(())
}

/// The configuration decides who may do what, and may hold a service's password.
fn itself(config: &Config, file: &Path, findings: &mut Findings) {
    let Ok(about) = file.metadata() else { return };
    let (mode, shown) = (about.mode() & 0o7777, file.display());
    if about.is_file() && mode & OTHERS_WRITE != 0 {
        findings.warn(format!(
            "{shown}: others can change it, and with it who may do what (mode {mode:03o}); chmod go-w {shown}"
        ));
    }
    let has_password = config.auth_http.url.as_ref().is_some_and(|url| {
        let rest = url.as_str().split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().is_some_and(|authority| authority.contains('@'))
    });
    if has_password && mode & OTHERS_READ != 0 {
        findings.warn(format!(
            "{shown}: everybody can read the password in auth_http.url (mode {mode:03o}); chmod o-r {shown}"
        ));
    }
}

fn data_directory(config: &Config, findings: &mut Findings) {
    if !config.is_stored() {
        return;
    }
    let path = &config.server.data_dir;
    let shown = path.display();
    let mut warn = |words: &str| findings.warn(format!("server.data_dir: {shown}: {words}"));
    let may_write = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    match path.symlink_metadata() {
        Ok(about) if about.is_symlink() => {
            warn("it is a symbolic link, which the broker does not follow; name what it points to");
        }
        Ok(about) if !about.is_dir() => warn("it is no directory; name another"),
        Ok(about) if about.uid() != rustix::process::geteuid().as_raw() => {
            let owner = about.uid();
            warn(&format!(
                "it belongs to another user (number {owner}), and only that one can run the broker on it"
            ));
        }
        Ok(_) if !may_write(path) => warn("it can't be written; is its disk read-only?"),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = match path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            if !parent.is_dir() {
                warn(&format!("{} is not there, in which it would be made; make that", parent.display()));
            } else if !may_write(parent) {
                warn(&format!("it is not there, and {} can't be written to make it", parent.display()));
            }
        }
        Err(error) => warn(&format!("it can't be looked at: {error}")),
    }
}
