//! What a connection keeps for later, in both directions. A connection for which there is nothing has no box.

use std::rc::Rc;

use super::tap::TapNumber;
use crate::hub::{ChannelId, SubscriptionId};
use crate::pages::heap_bytes;

/// A cursor that was moved because of output that ends at `end`: it moves back if that does not go to the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) end: usize,
    pub(crate) subscription: SubscriptionId,
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// Input that waits and output that the kernel has not taken.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Bytes that arrived before they could be served.
    pub(super) input: Vec<u8>,
    /// How much of `input` has been looked at and has no end of a request head.
    pub(super) scanned: usize,
    /// The rest of a publication of which a part has been written: shared, not copied.
    pub(crate) pinned: Option<(Rc<[u8]>, usize)>,
    /// What comes after it.
    pub(crate) output: Vec<u8>,
    /// How much of `output` has been written.
    pub(crate) written: usize,
    /// Cursors that move forward again when all of it has gone.
    pub(crate) marks: Vec<Mark>,
    /// The socket is full: nothing is written, and nothing read, until it can be written again.
    pub(crate) blocked: bool,
    /// It has taken nothing since it became full, or since the timer last looked.
    pub(crate) stalled: bool,
    /// When it last took something, or became full, by the monotonic clock.
    pub(crate) taken_ms: u64,
    /// Channels that the client has left by a command, and may come back to.
    left: Vec<Rc<str>>,
    /// A channel that must be delivered before this connection is read again: it publishes faster.
    pub(crate) held: Option<ChannelId>,
    /// Where what goes over the wire is recorded.
    pub(super) tap: Option<TapNumber>,
}

impl Backlog {
    /// Whether there is nothing to keep a box for.
    pub(crate) fn is_empty(&self) -> bool {
        let idle = self.input.is_empty() && !self.blocked && self.held.is_none() && self.is_written();
        idle && self.left.is_empty() && self.tap.is_none()
    }

    /// Notes that the client has left a channel; not without end, since it may go on to others.
    pub(super) fn leave(&mut self, channel: &Rc<str>) {
        if !self.has_left(channel) && self.left.len() < LEFT_MAX {
            self.left.push(Rc::clone(channel));
        }
    }

    /// Whether the client has left a channel.
    pub(crate) fn has_left(&self, channel: &str) -> bool {
        self.left.iter().any(|left| **left == *channel)
    }

    /// Whether all output has gone.
    pub(crate) fn is_written(&self) -> bool {
        self.pinned.is_none() && self.written == self.output.len()
    }

    /// Keeps the output from `written` to `end`: the buffer itself, where most of it is to be kept, since there is not
    /// room for a large answer twice.
    pub(crate) fn keep(&mut self, output: &mut Vec<u8>, written: usize, end: usize) {
        if self.output.is_empty() && end == output.len() && end - written > output.capacity() / 2 {
            (self.output, self.written) = (std::mem::take(output), written);
        } else {
            self.output.extend_from_slice(&output[written..end]);
        }
    }

    /// Notes that so many bytes could be written.
    pub(crate) fn note_taken(&mut self, bytes: usize, now_ms: u64) {
        if bytes > 0 {
            (self.stalled, self.taken_ms) = (false, now_ms);
        }
    }

    /// What arrived and has not been served.
    pub(super) fn input_bytes(&self) -> usize {
        self.input.capacity()
    }

    /// What it costs, but for what is pinned: that is shared, and the hub counts it.
    pub(super) fn held_bytes(&self) -> usize {
        heap_bytes(size_of::<Backlog>())
            + heap_bytes(self.input.capacity())
            + heap_bytes(self.output.capacity())
            + heap_bytes(self.marks.capacity() * size_of::<Mark>())
            + heap_bytes(self.left.capacity() * size_of::<Rc<str>>())
            + self.left.iter().map(|name| heap_bytes(2 * size_of::<usize>() + name.len())).sum::<usize>()
    }
}

/// As many as one URL can subscribe to.
const LEFT_MAX: usize = 32;
