//! A histogram of times with a relative error under 1 %, as HdrHistogram has it: buckets of equal width within each
//! power of two.

/// Counts of times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Latency {
    pub(super) fn new() -> Latency {
        Latency { counts: vec![0; bucket(TIME_US_MAX) + 1], total: 0, max_us: 0 }
    }

    pub(super) fn record(&mut self, us: u64) {
        let us = us.min(TIME_US_MAX);
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The time that so large a part of all do not exceed; `part` is 0 to 1.
    pub(super) fn at(&self, part: f64) -> u64 {
        let rank = (part * self.total as f64).ceil() as u64;
        let mut before = 0;
        let found = self.counts.iter().position(|count| {
            before += count;
            before >= rank.max(1)
        });
        found.map_or(0, longest_of).min(self.max_us)
    }
}

/// A power of two and more is divided into 128.
fn bucket(us: u64) -> usize {
    let shift = (64 - BITS).saturating_sub(us.leading_zeros());
    (shift as usize * HALF as usize) + (us >> shift) as usize
}

/// The longest time that is counted there.
fn longest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF + 1) << shift) - 1
}

const BITS: u32 = 8;
const HALF: u64 = 1 << (BITS - 1);

/// As long as the time stamps reach: 19 hours.
const TIME_US_MAX: u64 = (1 << 36) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_bucket_that_is_as_narrow_as_promised() {
        let mut us = 0;
        while us <= TIME_US_MAX {
            let longest = longest_of(bucket(us));
            assert!(longest >= us && longest - us <= us / 128, "{us} is counted as {longest}");
            assert_eq!(bucket(longest), bucket(us));
            assert_eq!(bucket(longest + 1), bucket(us) + 1);
            us = longest + 1;
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut latency = Latency::new();
        assert_eq!((latency.at(0.5), latency.is_empty()), (0, true));
        (1..=100).rev().for_each(|us| latency.record(us));
        assert_eq!([0.0, 0.5, 0.9, 0.99, 0.9999, 1.0].map(|part| latency.at(part)), [1, 50, 90, 99, 100, 100]);
        latency.record(1_000_003);
        assert_eq!((latency.at(1.0), latency.max_us()), (1_000_003, 1_000_003));
    }
}
