//! How long deliveries take, by the clock that only the server has.

use std::time::{Duration, Instant};

/// From when the loop woke for what was published until the last of it was written, which may be some turns later.
/// What a message waits in the kernel is not in it.
#[derive(Debug, Default)]
pub(super) struct Delay {
    woke: Option<Instant>,
    /// Deliveries before that.
    deliveries: u64,
}

impl Delay {
    pub(super) fn wake(&mut self, woke: Instant) {
        self.woke.get_or_insert(woke);
    }

    /// A turn has ended with so many deliveries since the start, and maybe not with the last one. Returns how long they
    /// took.
    pub(super) fn rest(&mut self, deliveries: u64, is_delivering: bool) -> Option<Duration> {
        if is_delivering {
            return None;
        }
        let woke = self.woke.take();
        let delivered = std::mem::replace(&mut self.deliveries, deliveries) != deliveries;
        woke.filter(|_| delivered).map(|woke| woke.elapsed())
    }
}
