//! Idempotency keys: what a retried publish is answered.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::Published;
use super::publication::COUNTS_BYTES;
use crate::config::Config;
use crate::pages::heap_bytes;

/// The answers to publishes that came with an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), or with a
/// `"key"` over a WebSocket, for as long as a retry may come, by whichever way.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By channel and key. Never iterated: its order is nobody's business.
    answers: HashMap<(Rc<str>, Rc<str>), Published>,
    /// The same, oldest first, with the time at which each is forgotten.
    expiry: VecDeque<(u64, Rc<str>, Rc<str>)>,
    /// How many were forgotten before their time.
    pub(super) crowded_out: u64,
}

impl Answers {
    pub(super) fn find(&self, channel: &str, key: &str) -> Option<&Published> {
        self.answers.get(&(channel.into(), key.into()))
    }

    /// Remembers an answer; returns what that costs to hold.
    pub(super) fn insert(&mut self, key: &str, answer: Published, now_ms: u64, config: &Config) -> usize {
        let (channel, key): (Rc<str>, Rc<str>) = (Rc::clone(&answer.channel), key.into());
        self.expiry.push_back((now_ms + config.idempotency_ms, Rc::clone(&channel), Rc::clone(&key)));
        let cost = cost(&channel, &key);
        self.answers.insert((channel, key), answer);
        cost
    }

    /// Forgets what is too old or too many; returns what that had cost to hold.
    pub(super) fn expire(&mut self, now_ms: u64, config: &Config) -> usize {
        let mut released_bytes = 0;
        while let Some(at_ms) = self.next_ms()
            && (at_ms <= now_ms
                || self.expiry.len() > config.idempotency_keys_max.min(config.memory_bytes_max / KEY_SHARE_BYTES))
            && let Some((_, channel, key)) = self.expiry.pop_front()
        {
            self.crowded_out += u64::from(at_ms > now_ms);
            released_bytes += cost(&channel, &key);
            self.answers.remove(&(channel, key));
        }
        if released_bytes > 0 && self.expiry.capacity() / 4 > self.expiry.len() {
            self.expiry.shrink_to(2 * self.expiry.len());
            self.answers.shrink_to(2 * self.expiry.len());
        }
        released_bytes
    }

    /// When the oldest is forgotten.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.expiry.front().map(|(at_ms, _, _)| *at_ms)
    }
}

fn cost(channel: &str, key: &str) -> usize {
    PLACES_BYTES + heap_bytes(COUNTS_BYTES + channel.len()) + heap_bytes(COUNTS_BYTES + key.len())
}

/// A key for so many bytes of the memory budget: keys are not shed, since a retry would publish twice.
const KEY_SHARE_BYTES: usize = 4 << 10;

/// A place in the map and one in the list. Either may be half empty.
const PLACES_BYTES: usize = 2 * size_of::<((Rc<str>, Rc<str>), Published)>() + 2 * size_of::<(u64, Rc<str>, Rc<str>)>();
