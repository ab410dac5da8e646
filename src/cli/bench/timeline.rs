//! How long messages took over the length of a run, in slices of time that grow with it.

/// What came in one slice of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) count: u64,
    pub(super) sum_us: u64,
    pub(super) max_us: u64,
}

/// All slices of a run, at most [`SLICES`].
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pub(super) slice_us: u64,
    pub(super) slices: Vec<Slice>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { slice_us: SLICE_US, slices: Vec::new() }
    }
}

impl Timeline {
    pub(super) fn record(&mut self, now_us: u64, us: u64) {
        while now_us / self.slice_us >= SLICES as u64 {
            self.halve();
        }
        let index = (now_us / self.slice_us) as usize;
        if index >= self.slices.len() {
            self.slices.resize(index + 1, Slice::default());
        }
        self.slices[index].add(Slice { count: 1, sum_us: us, max_us: us });
    }

    /// Joins each two slices into one.
    fn halve(&mut self) {
        let join = |two: &[Slice]| {
            let mut slice = two[0];
            two[1..].iter().for_each(|second| slice.add(*second));
            slice
        };
        self.slices = self.slices.chunks(2).map(join).collect();
        self.slice_us *= 2;
    }
}

impl Slice {
    fn add(&mut self, other: Slice) {
        self.count += other.count;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }
}

const SLICES: usize = 200;
const SLICE_US: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_coarser_slices_and_loses_nothing() {
        let mut timeline = Timeline::default();
        (0..10_000).for_each(|ms| timeline.record(ms * 1_000, ms));
        assert!(timeline.slices.len() <= SLICES && timeline.slices.len() > SLICES / 2);
        assert_eq!(timeline.slices.iter().map(|slice| slice.count).sum::<u64>(), 10_000);
        assert_eq!(timeline.slices.iter().map(|slice| slice.sum_us).sum::<u64>(), (0..10_000).sum::<u64>());
        assert_eq!(timeline.slices.last().map(|slice| slice.max_us), Some(9_999));
        let first = timeline.slices[0];
        assert_eq!(first.max_us, first.count - 1);
    }
}
