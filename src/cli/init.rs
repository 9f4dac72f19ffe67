//! `noctule init`: a configuration that other machines can use safely, with certificates, a user and a random password.
//!
//! Certificates are made as by `noctule certs`, the user as by `noctule passwd`; here it is put together and said what
//! comes next. Nothing that exists is written over.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::Exit;
use super::address::Scheme;
use super::certs::quoted;
use super::passwd;
use crate::auth::password::{Entry, Hash, PasswordFileEditor};
use crate::auth::scram::Verifier;
use crate::certs::{self, CA, CA_KEY, Made, Request, SERVER, SERVER_KEY, ServerName};

const CONFIG: &str = "noctule.toml";
const USERS: &str = "users";
const CERTS: &str = "certs";

/// What a configuration is called that made room for a new one.
const BEFORE: &str = "noctule.toml.before-init";

/// Where the service of the package has its store: `StateDirectory=` of its unit.
const SERVICE_DATA: &str = "/var/lib/noctule";

/// For how long certificates are valid, days; what all clients accept.
const DAYS: u32 = 825;

/// Letters of a password: none that looks like another, and a power of two of them, so that each is as likely.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Groups of five letters in a password: 20 letters of five bits.
const GROUPS: usize = 4;

const AFTER_HELP: &str = "\
Examples:
  sudo noctule init --service --host gateway.local
  noctule init --dir gateway --host gateway.local --host 10.0.0.7 --user alice

MQTT and STOMP are served with TLS to other machines and without to this one, to those who have a password. Name with
--host what clients will connect to: the certificate is for these names only, besides localhost and this machine's own
name. Nothing that exists is written over. The password is shown once.

Exit codes: 0 done, 1 failed, 2 wrong command line.";

/// Arguments of `noctule init`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct InitArgs {
    /// Where noctule.toml, users and certs go; made if it is not there
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".",
        default_value_if("service", "true", Some("/etc/noctule"))
    )]
    pub dir: PathBuf,

    /// For the systemd service: in /etc/noctule, readable for its group, with the store in /var/lib/noctule; a
    /// noctule.toml that is there is kept as noctule.toml.before-init
    #[arg(long)]
    pub service: bool,

    /// A name or address that clients know this machine by (repeatable)
    #[arg(long, value_name = "NAME")]
    pub host: Vec<ServerName>,

    /// The first user, who may do everything
    #[arg(long, value_name = "NAME", default_value = "admin", value_parser = passwd::user)]
    pub user: String,
}

