//! Event streams (WHATWG HTML §9.2.6), line by line.

use super::buffer::Buffer;

/// What stands between two empty lines.
#[derive(Clone, Default)]
pub(crate) struct Block {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<String>,
}

#[derive(Default)]
pub(crate) struct Events {
    buffer: Buffer,
    block: Block,
}

impl Events {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// The next whole block.
    pub(crate) fn next(&mut self) -> Option<Block> {
        loop {
            let end = memchr::memchr(b'\n', self.buffer.bytes())?;
            let line = std::str::from_utf8(&self.buffer.take(end + 1)[..end]).expect("an event stream is UTF-8");
            assert!(!line.contains('\r'), "a CR in an event stream");
            if line.is_empty() {
                return Some(std::mem::take(&mut self.block));
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("line {line:?}"));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match name {
                "" | "retry" => {}
                "id" => self.block.id = Some(value),
                "event" => self.block.event = Some(value),
                "data" => match &mut self.block.data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    None => self.block.data = Some(value),
                },
                _ => panic!("line {line:?}"),
            }
        }
    }
}
