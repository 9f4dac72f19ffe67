//! The relay as programs on tokio usually are: a task that reads and one that writes for each connection, with a channel
//! between them, all on one thread.
//!
//! At a fixed rate, where each message is a wake-up of its own, it is the floor of what such a program can cost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::wire::{self, MAX_PACKET, Packet, field, matches, split};

/// What is read from a connection at once, bytes.
const READ: usize = 64 * 1024;

/// What is written to a connection, by the task that writes to it.
type Out = UnboundedSender<Rc<[u8]>>;

/// Who wants what.
#[derive(Default)]
struct Wants {
    /// By topic.
    plain: BTreeMap<Vec<u8>, Vec<Out>>,
    /// Filters with wildcards.
    wild: Vec<(Vec<u8>, Out)>,
}

/// Serves until it is killed.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let wants = Rc::<RefCell<Wants>>::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(connection(stream, Rc::clone(&wants)));
        }
    })
}

async fn connection(stream: TcpStream, wants: Rc<RefCell<Wants>>) {
    let (mut reading, mut writing) = stream.into_split();
    let (out, mut waiting) = unbounded_channel::<Rc<[u8]>>();
    tokio::task::spawn_local(async move {
        let mut together = Vec::new();
        while let Some(first) = waiting.recv().await {
            together.extend_from_slice(&first);
            while together.len() < READ
                && let Ok(next) = waiting.try_recv()
            {
                together.extend_from_slice(&next);
            }
            if writing.write_all(&together).await.is_err() {
                return;
            }
            together.clear();
        }
    });
    let mut reader = Reader { out, wants, v5: false, next_id: 0 };
    let mut unread = Vec::with_capacity(READ);
    while let Ok(1..) = reading.read_buf(&mut unread).await {
        let Ok(used) = reader.packets(&unread) else { break };
        unread.drain(..used);
        if unread.len() > MAX_PACKET {
            break;
        }
        unread.reserve(READ);
    }
    reader.leave();
}

struct Reader {
    out: Out,
    wants: Rc<RefCell<Wants>>,
    v5: bool,
    next_id: u16,
}

impl Reader {
    /// Does what the packets say; how many bytes they were.
    fn packets(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some((packet, behind)) = split(rest)? {
            self.packet(&packet).ok_or(ErrorKind::InvalidData)?;
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }

    /// `None` where it makes no sense, or the client goes.
    fn packet(&mut self, packet: &Packet<'_>) -> Option<()> {
        match packet.head >> 4 {
            1 => {
                let (v5, answer) = wire::connected(packet.body)?;
                self.v5 = v5;
                self.say(answer);
            }
            3 => self.publish(packet)?,
            5 | 6 => {
                let id = packet.body.first_chunk::<2>()?;
                let kind = if packet.head >> 4 == 5 { 0x62 } else { 0x70 };
                self.say(&[kind, 2, id[0], id[1]]);
            }
            8 => {
                let (filters, answer) = wire::subscribe(packet.body, self.v5)?;
                let mut wants = self.wants.borrow_mut();
                for filter in filters {
                    let out = self.out.clone();
                    if filter.iter().any(|byte| matches!(byte, b'+' | b'#')) {
                        wants.wild.push((filter, out));
                    } else {
                        wants.plain.entry(filter).or_default().push(out);
                    }
                }
                drop(wants);
                self.say(&answer);
            }
            12 => self.say(&[0xd0, 0]),
            14 => return None,
            _ => {}
        }
        Some(())
    }

    fn publish(&mut self, packet: &Packet<'_>) -> Option<()> {
        let (topic, rest) = field(packet.body)?;
        let mut bytes = packet.whole.to_vec();
        if packet.qos() > 0 {
            let id = rest.first_chunk::<2>()?;
            self.say(&[if packet.qos() == 1 { 0x40 } else { 0x50 }, 2, id[0], id[1]]);
            // Its own count will do: nobody looks at the acknowledgements.
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            let at = packet.whole.len() - rest.len();
            bytes.get_mut(at..at + 2)?.copy_from_slice(&self.next_id.to_be_bytes());
        }
        let bytes: Rc<[u8]> = bytes.into();
        let wants = self.wants.borrow();
        let wild = wants.wild.iter().filter(|(filter, _)| matches(filter, topic)).map(|(_, to)| to);
        for to in wants.plain.get(topic).into_iter().flatten().chain(wild) {
            // Whoever is gone is told of by its own task.
            let _ = to.send(Rc::clone(&bytes));
        }
        Some(())
    }

    fn say(&self, bytes: &[u8]) {
        let _ = self.out.send(bytes.into());
    }

    fn leave(&self) {
        let mut wants = self.wants.borrow_mut();
        wants.wild.retain(|(_, out)| !out.same_channel(&self.out));
        for outs in wants.plain.values_mut() {
            outs.retain(|out| !out.same_channel(&self.out));
        }
    }
}