impl InitArgs {
    /// Makes the files; what was made, the password and what comes next go to `out`.
    ///
    /// # Errors
    /// If something is there already, or a file can't be made, or the password can't be shown; nothing that was made is
    /// left then, so that the next try begins anew.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let home = Home::open(&self.dir, self.service)?;
        let draft = Draft::of(&home);
        home.make_room()?;
        let made = certs::make(&Request {
            directory: home.certs(),
            names: self.host.clone(),
            clients: Vec::new(),
            days: DAYS,
            force: false,
        })?;
        let password = password()?;
        home.add_user(&self.user, &password)?;
        home.write_config(&self.user)?;
        home.hand_over()?;
        self.report(&home, &made, &password, out)?;
        out.flush()?;
        draft.keep();
        Ok(Exit::Done)
    }

    fn report(&self, home: &Home, made: &Made, password: &str, out: &mut impl Write) -> io::Result<()> {
        let shown = |path: &Path| quoted(&path.display().to_string());
        let (config, users, ca) = (home.config(), home.users(), home.certs().join(CA));
        let names: Vec<String> = made.names.iter().map(ToString::to_string).collect();
        // After localhost and its two addresses comes this machine's name, unless that is localhost again.
        let host = self.host.first().map(ToString::to_string).or_else(|| names.get(3).cloned());
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        writeln!(out, "made {}", config.display())?;
        writeln!(
            out,
            "made {}: a CA and the broker's certificate, until {}, for {}",
            home.certs().display(),
            made.until,
            names.join(", ")
        )?;
        writeln!(
            out,
            "made {}: the user {}, with a password that is shown only here:",
            users.display(),
            self.user
        )?;
        writeln!(out, "\n  {password}\n")?;
        if self.service {
            writeln!(out, "Have the service take it up:\n\n  sudo systemctl restart noctule\n")?;
        } else {
            writeln!(out, "Start the broker, as the user that this was made by:\n")?;
            writeln!(out, "  noctule run -c {}\n", shown(&config))?;
        }
        let (user, ca_word) =
            (quoted(&self.user), if self.service { "ca.pem".to_owned() } else { shown(&ca) });
        if self.service {
            writeln!(out, "Try it, here or on another machine, with a copy of what is no secret:\n")?;
            writeln!(out, "  sudo cat {} > {ca_word}", shown(&ca))?;
        } else {
            let ca = ca.display();
            writeln!(out, "Try it, here or (with a copy of {ca}, which is no secret) on another machine:\n")?;
        }
        writeln!(
            out,
            "  mosquitto_sub -h {host} -p {} --cafile {ca_word} -u {user} -P {password} -t '#' -v",
            Scheme::Mqtt.port(true)
        )?;
        writeln!(
            out,
            "  noctule pub --tls -H {host} --cafile {ca_word} -u {user} -P {password} -t sensors/attic -m 21.5\n"
        )?;
        writeln!(out, "What an app on a phone, or any other client, wants to know:\n")?;
        writeln!(out, "  host      {host}")?;
        writeln!(
            out,
            "  port      {} for MQTT, {} for STOMP, with TLS (SSL)",
            Scheme::Mqtt.port(true),
            Scheme::Stomp.port(true)
        )?;
        writeln!(out, "  CA file   {}", ca.display())?;
        writeln!(out, "  user      {}", self.user)?;
        writeln!(out, "  password  as above\n")?;
        if self.host.is_empty() {
            writeln!(
                out,
                "That host is what this machine calls itself. If others know it by another name or address:\n\n  \
                 noctule certs --dir {} --force --name NAME\n",
                shown(&home.certs())
            )?;
        }
        let (sudo, reload) = if self.service {
            ("sudo ", "sudo systemctl reload noctule")
        } else {
            ("", "kill -HUP of the broker")
        };
        writeln!(
            out,
            "The next device: {sudo}noctule passwd {} NAME --groups sensors, then {reload}. It may publish\n\
             sensors/NAME/...; who may do what else is said in {}.",
            shown(&users),
            config.display()
        )
    }
}

/// What is being made and is not to stay if that fails half-way: a user whose password nobody has seen helps nobody.
struct Draft {
    made: Vec<PathBuf>,
    /// A configuration that made room, and where it was.
    moved: Option<(PathBuf, PathBuf)>,
}

impl Draft {
    /// Those files of `home` that are not there yet.
    fn of(home: &Home) -> Self {
        let certs = [CA, CA_KEY, SERVER, SERVER_KEY].map(|name| home.certs().join(name));
        let all = certs.into_iter().chain([home.users(), home.config()]);
        let moved = home.has_config().then(|| (home.before(), home.config()));
        Self { made: all.filter(|path| path.symlink_metadata().is_err()).collect(), moved }
    }

    /// All is made.
    fn keep(mut self) {
        self.made.clear();
        self.moved = None;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for path in &self.made {
            // Most were not made yet; what can't be taken away is named by the next try.
            let _ = std::fs::remove_file(path);
        }
        if let Some((from, to)) = &self.moved {
            // Over what was half made; if it had not been moved yet, there is nothing to move back.
            let _ = std::fs::rename(from, to);
        }
    }
}

/// The directory of all of it, by its whole path: the broker may be started from anywhere.
struct Home {
    path: PathBuf,
    /// The group that the broker runs as, if that is another's than who makes all this: the directory's.
    group: Option<u32>,
}

