//! The secrets of `serve` and `token`, from a flag, a variable or a file.

use std::fs::File;
use std::io::Read;

use redpoll::wire::token::{SECRET_BYTES_ADVISED, SECRET_BYTES_MIN, Secret};

/// What tokens are checked with. The first one also signs them.
#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) all: Vec<Secret>,
    /// Whether one is shorter than it should be.
    pub(crate) is_one_short: bool,
}

impl Secrets {
    /// Takes a secret that is given in words.
    ///
    /// # Errors
    /// What is accepted.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let secret = Secret::new(bytes).ok_or_else(|| {
            format!("accepted are {SECRET_BYTES_MIN} bytes or more, better {SECRET_BYTES_ADVISED} random ones")
        })?;
        self.is_one_short |= bytes.len() < SECRET_BYTES_ADVISED;
        self.all.push(secret);
        Ok(())
    }

    /// Takes all of a file for a secret, but for one line end at its end, which editors add.
    ///
    /// # Errors
    /// What is accepted.
    pub(super) fn push_file(&mut self, path: &str) -> Result<(), String> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|error| format!("accepted is a file that can be read: {error}"))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("accepted is a file of up to {FILE_BYTES_MAX} bytes"));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        self.push(line.strip_suffix(b"\r").unwrap_or(line)).map_err(|accepted| format!("in it, {accepted}"))
    }
}

/// Far more than any secret has.
const FILE_BYTES_MAX: u64 = 64 << 10;
