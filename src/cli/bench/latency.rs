//! How long things took: a histogram that is exact to a thousandth, whatever the time.

use hdrhistogram::Histogram;

/// Times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    pub(super) fn new() -> Latency {
        Latency { histogram: Histogram::new_with_bounds(1, TIME_US_MAX, DIGITS).expect("bounds in their order") }
    }

    pub(super) fn record(&mut self, us: u64) {
        self.histogram.saturating_record(us);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.histogram.len()
    }

    pub(super) fn max_us(&self) -> u64 {
        self.at(1.0)
    }

    /// The time that so large a part of all do not exceed; `part` is 0 to 1.
    pub(super) fn at(&self, part: f64) -> u64 {
        self.histogram.value_at_quantile(part)
    }
}

/// As long as the time stamps reach: 19 hours.
const TIME_US_MAX: u64 = (1 << 36) - 1;

/// Significant ones.
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut latency = Latency::new();
        assert_eq!((latency.at(0.5), latency.is_empty()), (0, true));
        (1..=100).rev().for_each(|us| latency.record(us));
        assert_eq!([0.0, 0.5, 0.9, 0.99, 0.9999, 1.0].map(|part| latency.at(part)), [1, 50, 90, 99, 100, 100]);
        latency.record(1_000_003);
        assert!(latency.max_us().abs_diff(1_000_003) < 1_000);
        latency.record(u64::MAX);
        assert!(latency.max_us() > TIME_US_MAX / 1_000 * 999);
    }
}
