//! Log lines: where they go and in which shape, and a limiter for lines that repeat.
//!
//! What is logged is decided where it happens. Counting what was dropped is the metrics' business, not the log's.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, layer};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Level, Log, LogFormat};

/// Changes the level of a running log.
#[derive(Clone, Debug)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Writes lines of `level` and above from now on.
    pub fn set(&self, level: Level) {
        // The only error is a log that is gone, and then there is nobody left to tell.
        let _ = self.0.reload(targets(level));
    }
}

/// Which shape `"auto"` stands for; any other for itself.
#[must_use]
pub fn shape(format: LogFormat) -> LogFormat {
    match format {
        LogFormat::Auto if std::io::stderr().is_terminal() => LogFormat::Human,
        LogFormat::Auto if goes_to_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) => {
            LogFormat::Journal
        }
        LogFormat::Auto => LogFormat::Json,
        said => said,
    }
}

/// Whether standard error is the journal's stream, which systemd names by device and inode (systemd.exec(5)): a program may
/// have been given its environment, and not its standard error.
fn goes_to_journal(stream: Option<&str>) -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream == Some(&*format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Lines as the journal reads them: the priority in front, and no time.
struct ForJournal;

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // syslog(3): 3 is an error, 7 is for debugging.
        let priority = match *event.metadata().level() {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            tracing::Level::DEBUG | tracing::Level::TRACE => 7,
        };
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        // Each line is an entry of its own there: all have the priority, and none one that it says of itself.
        text.lines().try_for_each(|line| writeln!(to, "<{priority}>{line}"))
    }
}

/// Starts logging to standard error, for the whole process.
///
/// # Errors
/// If logging has been started before.
pub fn start(log: &Log) -> Result<LevelHandle, TryInitError> {
    let (level, handle) = reload::Layer::new(targets(log.level));
    let lines: Box<dyn Layer<_> + Send + Sync> = match shape(log.format) {
        LogFormat::Auto | LogFormat::Human => {
            let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            // Which module wrote a line is for us, not for who reads it.
            Box::new(layer().with_target(false).with_writer(std::io::stderr).with_ansi(coloured))
        }
        LogFormat::Journal => {
            Box::new(layer().event_format(ForJournal).with_writer(std::io::stderr).with_ansi(false))
        }
        LogFormat::Json => Box::new(layer().json().flatten_event(true).with_writer(std::io::stderr)),
    };
    tracing_subscriber::registry().with(level).with(lines).try_init()?;
    Ok(LevelHandle(handle))
}

/// Our own lines at `level`; those of libraries never below `info`, because nobody debugs them through us.
fn targets(level: Level) -> Targets {
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Targets match by prefix: this is noctule, noctule_core and the other protocol crates.
    Targets::new().with_default(ours.min(LevelFilter::INFO)).with_target("noctule", ours)
}

/// What to do with a line of a limited kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Write,
    /// Write first that there were so many more, then write it.
    WriteAfter(u64),
    /// Do not write it; it is counted.
    Skip,
}

/// Lets so many lines of each kind through per second, and knows how many it held back.
///
/// For lines that a client can cause at will: without it, a flood of packets is a flood of log lines, on flash. The
/// time is an argument; each worker has its own.
#[derive(Debug)]
pub struct Limited {
    per_second: u32,
    kinds: BTreeMap<&'static str, Window>,
}

/// One kind's current second.
#[derive(Debug)]
struct Window {
    start_ms: u64,
    written: u32,
    skipped: u64,
}

const WINDOW_MS: u64 = 1_000;

