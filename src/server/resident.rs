//! How much memory the process takes, where the operating system says so.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::param::page_size;

/// Opened once, so that it can be read from an empty root too.
#[derive(Debug, Default)]
pub(super) struct Resident {
    /// `None` where there is no such file, or no use for it.
    statm: Option<File>,
    looked_ms: u64,
}

impl Resident {
    /// Looks at memory only where that is wanted.
    pub(super) fn new(wanted: bool) -> Resident {
        Resident { statm: wanted.then(|| File::open("/proc/self/statm").ok()).flatten(), looked_ms: 0 }
    }

    /// What the process takes now, in bytes; at most once a millisecond.
    pub(super) fn bytes(&mut self, now_ms: u64) -> Option<usize> {
        let statm = self.statm.as_ref().filter(|_| now_ms != self.looked_ms)?;
        self.looked_ms = now_ms;
        let mut text = [0; 128];
        let length = statm.read_at(&mut text, 0).ok()?;
        // Pages of the address space, then those in memory (proc_pid_statm(5)).
        let pages: usize = std::str::from_utf8(&text[..length]).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some(pages * page_size())
    }
}
