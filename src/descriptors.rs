//! How many files and sockets the process may have open: as many as the system lets it, and a word if that is too few.

use std::io;

use crate::config::Config;

/// Descriptors that are open besides connections and listeners: standard streams, the log, files read at the start.
const OTHERS: u64 = 16;

/// What one worker's runtime holds open: its epoll, the event that wakes it, and what signals need.
const PER_WORKER: u64 = 4;

/// Raises the soft limit to the hard one, which needs no right; returns what is allowed now.
///
/// The soft limit is 1,024 on most systems, for programs that use `select`; beyond it clients would hang in the
/// backlog without an answer.
///
/// # Errors
/// When the system can't be asked.
pub fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// What `config` may need at most.
#[must_use]
pub fn needed(config: &Config) -> u64 {
    let workers = u64::from(config.server.workers);
    let listeners = config.listener.len() as u64;
    // A listener is bound once and shared by duplicates, one for each worker.
    OTHERS + workers * PER_WORKER + listeners * (workers + 1) + u64::from(config.limits.max_connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_worker_and_listener_needs_its_own() {
        let mut config = Config::default();
        config.limits.max_connections = 1000;
        let before = needed(&config);
        assert!((1000..1100).contains(&before), "{before}");
        config.limits.max_connections += 1;
        assert_eq!(needed(&config), before + 1);
        config.server.workers += 1;
        let listeners = config.listener.len() as u64;
        assert_eq!(needed(&config), before + 1 + PER_WORKER + listeners);
    }

    /// Runs the next test alone, in a process with a soft limit below the hard one.
    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                "ulimit -Sn 100 && ulimit -Hn 200 && \
                 exec \"$0\" --exact descriptors::tests::with_a_hard_limit_of_200 --ignored",
            ])
            .arg(std::env::current_exe().unwrap())
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
    }

    #[test]
    #[ignore = "needs a process of its own with limits"]
    fn with_a_hard_limit_of_200() {
        assert_eq!(raise().unwrap(), 200);
        assert_eq!(rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap(), (200, 200));
    }
}
