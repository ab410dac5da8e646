//! Whether a receiver gets everything once and in order.

/// What went wrong, over all receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Messages that did not come.
    pub(super) lost: u64,
    /// Messages that came once more.
    pub(super) repeated: u64,
    /// Messages that came after a later one.
    pub(super) disordered: u64,
    /// Messages that are not what was sent.
    pub(super) corrupted: u64,
    /// Connections that ended.
    pub(super) closed: u64,
    /// Requests to publish that were refused.
    pub(super) refused: u64,
}

/// What one receiver has got of one publisher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver {
    next: u32,
    /// Which of the 64 numbers before `next` have come, the highest in the lowest bit. What comes later than that
    /// counts as lost and repeated.
    seen: u64,
}

impl Receiver {
    pub(super) fn new() -> Receiver {
        Receiver { next: 0, seen: u64::MAX }
    }

    /// The number after the highest that has come.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Takes a number. Says whether it is one that had not come yet.
    pub(super) fn take(&mut self, sequence: u32, faults: &mut Faults) -> bool {
        if sequence >= self.next {
            let skipped = sequence - self.next;
            faults.lost += u64::from(skipped);
            self.seen = self.seen.checked_shl(skipped + 1).unwrap_or_default() | 1;
            self.next = sequence + 1;
            return true;
        }
        let bit = 1_u64.checked_shl(self.next - 1 - sequence).unwrap_or_default();
        let is_late = bit & !self.seen != 0;
        match is_late {
            true => {
                self.seen |= bit;
                faults.lost -= 1;
                faults.disordered += 1;
            }
            false => faults.repeated += 1,
        }
        is_late
    }

    /// Counts what has not come of all that was sent.
    pub(super) fn end(&self, sent: u32, faults: &mut Faults) {
        faults.lost += u64::from(sent.saturating_sub(self.next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(sequences: &[u32], sent: u32) -> Faults {
        let (mut receiver, mut faults) = (Receiver::new(), Faults::default());
        sequences.iter().for_each(|sequence| {
            receiver.take(*sequence, &mut faults);
        });
        receiver.end(sent, &mut faults);
        faults
    }

    #[test]
    fn what_is_lost_repeated_or_late_is_counted_as_that() {
        let none = Faults::default();
        assert_eq!(faults(&[0, 1, 2], 3), none);
        assert_eq!(faults(&[], 3), Faults { lost: 3, ..none });
        assert_eq!(faults(&[0, 2], 3), Faults { lost: 1, ..none });
        assert_eq!(faults(&[1, 2], 5), Faults { lost: 3, ..none });
        assert_eq!(faults(&[0, 1, 1, 0, 2], 3), Faults { repeated: 2, ..none });
        assert_eq!(faults(&[1, 0, 3, 2], 4), Faults { disordered: 2, ..none });
        assert_eq!(faults(&[2, 0, 0], 3), Faults { disordered: 1, lost: 1, repeated: 1, ..none });
        assert_eq!(faults(&[100, 0], 101), Faults { lost: 100, repeated: 1, ..none });
    }
}
