//! What stands in for compression in a build without the feature `deflate`: nothing is ever agreed on, or compressed.

use super::close::Violation;
use super::extension::Window;

/// Whether this build can compress.
pub const AVAILABLE: bool = false;

/// Compresses nothing.
#[derive(Debug, Default)]
pub struct Deflater;

impl Deflater {
    /// Appends nothing, and says so.
    pub fn deflate(&mut self, _: &[u8], _: Window, _: &mut Vec<u8>) -> bool {
        false
    }
}

/// Inflates nothing.
#[derive(Debug, Default)]
pub struct Inflater;

impl Inflater {
    /// Fails with 1002: no message can be compressed.
    pub fn inflate(&mut self, _: &[u8], _: usize, _: &mut Vec<u8>) -> Result<(), Violation> {
        Err(Violation::protocol("no extension was agreed on"))
    }
}
