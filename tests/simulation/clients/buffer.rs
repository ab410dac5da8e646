//! What has arrived and is not a whole message yet.

#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How much of `bytes` has been used.
    used: usize,
}

impl Buffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.used));
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Takes the first bytes out.
    pub(crate) fn take(&mut self, count: usize) -> &[u8] {
        self.used += count;
        &self.bytes[self.used - count..self.used]
    }
}
