//! How far a long task is: one line on standard error, written again and again where a person looks at it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The line. It makes room for what comes after it.
pub(crate) struct Progress {
    is_watched: bool,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let is_watched = std::io::stderr().is_terminal();
        Progress { is_watched, is_shown: false, next: Instant::now() + EACH }
    }

    /// Shows how far it is, a few times a second at most, so that a short task shows nothing.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        if !self.is_watched || Instant::now() < self.next {
            return;
        }
        (self.is_shown, self.next) = (true, Instant::now() + EACH);
        let _ = write!(std::io::stderr(), "\r{}{CLEAR_TO_END}", line());
    }

    /// Takes the line away: something else is to be said.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(std::io::stderr(), "\r{CLEAR_TO_END}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

const EACH: Duration = Duration::from_millis(200);

/// Of a terminal's line, from where the cursor is (ECMA-48 §8.3.41).
const CLEAR_TO_END: &str = "\x1b[K";
