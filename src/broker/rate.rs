//! Rates: how much may pass in a second, and when more may. Whose rates there are, and what is done about them, is said
//! by those who keep them (`admission`, `worker::pace`).

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// So many a second; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(u64);

impl Rate {
    /// `None` for a rate of 0, which in the configuration stands for no bound.
    pub(super) fn new(per_second: u64) -> Option<Self> {
        (per_second > 0).then_some(Self(per_second))
    }

    /// In what time so many come again, ns.
    fn time_of(self, count: u64) -> u64 {
        // More than 18 GB at once cost as if they were that many: the product would not fit.
        count.saturating_mul(NS_PER_SECOND) / self.0
    }
}

/// A token bucket, kept as the time at which it will be full again: so it needs no clock between two looks, and costs
/// eight bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_ns: u64,
}

impl Bucket {
    /// Takes `count`, which may be more than is there: then it takes so much longer until there is one again.
    pub(super) fn take(&mut self, rate: Rate, count: u64, now_ms: u64) {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        self.full_ns = self.full_ns.max(now_ns).saturating_add(rate.time_of(count));
    }

    /// When there is one again in a bucket for what comes in `depth_ms`, monotonic ms; `None` if there is one.
    pub(super) fn empty_until(self, rate: Rate, depth_ms: u64, now_ms: u64) -> Option<u64> {
        let one_ns = rate.time_of(1).max(1);
        // Who may do less than one thing in that time may do one all the same.
        let depth_ns = depth_ms.saturating_mul(NS_PER_MS).max(one_ns);
        let ready_ns = self.full_ns.saturating_add(one_ns).saturating_sub(depth_ns);
        let ready_ms = ready_ns.div_ceil(NS_PER_MS);
        (ready_ms > now_ms).then_some(ready_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many may pass at `now_ms`.
    fn drain(bucket: &mut Bucket, rate: Rate, depth_ms: u64, now_ms: u64) -> u64 {
        let mut passed = 0;
        while bucket.empty_until(rate, depth_ms, now_ms).is_none() {
            bucket.take(rate, 1, now_ms);
            passed += 1;
        }
        passed
    }

    #[test]
    fn a_seconds_worth_passes_at_once_and_then_the_rate() {
        for per_second in [1, 3, 10, 999, 10_000] {
            let rate = Rate::new(per_second).unwrap();
            let mut bucket = Bucket::default();
            assert_eq!(drain(&mut bucket, rate, 1_000, 5_000), per_second);
            let passed: u64 = (5_001..=15_000).map(|now_ms| drain(&mut bucket, rate, 1_000, now_ms)).sum();
            assert!(passed.abs_diff(per_second * 10) <= 1, "{passed} of {per_second} a second");
            assert_eq!(drain(&mut bucket, rate, 1_000, 60_000), per_second, "no more is saved up");
        }
    }

    #[test]
    fn it_says_when_there_is_one_again_neither_early_nor_late() {
        let rate = Rate::new(4).unwrap();
        let mut bucket = Bucket::default();
        drain(&mut bucket, rate, 1_000, 0);
        assert_eq!(bucket.empty_until(rate, 1_000, 0), Some(250));
        assert_eq!(bucket.empty_until(rate, 1_000, 249), Some(250));
        assert_eq!(bucket.empty_until(rate, 1_000, 250), None);
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_and_is_paid_off_afterwards() {
        let rate = Rate::new(1_000).unwrap();
        let mut bucket = Bucket::default();
        bucket.take(rate, 10_000, 0);
        assert_eq!(bucket.empty_until(rate, 1_000, 0), Some(9_001));
        assert_eq!(bucket.empty_until(rate, 1_000, 9_001), None);
    }

    #[test]
    fn a_shallow_bucket_holds_one_at_least() {
        let rate = Rate::new(2).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!(drain(&mut bucket, rate, 100, 0), 1);
        assert_eq!(bucket.empty_until(rate, 100, 0), Some(500));
    }

    #[test]
    fn nothing_overflows() {
        let mut bucket = Bucket::default();
        bucket.take(Rate::new(1).unwrap(), u64::MAX, u64::MAX);
        assert!(bucket.empty_until(Rate::new(u64::MAX).unwrap(), u64::MAX, 0).is_none());
        assert_eq!(Rate::new(0), None);
    }
}
