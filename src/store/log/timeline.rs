//! Broker time: milliseconds that never go back, whatever the wall clock does.
//!
//! Deadlines in memory are milliseconds since the process started, and those mean nothing to the next process. On disk
//! they are broker time instead: the process's own clock plus a base that is fixed when the log is opened, from the time
//! that the last commit left behind. What has expired once therefore never comes to life again.

use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Stays the same for as long as a process lives.
static BOOT_ID: OnceLock<Option<u64>> = OnceLock::new();

/// What the clocks of the machine say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Milliseconds since the process started, as in [`noctule_core::id::Now`].
    pub(crate) mono_ms: u64,
    /// Milliseconds since the Unix epoch; may be set, forwards and backwards.
    pub(crate) wall_ms: u64,
    /// Milliseconds since the machine was started, those in which it slept included; 0 if that isn't known.
    pub(crate) uptime_ms: u64,
    /// Tells this start of the machine from every other; 0 if that isn't known.
    pub(crate) boot_id: u64,
}

impl Clocks {
    /// Reads the machine's clocks; `mono_ms` is the process's own, read by the caller, who knows when it started.
    ///
    /// Without a readable `/proc` the wall clock alone remains, and a restart counts as one of the machine.
    pub(crate) fn read(mono_ms: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot_id = *BOOT_ID.get_or_init(|| {
            fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().as_deref().and_then(parse_boot_id)
        });
        let uptime = fs::read_to_string("/proc/uptime").ok();
        let known = boot_id.zip(uptime.as_deref().and_then(parse_uptime));
        let (boot_id, uptime_ms) = known.unwrap_or_default();
        Self { mono_ms, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), uptime_ms, boot_id }
    }
}

/// The first half of the identifier: 60 random bits.
fn parse_boot_id(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).ok().filter(|&id| id != 0)
}

/// Milliseconds from `seconds.hundredths idle`.
fn parse_uptime(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = hundredths.get(..2)?.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(hundredths * 10)
}

/// The time at which a commit was made, as it stands on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Broker time, ms.
    pub(super) at: u64,
    /// [`Clocks::uptime_ms`] at that time.
    pub(super) uptime_ms: u64,
    /// [`Clocks::boot_id`] at that time.
    pub(super) boot_id: u64,
}

/// Turns the process's time into broker time and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timeline {
    /// Broker time at the process's start; a machine whose clock stands at 1970 may make it negative.
    base: i64,
}

impl Timeline {
    /// Goes on where the last commit stopped. While the machine was not restarted its uptime tells how long that was
    /// ago; afterwards at least the new uptime has passed, and more if the wall clock, for once to be trusted, says so.
    pub(super) fn resume(last: Option<Stamp>, clock: &Clocks) -> Self {
        let now = match last {
            None => clock.wall_ms,
            Some(last) if last.boot_id == clock.boot_id && last.boot_id != 0 => {
                last.at.saturating_add(clock.uptime_ms.saturating_sub(last.uptime_ms))
            }
            Some(last) => clock.wall_ms.max(last.at.saturating_add(clock.uptime_ms)),
        };
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        Self { base: signed(now).saturating_sub(signed(clock.mono_ms)) }
    }

    /// Broker time of a moment of this process; `u64::MAX`, never, stays what it is.
    pub(super) fn at(self, mono_ms: u64) -> u64 {
        if mono_ms == u64::MAX { u64::MAX } else { mono_ms.saturating_add_signed(self.base) }
    }

    /// The moment of this process at broker time `at`; 0 for all that was before its start.
    pub(super) fn mono_ms(self, at: u64) -> u64 {
        match (at, self.base) {
            (u64::MAX, _) => u64::MAX,
            (at, 0..) => at.saturating_sub(self.base.unsigned_abs()),
            (at, _) => at.saturating_add(self.base.unsigned_abs()),
        }
    }

    /// What a commit made now leaves behind.
    pub(super) fn stamp(self, clock: &Clocks) -> Stamp {
        Stamp { at: self.at(clock.mono_ms), uptime_ms: clock.uptime_ms, boot_id: clock.boot_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: u64 = 7;

    fn clocks(mono_ms: u64, wall_ms: u64, uptime_ms: u64) -> Clocks {
        Clocks { mono_ms, wall_ms, uptime_ms, boot_id: BOOT }
    }

    #[test]
    fn a_fresh_log_begins_with_the_wall_clock() {
        let timeline = Timeline::resume(None, &clocks(50, 1_000_000, 9));
        assert_eq!((timeline.at(50), timeline.at(60)), (1_000_000, 1_000_010));
        assert_eq!((timeline.mono_ms(1_000_010), timeline.mono_ms(3)), (60, 0));
        assert_eq!((timeline.at(u64::MAX), timeline.mono_ms(u64::MAX)), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_clock_at_the_epoch_is_counted_on_from() {
        let timeline = Timeline::resume(None, &clocks(500, 20, 9));
        assert_eq!((timeline.at(500), timeline.at(600)), (20, 120));
        assert_eq!(timeline.mono_ms(120), 600);
    }

    #[test]
    fn within_one_start_of_the_machine_the_wall_clock_means_nothing() {
        let last = Stamp { at: 1_000_000, uptime_ms: 5_000, boot_id: BOOT };
        for wall_ms in [0, 1_000_000, u64::MAX] {
            let timeline = Timeline::resume(Some(last), &clocks(0, wall_ms, 5_300));
            assert_eq!(timeline.at(0), 1_000_300);
        }
    }

    #[test]
    fn after_a_start_of_the_machine_time_goes_on_at_least_by_its_uptime() {
        let last = Stamp { at: 1_000_000, uptime_ms: 5_000, boot_id: BOOT + 1 };
        assert_eq!(Timeline::resume(Some(last), &clocks(0, 0, 200)).at(0), 1_000_200);
        assert_eq!(Timeline::resume(Some(last), &clocks(0, 2_000_000, 200)).at(0), 2_000_000);
    }

    #[test]
    fn an_unknown_start_is_none_that_was_seen_before() {
        let last = Stamp { at: 1_000_000, uptime_ms: 0, boot_id: 0 };
        let clock = Clocks { mono_ms: 0, wall_ms: 1_500_000, uptime_ms: 0, boot_id: 0 };
        assert_eq!(Timeline::resume(Some(last), &clock).at(0), 1_500_000);
    }

    #[test]
    fn the_kernels_texts_are_understood() {
        assert_eq!(parse_uptime("12345.67 8910.11\n"), Some(12_345_670));
        assert_eq!(parse_uptime("nonsense"), None);
        assert_eq!(parse_boot_id("b1fa6f8e-6b19-4b34-9f5e-000000000000\n"), Some(0xb1fa_6f8e_6b19_4b34));
        assert_eq!(parse_boot_id("\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_one_start_from_another() {
        let (first, second) = (Clocks::read(1), Clocks::read(2));
        assert_eq!(first.boot_id, second.boot_id);
        assert!(first.boot_id != 0 && second.uptime_ms >= first.uptime_ms && first.uptime_ms > 0);
        assert_eq!(second.mono_ms, 2);
    }
}
