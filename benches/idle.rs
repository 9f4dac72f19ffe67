//! What an idle client costs: memory per connection after each has subscribed, received and sent one message, and
//! what the broker does while nobody does anything.
//!
//! `cargo bench --bench idle -- --port P --pid N [--clients 5000] [--hold 30] [--stomp]` against a running broker, ours or
//! any other; `--pid` is the broker's, and with `--stomp` the port speaks that instead of MQTT. Clients spread over 127.0.1.1, 127.0.1.2, … so that neither ports nor a limit per
//! address runs out. The file limit of both processes must allow that many sockets (`ulimit -n`).

#![allow(clippy::print_stdout, reason = "the figures are its output")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Publish, Subscribe, Subscription, Subscriptions, Version};
use socket2::{Domain, Socket, Type};

/// Clients from one source address, below the default limit per address.
const PER_ADDRESS: usize = 1_500;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: Option<u64>| {
        let given = arguments.iter().position(|argument| argument == name);
        let given = given.and_then(|place| arguments.get(place + 1)).and_then(|text| text.parse().ok());
        given.or(default)
    };
    // `cargo bench` without arguments builds and runs everything: there is nothing to measure then.
    let (Some(port), Some(pid)) = (number("--port", None), number("--pid", None)) else {
        println!("idle: needs --port and --pid of a running broker; see the head of benches/idle.rs");
        return Ok(());
    };
    let (port, clients) = (u16::try_from(port)?, number("--clients", Some(5_000)).unwrap_or(5_000) as usize);
    let stomp = arguments.iter().any(|argument| argument == "--stomp");
    let hold = number("--hold", Some(30)).unwrap_or(30);
    let before = rss_bytes(pid)?;
    let mut sockets = Vec::with_capacity(clients);
    for number in 0..clients {
        sockets.push(if stomp { stomp_client(number, port)? } else { client(number, port)? });
    }
    std::thread::sleep(Duration::from_secs(1));
    let (cpu, switches) = (cpu_ticks(pid)?, voluntary_switches(pid)?);
    std::thread::sleep(Duration::from_secs(hold));
    let after = rss_bytes(pid)?;
    let (cpu, switches) = (cpu_ticks(pid)? - cpu, voluntary_switches(pid)? - switches);
    println!("start-up RSS          {:.2} MB", before as f64 / 1e6);
    println!("RSS with {clients} clients {:.2} MB", after as f64 / 1e6);
    println!("RSS per client        {} bytes", (after.saturating_sub(before)) / clients as u64);
    println!("idle CPU              {:.2} ms/s", cpu as f64 * 10.0 / hold as f64);
    println!("idle wake-ups         {:.2} /s", switches as f64 / hold as f64);
    Ok(())
}

/// Connects, subscribes to a topic of its own, publishes to it at QoS 1 and takes the message in.
fn client(number: usize, port: u16) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = connect(number, port)?;
    let (client_id, topic) = (format!("idle-{number}"), format!("site/{number}/state"));
    let packet_id = std::num::NonZeroU16::MIN;
    let mut out = BytesMut::new();
    Connect { keep_alive_s: 600, ..Connect::new(Version::V311, &client_id) }.encode(&mut out)?;
    let wanted = [Subscription::new(&topic, Qos::AtMostOnce)];
    let subscriptions = Subscriptions::Given(&wanted);
    Subscribe { packet_id, subscription_id: None, user_properties: Default::default(), subscriptions }
        .encode(Version::V311, &mut out)?;
    let mut publish = Publish::new(&topic, &[b'x'; 64]);
    publish.qos = Qos::AtLeastOnce;
    publish.packet_id = Some(packet_id);
    publish.encode(Version::V311, &mut out)?;
    stream.write_all(&out)?;
    // CONNACK 4, SUBACK 5, PUBACK 4 and the message, in whatever order they come.
    let expected = 4 + 5 + 4 + (2 + 2 + topic.len() + 64);
    let mut answer = vec![0; expected];
    stream.read_exact(&mut answer)?;
    Ok(stream)
}

/// As [`client`], over STOMP: acknowledges each message by itself, and waits for the receipt of what it publishes.
fn stomp_client(number: usize, port: u16) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = connect(number, port)?;
    let topic = format!("/topic/site/{number}/state");
    let body = "x".repeat(64);
    write!(stream, "CONNECT\naccept-version:1.2\nhost:idle\n\n\0")?;
    write!(stream, "SUBSCRIBE\nid:0\nack:client-individual\ndestination:{topic}\n\n\0")?;
    write!(stream, "SEND\ndestination:{topic}\nreceipt:sent\n\n{body}\0")?;
    let message = frame_with(&mut stream, "MESSAGE\n")?;
    let id = message.lines().find_map(|line| line.strip_prefix("ack:")).ok_or("no ack in MESSAGE")?;
    write!(stream, "ACK\nid:{id}\nreceipt:acked\n\n\0")?;
    frame_with(&mut stream, "receipt-id:acked\n")?;
    Ok(stream)
}

/// Reads frames up to and with the one that holds `wanted`.
fn frame_with(stream: &mut TcpStream, wanted: &str) -> Result<String, Box<dyn Error>> {
    let mut read = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        read.push(byte[0]);
        if byte == [0] {
            let frame = String::from_utf8(std::mem::take(&mut read))?;
            if frame.contains(wanted) {
                return Ok(frame);
            }
        }
    }
}

/// A connection from an address that has room for one more.
fn connect(number: usize, port: u16) -> Result<TcpStream, Box<dyn Error>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let last = u8::try_from(number / PER_ADDRESS + 1)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn rss_bytes(pid: u64) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? * 1024)
}

/// User and system time of the process, in hundredths of a second.
fn cpu_ticks(pid: u64) -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
    let field =
        |place: usize| fields.get(place).ok_or("too few fields")?.parse::<u64>().map_err(|_| "no number");
    Ok(field(11)? + field(12)?)
}

/// Voluntary context switches of all threads: how often the process woke up.
fn voluntary_switches(pid: u64) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let line =
            status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).ok_or("no switches")?;
        sum += line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()?;
    }
    Ok(sum)
}
