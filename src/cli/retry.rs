//! Trying again: after how long, and the random bits that this and the protocols need.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Pauses that double with each failure in a row. They are random within limits, so that a restart is not followed by
/// everyone at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Things go well again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure: at least what the server asked for, if it did.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let longest_ms = PAUSE_MS.start << self.failures.min(10);
        self.failures = self.failures.saturating_add(1);
        let longest_ms = longest_ms.min(PAUSE_MS.end);
        let pause = Duration::from_millis(longest_ms / 2 + u64::from_ne_bytes(entropy()) % (longest_ms / 2));
        match asked {
            // Not all at that very moment.
            Some(asked) => asked.min(ASKED_MAX) + pause / 4,
            None => pause,
        }
    }
}

/// 16 bytes that no one can guess and that come once: for a `Sec-WebSocket-Key` or an `Idempotency-Key`.
pub(crate) fn nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&entropy());
    nonce[8..].copy_from_slice(&entropy());
    nonce
}

/// Bytes that no one can guess. The standard library keys its hash tables from the operating system's random numbers,
/// which saves a dependency; each call has a key of its own.
pub(crate) fn entropy() -> [u8; 8] {
    RandomState::new().hash_one(0_u8).to_ne_bytes()
}

/// The longest first pause, and the longest of all.
const PAUSE_MS: std::ops::Range<u64> = 500..30_000;

/// A server that asks for more has gone for good.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_anew() {
        let mut backoff = Backoff::default();
        for longest_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let pause = backoff.next(None);
            assert!((longest_ms / 2..longest_ms).contains(&(pause.as_millis() as u64)), "{pause:?} of {longest_ms}");
        }
        backoff.failures = u32::MAX;
        assert!(backoff.next(None) >= Duration::from_secs(15));
        backoff.reset();
        assert!(backoff.next(None) < Duration::from_millis(500));
    }

    #[test]
    fn what_the_server_asks_for_is_the_least() {
        let asked = Duration::from_secs(7);
        let pause = Backoff::default().next(Some(asked));
        assert!(asked <= pause && pause < asked + Duration::from_secs(1));
        assert!(Backoff::default().next(Some(Duration::MAX)) < ASKED_MAX + Duration::from_secs(1));
    }

    #[test]
    fn a_nonce_comes_once() {
        let (a, b) = (nonce(), nonce());
        assert!(a != b && a[..8] != a[8..]);
    }
}