impl Home {
    /// Makes the directory, for its owner alone, if only it is missing; refuses one with anything of ours in it. A
    /// `service` has its directory already, and a configuration that was installed with it.
    fn open(path: &Path, service: bool) -> anyhow::Result<Self> {
        let failed = |what, error| anyhow::anyhow!("can't {what} {}: {error}", path.display());
        if !service {
            match std::fs::DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", error)),
            }
        }
        let path = path.canonicalize().map_err(|error| failed("find", error))?;
        let group = if service { Some(group_of(&path)?) } else { None };
        let home = Self { path, group };
        if home.path.to_str().is_none() {
            anyhow::bail!(
                "{} is not UTF-8, which a configuration is; name another --dir",
                home.path.display()
            );
        }
        let config = if service { home.before() } else { home.config() };
        for path in [config, home.users(), home.certs().join(SERVER), home.certs().join(SERVER_KEY)] {
            // A broken link is there as well.
            if path.symlink_metadata().is_ok() {
                anyhow::bail!("{} is there already; move it away, or name another --dir", path.display());
            }
        }
        Ok(home)
    }

    /// Sets aside what is there; only a service's is.
    fn make_room(&self) -> anyhow::Result<()> {
        if !self.has_config() {
            return Ok(());
        }
        let (from, to) = (self.config(), self.before());
        std::fs::rename(&from, &to)
            .map_err(|error| anyhow::anyhow!("can't rename {} to {}: {error}", from.display(), to.display()))
    }

    /// Has the group read what the broker reads: not the key of the CA, which it has no use for.
    fn hand_over(&self) -> anyhow::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        let certs = self.certs();
        let (config, key) = (self.config(), certs.join(SERVER_KEY));
        for (path, mode) in [(certs, 0o750), (key, 0o640), (self.users(), 0o640), (config, 0o640)] {
            chown(&path, None, Some(group))
                .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)))
                .map_err(|error| anyhow::anyhow!("can't give {} to the service: {error}", path.display()))?;
        }
        Ok(())
    }

    fn has_config(&self) -> bool {
        self.config().symlink_metadata().is_ok()
    }

    fn before(&self) -> PathBuf {
        self.path.join(BEFORE)
    }

    fn data(&self) -> PathBuf {
        if self.group.is_some() { SERVICE_DATA.into() } else { self.path.join("data") }
    }

    fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    fn users(&self) -> PathBuf {
        self.path.join(USERS)
    }

    fn certs(&self) -> PathBuf {
        self.path.join(CERTS)
    }

    fn add_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        let hash = Hash::of(password.as_bytes())?;
        let scram = Some(Verifier::of(password)?);
        let mut editor = PasswordFileEditor::open(&self.users())?;
        editor.put(&Entry { user: user.to_owned(), hash, groups: Vec::new(), scram });
        editor.save()?;
        Ok(())
    }

    fn write_config(&self, user: &str) -> anyhow::Result<()> {
        let path = self.config();
        let failed = |error| anyhow::anyhow!("can't write {}: {error}", path.display());
        // There is no secret in it.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path).map_err(failed)?;
        file.write_all(self.text(user).as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// The configuration.
    fn text(&self, user: &str) -> String {
        let value = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: PathBuf| value(&path.display().to_string());
        let [data, users] = [self.data(), self.users()].map(path);
        let [chain, key] = [SERVER, SERVER_KEY].map(|name| path(self.certs().join(name)));
        let user = value(user);
        let [mqtt, mqtts, stomp, stomps] =
            [(Scheme::Mqtt, false), (Scheme::Mqtt, true), (Scheme::Stomp, false), (Scheme::Stomp, true)]
                .map(|(scheme, tls)| scheme.port(tls));
        format!(
            "\
# Noctule, as `noctule init` wrote it. What is not said here has its default; config/noctule.toml of the source has every
# key. After a change: noctule check -c FILE, then kill -HUP of the broker.

[server]
data_dir = {data}

# Who comes in: the users of this file, which `noctule passwd` writes.
[auth]
chain = [\"password\"]
password_file = {users}

# Who may do what: the first rule that fits decides, and what none allows is denied.
[[acl]]
users = [{user}]
allow = [\"publish\", \"subscribe\", \"retain\", \"manage\"]
topics = [\"#\", \"$queue/#\", \"$SYS/#\"]

# Devices of this group (noctule passwd FILE NAME --groups sensors) publish below their own names (%u), and hear what is
# for them.
[[acl]]
groups = [\"sensors\"]
allow = [\"publish\", \"retain\"]
topics = [\"sensors/%u/#\"]
[[acl]]
groups = [\"sensors\"]
allow = [\"subscribe\"]
topics = [\"commands/%u/#\"]

# What is for everybody:
#[[acl]]
#users = [\"*\"]
#allow = [\"subscribe\"]
#topics = [\"public/#\"]

# Who may look after the broker on the dashboard, http://127.0.0.1:9883/.
[admin]
users = [{user}]

[[tls]]
name = \"gateway\"
certificates = [{{ chain = {chain}, key = {key} }}]

# Other machines, with TLS.
[[listener]]
protocol = \"mqtt\"
address = \"0.0.0.0:{mqtts}\"
tls = \"gateway\"
anonymous = false

[[listener]]
protocol = \"stomp\"
address = \"0.0.0.0:{stomps}\"
tls = \"gateway\"
anonymous = false

# Web pages of this host, over WebSocket:
#[[listener]]
#protocol = \"mqtt\"
#address = \"0.0.0.0:8084\"
#tls = \"gateway\"
#websocket = \"/mqtt\"
#anonymous = false

# Programs on this machine, without TLS; they too have to say who they are.
[[listener]]
protocol = \"mqtt\"
address = \"127.0.0.1:{mqtt}\"
anonymous = false

[[listener]]
protocol = \"stomp\"
address = \"127.0.0.1:{stomp}\"
anonymous = false
"
        )
    }
}

/// The group that a service's directory belongs to, which is how the package says what the service runs as.
fn group_of(directory: &Path) -> anyhow::Result<u32> {
    let shown = directory.display();
    let about = directory.metadata().map_err(|error| anyhow::anyhow!("can't look at {shown}: {error}"))?;
    if !about.is_dir() {
        anyhow::bail!("{shown} is no directory");
    }
    if about.gid() == 0 {
        anyhow::bail!(
            "{shown} belongs to the group of root, which the service is not in; chgrp noctule {shown}, or install the package"
        );
    }
    Ok(about.gid())
}

/// A password of 100 random bits, in letters that can be typed on a phone.
fn password() -> anyhow::Result<Zeroizing<String>> {
    let mut random = Zeroizing::new([0_u8; GROUPS * 5]);
    getrandom::fill(&mut *random)
        .map_err(|error| anyhow::anyhow!("no random bytes from the system: {error}"))?;
    let mut password = Zeroizing::new(String::with_capacity(GROUPS * 6));
    for (at, byte) in random.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            password.push('-');
        }
        password.extend(LETTERS.get(usize::from(byte % 32)).map(|letter| char::from(*letter)));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configuration_is_right_whatever_the_names_are() {
        for (home, user) in [("/etc/noctule", "admin"), ("/srv/a \"b\" \\c", "O'Brien \"x\" \\")] {
            let text = Home { path: home.into(), group: None }.text(user);
            let config = Config::parse(&text, "FILE").unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(config.server.data_dir, Path::new(home).join("data"));
            assert_eq!(config.acl[0].users[0].as_str(), user);
            assert!(config.is_authenticated());
            assert!(
                config.listener.iter().all(|listener| listener.tls.is_some() || listener.address.is_local())
            );
            // What is commented out for the next user is right as well.
            let examples = text.replace("\n#[[", "\n[[").replace("\n#users", "\nusers");
            assert_eq!(config.admin.users.len(), 1);
            let examples = ["allow", "topics", "protocol", "address", "tls", "websocket", "anonymous"]
                .iter()
                .fold(examples, |text, key| text.replace(&format!("\n#{key} ="), &format!("\n{key} =")));
            let config =
                Config::parse(&examples, "FILE").unwrap_or_else(|error| panic!("{error}\n{examples}"));
            assert_eq!((config.acl.len(), config.listener.len()), (4, 5));
        }
    }

    /// Standard output that is a full disk.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_fails_half_way_leaves_nothing_and_can_be_done_again() {
        let dir = std::env::temp_dir().join(format!("noctule-init-{}", std::process::id()));
        let user = "admin".to_owned();
        let init = InitArgs { dir: dir.clone(), service: false, host: Vec::new(), user };
        let files = || {
            let all = [CA, CA_KEY, SERVER, SERVER_KEY].map(|name| dir.join(CERTS).join(name));
            let all = all.into_iter().chain([dir.join(USERS), dir.join(CONFIG)]);
            all.filter(|path| path.exists()).count()
        };
        init.run(&mut Full).unwrap_err();
        assert_eq!(files(), 0);
        // A CA that was there before is not ours to take away.
        std::fs::create_dir_all(dir.join(CERTS)).unwrap();
        let request = Request {
            directory: dir.join(CERTS),
            names: Vec::new(),
            clients: Vec::new(),
            days: DAYS,
            force: false,
        };
        certs::make(&request).unwrap();
        for name in [SERVER, SERVER_KEY] {
            std::fs::remove_file(dir.join(CERTS).join(name)).unwrap();
        }
        init.run(&mut Full).unwrap_err();
        assert_eq!(files(), 2);
        init.run(&mut Vec::new()).unwrap();
        assert_eq!(files(), 6);
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// The tests' user may be in one group only; a directory of root's group is none that a service is in.
    #[test]
    fn a_service_reads_what_it_needs_and_finds_its_old_configuration_again() {
        let dir = std::env::temp_dir().join(format!("noctule-init-service-{}", std::process::id()));
        let user = "admin".to_owned();
        let init = InitArgs { dir: dir.clone(), service: true, host: Vec::new(), user };
        init.run(&mut Vec::new()).unwrap_err();
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(CONFIG), "# the package's\n").unwrap();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            assert!(init.run(&mut Vec::new()).unwrap_err().to_string().contains("chgrp noctule"));
            chown(&dir, None, Some(4_711)).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        if dir.metadata().unwrap().gid() != 0 {
            // What fails puts it back.
            init.run(&mut Full).unwrap_err();
            assert_eq!(read(CONFIG), "# the package's\n");
            assert!(!dir.join(BEFORE).exists());
            let mut said = Vec::new();
            init.run(&mut said).unwrap();
            let said = String::from_utf8(said).unwrap();
            assert!(said.contains("sudo systemctl restart noctule"), "{said}");
            assert_eq!(read(BEFORE), "# the package's\n");
            let config = Config::parse(&read(CONFIG), "FILE").unwrap();
            assert_eq!(config.server.data_dir, Path::new(SERVICE_DATA));
            let group = dir.metadata().unwrap().gid();
            for (name, mode) in [(CONFIG, 0o640), (USERS, 0o640), (CERTS, 0o750), ("certs/server.key", 0o640)]
            {
                let about = dir.join(name).metadata().unwrap();
                assert_eq!((about.gid(), about.mode() & 0o777), (group, mode), "{name}");
            }
            assert_eq!(dir.join("certs/ca.key").metadata().unwrap().mode() & 0o777, 0o600);
            // Once more: nothing is written over.
            let again = init.run(&mut Vec::new()).unwrap_err().to_string();
            assert!(again.contains("is there already"), "{again}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn passwords_differ_and_have_no_letters_to_be_mixed_up() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_ne!(*one, *other);
        assert_eq!(one.len(), 23);
        assert!(one.split('-').all(|group| group.len() == 5), "{}", *one);
        assert!(!one.contains(['l', 'o', '0', '1']), "{}", *one);
    }
}
