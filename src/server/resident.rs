//! How much memory the process takes, where the operating system says so.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::param::page_size;

/// Opened once, so that it can be read from an empty root too.
#[derive(Debug, Default)]
pub(super) struct Resident {
    /// `None` where there is no such file.
    statm: Option<File>,
    interval_ms: u64,
    again_ms: u64,
}

impl Resident {
    /// Looks at memory as often as that.
    pub(super) fn new(interval_ms: u64) -> Resident {
        Resident { statm: File::open("/proc/self/statm").ok(), interval_ms, again_ms: 0 }
    }

    /// What the process takes now, in bytes, where it is time to look.
    pub(super) fn bytes(&mut self, now_ms: u64) -> Option<usize> {
        let statm = self.statm.as_ref().filter(|_| now_ms >= self.again_ms)?;
        self.again_ms = now_ms + self.interval_ms;
        let mut text = [0; 128];
        let length = statm.read_at(&mut text, 0).ok()?;
        // Pages of the address space, then those in memory (proc_pid_statm(5)).
        let pages: usize = std::str::from_utf8(&text[..length]).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some(pages * page_size())
    }
}
