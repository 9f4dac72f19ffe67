//! A service that is asked over HTTP who may come in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What is answered to a question: status and body; `None` is no answer at all.
type Answers = dyn Fn(&Value) -> Option<(u16, String)> + Send + Sync;

/// A service on the loopback. Its threads end with the process, since nobody asks any more.
pub(crate) struct Service {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Service {
    pub(crate) fn new(answers: impl Fn(&Value) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, count): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&asked));
        std::thread::spawn(move || {
            let hanging = Arc::new(Mutex::new(Vec::new()));
            for stream in listener.incoming().map_while(Result::ok) {
                let (answers, count) = (Arc::clone(&answers), Arc::clone(&count));
                let hanging = Arc::clone(&hanging);
                std::thread::spawn(move || serve(&stream, &*answers, &count, &hanging));
            }
        });
        Self { address, asked }
    }

    /// Where it is asked.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/auth", self.address)
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, answers: &Answers, asked: &AtomicUsize, hanging: &Mutex<Vec<TcpStream>>) {
    let mut input = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if input.read_exact(&mut body).is_err() {
            return;
        }
        asked.fetch_add(1, Ordering::SeqCst);
        let Some((status, body)) = answers(&serde_json::from_slice(&body).unwrap()) else {
            // Open and silent.
            hanging.lock().unwrap().push(stream.try_clone().unwrap());
            return;
        };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}
