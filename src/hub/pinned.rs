//! What has been evicted while somebody was being written it: its bytes stay until that is over, and are counted.

use std::rc::Rc;

use super::publication::{Publication, held_by};

/// The bytes of evicted publications that connections still hold. They are shared, so that however many connections
/// hold the same bytes, these count once.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    bytes: Vec<Rc<[u8]>>,
    /// Where the next look at them begins.
    next: usize,
}

impl Pinned {
    /// Takes what somebody still holds of a publication. Returns what that costs.
    pub(super) fn keep(&mut self, gone: Publication) -> usize {
        let mut kept_bytes = 0;
        for bytes in gone.into_pinned() {
            kept_bytes += held_by(&bytes);
            self.bytes.push(bytes);
        }
        kept_bytes
    }

    /// Forgets what nobody holds any more, looking at up to `most`. Returns what that had cost.
    pub(super) fn sweep(&mut self, most: usize) -> usize {
        let mut released_bytes = 0;
        for _ in 0..most.min(self.bytes.len()) {
            self.next = if self.next < self.bytes.len() { self.next } else { 0 };
            match Rc::strong_count(&self.bytes[self.next]) {
                1 => released_bytes += held_by(&self.bytes.swap_remove(self.next)),
                _ => self.next += 1,
            }
        }
        if self.bytes.capacity() / 4 > self.bytes.len() {
            self.bytes.shrink_to(2 * self.bytes.len());
        }
        released_bytes
    }
}