impl Limited {
    /// Lets `per_second` lines of each kind through per second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, kinds: BTreeMap::new() }
    }

    /// What to do with one more line of `kind` at `mono_ms` milliseconds. Kinds are literals, so there are only as
    /// many as the code has.
    pub fn admit(&mut self, kind: &'static str, mono_ms: u64) -> Verdict {
        let fresh = Window { start_ms: mono_ms, written: 0, skipped: 0 };
        let window = self.kinds.entry(kind).or_insert(fresh);
        let mut missed = 0;
        if mono_ms.saturating_sub(window.start_ms) >= WINDOW_MS {
            missed = window.skipped;
            *window = Window { start_ms: mono_ms, written: 0, skipped: 0 };
        }
        if window.written >= self.per_second {
            // Only a limit of 0 comes here with `missed` set: nothing is written, so nothing must be forgotten.
            window.skipped = window.skipped.saturating_add(missed).saturating_add(1);
            return Verdict::Skip;
        }
        window.written = window.written.saturating_add(1);
        if missed == 0 { Verdict::Write } else { Verdict::WriteAfter(missed) }
    }

    /// Takes the kinds that have gone quiet with lines held back, and how many: for the line "and so many more".
    /// Call it about once a second.
    pub fn summaries(&mut self, mono_ms: u64) -> Vec<(&'static str, u64)> {
        let mut summaries = Vec::new();
        self.kinds.retain(|kind, window| {
            let over = mono_ms.saturating_sub(window.start_ms) >= WINDOW_MS;
            if over && window.skipped > 0 {
                summaries.push((*kind, window.skipped));
            }
            !over
        });
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_per_second_and_kind() {
        let mut limited = Limited::new(2);
        for kind in ["a", "b"] {
            assert_eq!(limited.admit(kind, 0), Verdict::Write);
            assert_eq!(limited.admit(kind, 1), Verdict::Write);
            assert_eq!(limited.admit(kind, 2), Verdict::Skip);
            assert_eq!(limited.admit(kind, 999), Verdict::Skip);
        }
        assert_eq!(limited.admit("a", 1_000), Verdict::WriteAfter(2));
        assert_eq!(limited.admit("a", 1_001), Verdict::Write);
        assert_eq!(limited.admit("a", 1_002), Verdict::Skip);
        assert_eq!(limited.summaries(1_000), [("b", 2)]);
    }

    #[test]
    fn a_kind_that_went_quiet_is_summed_up_once() {
        let mut limited = Limited::new(1);
        for ms in 0..10 {
            limited.admit("a", ms);
        }
        limited.admit("quiet", 0);
        assert_eq!(limited.summaries(999), []);
        assert_eq!(limited.summaries(1_000), [("a", 9)]);
        assert_eq!(limited.summaries(1_001), []);
        assert_eq!(limited.admit("a", 1_002), Verdict::Write);
    }

    #[test]
    fn every_line_is_written_or_counted() {
        for per_second in 0..4 {
            let mut limited = Limited::new(per_second);
            let (mut written, mut counted) = (0_u64, 0_u64);
            for step in 0..5_000_u64 {
                match limited.admit("a", step * 7) {
                    Verdict::Write => written += 1,
                    Verdict::WriteAfter(missed) => {
                        written += 1;
                        counted += missed;
                    }
                    Verdict::Skip => {}
                }
            }
            counted += limited.summaries(u64::MAX).iter().map(|(_, missed)| missed).sum::<u64>();
            assert_eq!(written + counted, 5_000, "at {per_second} per second");
            assert!(written <= u64::from(per_second) * 36, "{written} at {per_second} per second");
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_does_no_harm() {
        let mut limited = Limited::new(1);
        assert_eq!(limited.admit("a", 5_000), Verdict::Write);
        assert_eq!(limited.admit("a", 0), Verdict::Skip);
        assert_eq!(limited.summaries(0), []);
        assert_eq!(limited.summaries(6_000), [("a", 1)]);
    }

    #[test]
    fn libraries_are_kept_at_info() {
        let debug = targets(Level::Debug);
        assert!(debug.would_enable("noctule::worker", &tracing::Level::DEBUG));
        assert!(debug.would_enable("noctule_core::engine", &tracing::Level::DEBUG));
        assert!(!debug.would_enable("noctule", &tracing::Level::TRACE));
        assert!(!debug.would_enable("tokio", &tracing::Level::DEBUG));
        assert!(debug.would_enable("tokio", &tracing::Level::INFO));
        let error = targets(Level::Error);
        assert!(!error.would_enable("tokio", &tracing::Level::WARN));
        assert!(!error.would_enable("noctule", &tracing::Level::WARN));
        assert!(error.would_enable("noctule", &tracing::Level::ERROR));
    }

    #[test]
    fn the_journal_is_told_by_the_stream_that_it_names() {
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        assert!(goes_to_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        assert!(!goes_to_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino.wrapping_add(1)))));
        assert!(!goes_to_journal(Some("")) && !goes_to_journal(None));
        assert_eq!(shape(LogFormat::Json), LogFormat::Json);
    }

    #[test]
    fn logging_starts_once_and_its_level_changes() {
        let handle = start(&Log { format: LogFormat::Json, level: Level::Info }).unwrap();
        assert!(!tracing::enabled!(target: "noctule", tracing::Level::DEBUG));
        handle.set(Level::Debug);
        assert!(tracing::enabled!(target: "noctule", tracing::Level::DEBUG));
        handle.set(Level::Error);
        assert!(!tracing::enabled!(target: "noctule", tracing::Level::INFO));
        assert!(start(&Log::default()).is_err());
    }
}
