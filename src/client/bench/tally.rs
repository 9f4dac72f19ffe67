//! What has come and what has not: streams of numbered messages, latencies, counts.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::cli::MIN_SIZE;

/// Most holes that one stream remembers; messages of those forgotten count as duplicates should they still come.
const MAX_HOLES: usize = 65_536;

/// Longest latency that is told apart from longer ones, ns: ten minutes.
const LONGEST_NS: u64 = 600_000_000_000;

/// The front of each payload: which run and stream it belongs to, which of that it is, and when it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// A number that only this run has, so that nobody else's messages are counted.
    pub(super) run: u32,
    pub(super) stream: u32,
    pub(super) number: u64,
    /// Since the run's beginning, ns.
    pub(super) due_ns: u64,
}

impl Stamp {
    pub(super) const LEN: usize = MIN_SIZE as usize;

    pub(super) fn write(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let parts: [&[u8]; 4] = [
            &self.run.to_be_bytes(),
            &self.stream.to_be_bytes(),
            &self.number.to_be_bytes(),
            &self.due_ns.to_be_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (due_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            stream: u32::from_be_bytes(*stream),
            number: u64::from_be_bytes(*number),
            due_ns: u64::from_be_bytes(*due_ns),
        })
    }
}

/// How a message stands to those of its stream that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one, or one after a hole.
    New,
    /// One that a later one has overtaken.
    Late,
    /// One that has come already.
    Duplicate,
}

/// Which numbers of a stream have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    next: u64,
    /// Runs of numbers below `next` that have not come, first to one past the last.
    holes: BTreeMap<u64, u64>,
}

impl Stream {
    pub(super) fn arrive(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            if number > self.next {
                if self.holes.len() >= MAX_HOLES {
                    self.holes.pop_first();
                }
                self.holes.insert(self.next, number);
            }
            self.next = number.saturating_add(1);
            return Arrival::New;
        }
        let Some((&first, &end)) = self.holes.range(..=number).next_back().filter(|(_, end)| number < **end)
        else {
            return Arrival::Duplicate;
        };
        self.holes.remove(&first);
        if first < number {
            self.holes.insert(first, number);
        }
        if number + 1 < end {
            self.holes.insert(number + 1, end);
        }
        Arrival::Late
    }
}

/// What is counted in a phase. Only what was due in the measured time counts.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) latency_ns: Histogram<u64>,
    /// Messages handed to the connection.
    pub(super) sent: u64,
    /// Deliveries that these are to lead to.
    pub(super) expected: u64,
    /// Deliveries that came, each counted once.
    pub(super) delivered: u64,
    pub(super) duplicated: u64,
    pub(super) late: u64,
    /// Deliveries within the measured time, whenever they were due.
    pub(super) in_time: u64,
    /// Acknowledgements, whenever they came.
    pub(super) taken: u64,
    pub(super) refused: u64,
    /// Deliveries of any time: whether there is progress.
    pub(super) heard: u64,
}

impl Tally {
    /// `None` if the histogram does not take its bounds, which are constants.
    pub(super) fn new() -> Option<Self> {
        let latency_ns = Histogram::new_with_bounds(1, LONGEST_NS, 3).ok()?;
        Some(Self {
            latency_ns,
            sent: 0,
            expected: 0,
            delivered: 0,
            duplicated: 0,
            late: 0,
            in_time: 0,
            taken: 0,
            refused: 0,
            heard: 0,
        })
    }

    pub(super) fn arrived(&mut self, arrival: Arrival, latency_ns: u64) {
        match arrival {
            Arrival::Duplicate => {
                self.duplicated += 1;
                return;
            }
            Arrival::Late => self.late += 1,
            Arrival::New => {}
        }
        self.delivered += 1;
        self.latency_ns.saturating_record(latency_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_come_back_as_they_were() {
        let stamp = Stamp { run: 7, stream: 1 << 20, number: u64::MAX, due_ns: 1 << 40 };
        assert_eq!(Stamp::read(&stamp.write()), Some(stamp));
        assert_eq!(Stamp::read(&stamp.write()[1..]), None);
    }

    #[test]
    fn late_and_repeated_messages_are_told_apart() {
        let mut stream = Stream::default();
        let came: Vec<_> = [0, 1, 5, 3, 3, 2, 4, 4, 6, 0].map(|number| stream.arrive(number)).to_vec();
        use Arrival::{Duplicate, Late, New};
        assert_eq!(came, [New, New, New, Late, Duplicate, Late, Late, Duplicate, New, Duplicate]);
        assert!(stream.holes.is_empty());
    }

    #[test]
    fn holes_are_remembered_up_to_a_limit() {
        let mut stream = Stream::default();
        for number in 0..=MAX_HOLES as u64 {
            stream.arrive(number * 2 + 1);
        }
        assert_eq!(stream.holes.len(), MAX_HOLES);
        assert_eq!((stream.arrive(0), stream.arrive(2)), (Arrival::Duplicate, Arrival::Late));
    }
}
