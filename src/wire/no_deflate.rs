//! What stands in for compression in a build without the feature `deflate`: nothing is ever agreed on, or compressed.

use super::close::Violation;
use super::extension::Window;
use super::frame::{self, Opcode};

/// Whether this build can compress.
pub const AVAILABLE: bool = false;

/// Compresses nothing.
#[derive(Debug)]
pub struct Deflater;

impl Deflater {
    /// The size from which messages would be compressed has no meaning here.
    pub fn new(_: usize) -> Deflater {
        Deflater
    }

    /// None, whatever was agreed on.
    pub fn window_for(&self, _: usize, _: Option<Window>) -> Option<Window> {
        None
    }

    /// Appends a whole message as a server sends it.
    pub fn encode(&mut self, opcode: Opcode, payload: &[u8], _: Option<Window>, out: &mut Vec<u8>) {
        frame::encode(opcode, payload, out);
    }
}

/// Inflates nothing.
#[derive(Debug, Default)]
pub struct Inflater(());

impl Inflater {
    /// Fails with 1002: no message can be compressed.
    pub fn inflate(&mut self, _: &[u8], _: usize, _: &mut Vec<u8>) -> Result<(), Violation> {
        Err(Violation::protocol("no extension was agreed on"))
    }
}
