//! What a process costs, as `/proc` tells it, and which one listens on a port.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most processes of a family that are counted.
const MAX_FAMILY: usize = 1_000;

/// A process of this machine, with its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process(pub(super) u32);

impl Process {
    /// This one.
    pub(super) fn own() -> Self {
        Self(std::process::id())
    }

    /// Whoever listens at an address of this machine; `None` if that is not to be seen.
    pub(super) fn listening(address: IpAddr, port: u16) -> Option<Self> {
        let tables = [fs::read_to_string("/proc/net/tcp"), fs::read_to_string("/proc/net/tcp6")];
        let wanted: Vec<String> = tables
            .iter()
            .flatten()
            .flat_map(|table| table.lines().skip(1))
            .filter_map(|line| listener(line, address, port))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        if wanted.is_empty() {
            return None;
        }
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut numbers: Vec<u32> =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        // Whoever has opened it is older than those that it was handed down to.
        numbers.sort_unstable();
        numbers.into_iter().find(|pid| has_socket(*pid, &wanted)).map(Self)
    }

    /// CPU time of it and its children so far, user and system, µs.
    pub(super) fn cpu_us(self) -> Option<u64> {
        let ticks = self.family().into_iter().filter_map(ticks).sum::<u64>();
        fs::metadata(format!("/proc/{}", self.0)).ok()?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Some(ticks.saturating_mul(1_000_000) / per_second)
    }

    /// Memory of it and its children now, bytes.
    pub(super) fn rss_bytes(self) -> Option<u64> {
        let page = rustix::param::page_size() as u64;
        let pages = self.family().into_iter().filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        let pages: Vec<u64> = pages.collect();
        if pages.is_empty() { None } else { Some(pages.into_iter().sum::<u64>().saturating_mul(page)) }
    }

    fn family(self) -> Vec<u32> {
        let mut family = vec![self.0];
        let mut at = 0;
        while let Some(pid) = family.get(at).copied().filter(|_| family.len() < MAX_FAMILY) {
            at += 1;
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        family
    }
}

/// The inode of the socket that `line` of the kernel's table tells of, if it listens there.
fn listener(line: &str, address: IpAddr, port: u16) -> Option<&str> {
    const LISTENING: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (host, number) = local.split_once(':')?;
    let host = bound_to(host)?;
    let fits = host.is_unspecified() || host == address.to_canonical();
    if state != LISTENING || u16::from_str_radix(number, 16).ok()? != port || !fits {
        return None;
    }
    words.nth(5)
}

/// An address as the table writes it: words of four bytes, each in the machine's order.
fn bound_to(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at_checked(8)?;
        bytes.extend_from_slice(&u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
        rest = after;
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen: [u8; 16] = bytes.try_into().ok()?;
    Some(IpAddr::from(Ipv6Addr::from(sixteen)).to_canonical())
}

fn has_socket(pid: u32, wanted: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        wanted.iter().any(|socket| *socket == target)
    })
}

/// User and system time of one process, ticks of the system's clock.
fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may hold anything, but ends with the last bracket.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    user.parse::<u64>().ok()?.checked_add(system.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn whoever_listens_is_found() {
        for host in ["127.0.0.1", "0.0.0.0"] {
            let listener = TcpListener::bind((host, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let here = IpAddr::from(Ipv4Addr::LOCALHOST);
            assert_eq!(Process::listening(here, port), Some(Process::own()), "{host}");
            assert_eq!(
                Process::listening(Ipv4Addr::new(127, 0, 0, 9).into(), port).is_some(),
                host == "0.0.0.0"
            );
            drop(listener);
            assert_eq!(Process::listening(here, port), None);
        }
    }

    #[test]
    fn a_process_costs_time_and_memory() {
        let own = Process::own();
        assert!(own.rss_bytes().unwrap() > 100_000);
        let before = own.cpu_us().unwrap();
        let mut turns = 0u64;
        // Until the clock has ticked, however slow the machine.
        while own.cpu_us().unwrap() == before {
            turns += 1;
        }
        assert!(turns > 0);
        assert_eq!(Process(u32::MAX).cpu_us(), None);
    }
}
