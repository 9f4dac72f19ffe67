//! @stomp/stompjs and MQTT.js in a browser: headless Chromium, on pages that the test serves.
//!
//! The page says what it did to the server that it came from. The browser has a home of its own and trusts there, beside
//! what every browser trusts, the authority that signed the broker's certificate; nothing is switched off.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use noctule::config::{ClientCertificates, Listener, Protocol, Tls};

use crate::data_dir::DataDir;
use crate::encrypted::{encrypted, free, made};
use crate::{Served, WAIT, missing};

const STOMP: Library =
    Library { name: "stomp", file: "@stomp/stompjs/bundles/stomp.umd.min.js", called: "@stomp/stompjs" };
const MQTT: Library = Library { name: "mqtt", file: "mqtt/dist/mqtt.min.js", called: "MQTT.js" };

/// What a page speaks with.
#[derive(Clone, Copy)]
struct Library {
    name: &'static str,
    /// Below `NOCTULE_NODE_MODULES`.
    file: &'static str,
    called: &'static str,
}

impl Library {
    /// Its script, unless something that the test needs is not installed.
    fn installed(self) -> Option<Vec<u8>> {
        for (program, package) in [("chromium", "chromium"), ("certutil", "libnss3-tools")] {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
                missing(&format!("there is no {program} (the package {package})"));
                return None;
            }
        }
        let modules = std::env::var("NOCTULE_NODE_MODULES").unwrap_or_default();
        let script = fs::read(Path::new(&modules).join(self.file));
        if script.is_err() {
            missing(&format!("NOCTULE_NODE_MODULES names no directory that holds {}", self.called));
        }
        script.ok()
    }

    fn parts(self) -> &'static [&'static str] {
        match self.name {
            "stomp" => &["connecting", "subscribing", "receiving", "acknowledging"],
            _ => &["connecting", "subscribing", "receiving"],
        }
    }
}

/// A web server on the loopback with one page; what the page says comes out of `said`.
struct Pages {
    origin: String,
    said: Receiver<String>,
    ended: Arc<AtomicBool>,
}

impl Pages {
    fn serve(library: &[u8]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let page = "<!doctype html><meta charset=utf-8><script src=/library.js></script><script src=/page.js></script>";
        let files = HashMap::from([
            ("/", ("text/html", page.as_bytes().to_vec())),
            ("/library.js", ("text/javascript", library.to_vec())),
            ("/page.js", ("text/javascript", include_bytes!("browser.js").to_vec())),
        ]);
        let (files, ended) = (Arc::new(files), Arc::new(AtomicBool::new(false)));
        let (sender, said) = channel();
        let over = Arc::clone(&ended);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // Browsers open connections on which they ask for nothing.
                let (files, sender) = (Arc::clone(&files), sender.clone());
                std::thread::spawn(move || answer(&connection, &files, &sender));
            }
        });
        Self { origin, said, ended }
    }

    /// Opens the page; returns what it did, and why it went no further if it did not.
    fn opened(&self, home: &Home, library: Library, url: &str) -> (Vec<String>, Option<String>) {
        let _browser = home.browse(&format!("{}/?library={}&url={url}", self.origin, library.name));
        let mut done = Vec::new();
        loop {
            let said = self.said.recv_timeout(2 * WAIT).expect("the page says nothing");
            if let Some(part) = said.strip_prefix("ok ") {
                done.push(part.to_owned());
            } else {
                return (done, said.strip_prefix("failed ").map(str::to_owned));
            }
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // It is waiting for a connection.
        let _ = TcpStream::connect(self.origin.trim_start_matches("http://"));
    }
}

fn answer(
    connection: &TcpStream,
    files: &HashMap<&str, (&str, Vec<u8>)>,
    said: &Sender<String>,
) -> Option<()> {
    connection.set_read_timeout(Some(WAIT)).ok()?;
    let mut reader = BufReader::new(connection);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut words = head.first()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?;
    if method == "POST" {
        let length = head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        })?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        said.send(String::from_utf8_lossy(&body).into_owned()).ok()?;
    }
    let nothing = ("text/plain", Vec::new());
    let (status, (kind, body)) = match files.get(path) {
        Some(file) => ("200 OK", file),
        None => ("204 No Content", &nothing),
    };
    let mut connection = connection;
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n");
    connection.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes()).ok()?;
    connection.write_all(body).ok()
}

/// Where a browser keeps its profile, and whom it trusts.
struct Home(DataDir);

impl Home {
    fn new() -> Self {
        let home = Self(DataDir::in_memory());
        fs::create_dir_all(home.trusted()).unwrap();
        home.certutil(&["-N", "--empty-password"]);
        home
    }

    fn trusted(&self) -> PathBuf {
        self.0.path().join(".pki/nssdb")
    }

    fn trust(&self, served: &Served) {
        let ca = format!("{}-certs/ca.pem", served.data().display());
        self.certutil(&["-A", "-n", "interop CA", "-t", "C,,", "-i", &ca]);
    }

    fn certutil(&self, arguments: &[&str]) {
        let database = format!("sql:{}", self.trusted().display());
        let output = Command::new("certutil").args(["-d", &database]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn browse(&self, url: &str) -> Browser {
        let profile = format!("--user-data-dir={}", self.0.path().join("profile").display());
        let mut command = Command::new("chromium");
        // Its own sandbox can't be had by root, nor in most containers; the pages are ours.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        // It asks nobody but us.
        command.args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"]);
        command.args([&*profile, url]).env("HOME", self.0.path());
        for variable in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            command.env_remove(variable);
        }
        Browser(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// A running browser, killed when its page is done.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // Its other processes notice, and write to the profile until then.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A broker whose first listener welcomes pages of one origin and speaks everything.
fn served(origin: &str) -> Served {
    Served::with(|config, data| {
        // A browser that is asked for its certificate has to ask somebody, and a page that connects is nobody.
        config.tls.push(Tls { client_ca: None, client_certificates: ClientCertificates::None, ..made(data) });
        let listener = Listener {
            protocol: Protocol::Auto,
            websocket: Some("/ws".into()),
            origins: vec![origin.into()],
            ..encrypted()
        };
        let stomp = Listener { protocol: Protocol::Stomp, address: free(), ..Listener::default() };
        config.listener = vec![listener, stomp];
    })
}

fn in_a_page(library: Library) {
    let Some(script) = library.installed() else { return };
    let (pages, others) = (Pages::serve(&script), Pages::serve(&script));
    let served = served(&pages.origin);
    let home = Home::new();
    let url = |way| format!("{way}://127.0.0.1:{}/ws", served.port());
    let all = (library.parts().iter().map(|&part| part.to_owned()).collect(), None);
    let nothing = |(done, why): (Vec<String>, Option<String>)| done.is_empty() && why.is_some();

    assert_eq!(pages.opened(&home, library, &url("ws")), all);
    assert!(nothing(others.opened(&home, library, &url("ws"))), "a page of another origin is let in");
    assert!(
        nothing(pages.opened(&home, library, &url("wss"))),
        "a broker that nobody vouches for is believed"
    );
    home.trust(&served);
    assert_eq!(pages.opened(&home, library, &url("wss")), all);
    assert!(nothing(others.opened(&home, library, &url("wss"))), "a page of another origin is let in");
}

#[test]
fn stompjs_in_a_page() {
    in_a_page(STOMP);
}

#[test]
fn mqttjs_in_a_page() {
    in_a_page(MQTT);
}
