//! The log: a line for each event on standard error, and nothing where nobody reads it.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

struct StandardError;

impl Log for StandardError {
    fn enabled(&self, _: &Metadata) -> bool {
        // `log::set_max_level` has decided before.
        true
    }

    fn log(&self, record: &Record) {
        // Not `eprintln!`, as in the loggers that there are: it panics when the reader of a pipe has gone, and the
        // server would end with the log.
        let _ = writeln!(std::io::stderr(), "{:<5} [{}] {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

/// Begins to log what is at least as important as `level`.
pub(super) fn begin(level: LevelFilter) {
    // Only a second logger is refused, and there is none.
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(level);
    }
}
