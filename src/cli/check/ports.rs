//! Which of the configured addresses somebody listens on, and who, by what the kernel shows in /proc. Nothing is bound and
//! nobody is called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::Findings;
use crate::config::{Address, Config};

/// A listening socket's state in /proc/net/tcp.
const LISTEN: &str = "0A";

/// What a Unix socket that listens has among its flags in /proc/net/unix (`__SO_ACCEPTCON`).
const ACCEPTS: u32 = 0x1_0000;

/// Our program's name.
const OURS: &str = "noctule";

pub(super) fn look(config: &Config, findings: &mut Findings) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let taken: Vec<(SocketAddr, u64)> =
        read("tcp").lines().chain(read("tcp6").lines()).filter_map(listening).collect();
    let sockets = read("unix");
    for listener in &config.listener {
        let address = &listener.address;
        let inode = match address {
            Address::Net(_) => taken
                .iter()
                .find(|(other, _)| address.collides_with(&Address::Net(*other)) || is_dual(*other, address))
                .map(|(_, inode)| *inode),
            Address::Unix(path) => {
                place_of_socket(path, findings);
                sockets.lines().find_map(|line| accepting(line, path))
            }
            Address::Systemd(_) => None,
        };
        let Some(inode) = inode else { continue };
        match holder(inode) {
            Some((process, name)) if name == OURS => findings.note(format!(
                "{address} is in use by noctule (process {process}), perhaps the broker that this file is for"
            )),
            Some((process, name)) => {
                findings.warn(format!("{address} is in use by {name} (process {process}); stop that, or take another"));
            }
            None => findings.warn(format!(
                "{address} is in use by a program of another user, perhaps the broker itself; else stop that, or take another"
            )),
        }
    }
}

/// Whether somebody on every IPv6 address may have taken the IPv4 one as well, as systems do by default.
fn is_dual(other: SocketAddr, address: &Address) -> bool {
    address.net().is_some_and(|own| {
        own.is_ipv4()
            && other.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            && own.port() == other.port()
            && own.port() != 0
    })
}

fn place_of_socket(path: &Path, findings: &mut Findings) {
    let shown = path.display();
    match path.symlink_metadata() {
        Ok(about) if !about.file_type().is_socket() => {
            findings.wrong(format!(
                "unix:{shown}: there is something that is no socket; take it away or choose another path"
            ));
        }
        Ok(_) => {}
        Err(_) => {
            if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
                findings.warn(format!(
                    "unix:{shown}: there is no directory {}; make it, or let systemd do so (RuntimeDirectory=)",
                    parent.display()
                ));
            }
        }
    }
}

/// A line of /proc/net/tcp or tcp6: the address that it listens on, and its inode.
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    // Each word of four bytes is a number as the machine has it, of bytes in the order of the network.
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (into, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                into.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), inode))
}

/// The inode in a line of /proc/net/unix, if somebody listens there on `path`.
fn accepting(line: &str, path: &Path) -> Option<u64> {
    let (before, own) = line.split_once('/')?;
    if Path::new("/").join(own) != path {
        return None;
    }
    let mut fields = before.split_ascii_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let inode = fields.nth(2)?.parse().ok()?;
    (flags & ACCEPTS != 0).then_some(inode)
}

/// Who has the socket open: a process and its name; nobody's that we may not look at.
fn holder(inode: u64) -> Option<(u32, String)> {
    let socket = format!("socket:[{inode}]");
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let mut open = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        open.find(|file| std::fs::read_link(file.path()).is_ok_and(|link| link == Path::new(&socket)))?;
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some((process, name.trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_own_words_are_read() {
        let line = "   1: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        let little = cfg!(target_endian = "little");
        let own: SocketAddr = "127.0.0.1:1883".parse().unwrap();
        assert_eq!(listening(line) == Some((own, 4_711)), little);
        assert_eq!(listening(&line.replace(" 0A ", " 01 ")), None, "connected");
        let six = line.replace("0100007F", "00000000000000000000000001000000");
        let own: SocketAddr = "[::1]:1883".parse().unwrap();
        assert_eq!(listening(&six) == Some((own, 4_711)), little);
        assert_eq!(listening("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"), None);
        let unix = "0000000000000000: 00000002 00000000 00010000 0001 01 815 /run/a b.sock";
        assert_eq!(accepting(unix, Path::new("/run/a b.sock")), Some(815));
        assert_eq!(accepting(unix, Path::new("/run/a")), None);
        assert_eq!(accepting(&unix.replace("00010000", "00000000"), Path::new("/run/a b.sock")), None);
    }

    #[test]
    fn who_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let (_, inode) = table.lines().filter_map(listening).find(|(other, _)| *other == own).unwrap();
        assert_eq!(holder(inode).unwrap().0, std::process::id());
    }
}
