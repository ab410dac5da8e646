//! Requests to bytes, bytes to responses.

use super::buffer::Buffer;

/// One response; of a WebSocket or event stream only the head.
pub(crate) struct Response {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The server will close.
    pub(crate) fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }

    /// What follows is not HTTP.
    fn leaves_http(&self) -> bool {
        self.status == 101 || self.field("content-type") == Some("text/event-stream")
    }
}

/// Responses, in pieces of any size.
#[derive(Default)]
pub(crate) struct Responses {
    buffer: Buffer,
    /// How much there must be before there is a whole one.
    needed: usize,
}

impl Responses {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// The next whole response; a 100 is passed over.
    pub(crate) fn next(&mut self) -> Option<Response> {
        loop {
            let bytes = self.buffer.bytes();
            if bytes.len() < self.needed {
                return None;
            }
            let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
            let head = std::str::from_utf8(&bytes[..end - 4]).expect("a head is ASCII");
            let mut lines = head.split("\r\n");
            let status_line = lines.next().expect("a head has a first line");
            let rest = status_line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("status line {status_line:?}"));
            let status: u16 = rest[..3].parse().expect("a status has three digits");
            let field = |line: &str| {
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("field {line:?}"));
                (name.to_ascii_lowercase(), value.trim().to_owned())
            };
            let mut response = Response { status, fields: lines.map(field).collect(), body: Vec::new() };
            if status == 100 {
                self.buffer.take(end);
                continue;
            }
            let bodiless = status == 204 || response.leaves_http();
            let length = match response.field("content-length") {
                _ if bodiless => 0,
                Some(length) => length.parse().expect("Content-Length is a number"),
                None => panic!("{status} without Content-Length"),
            };
            self.needed = end + length;
            response.body = bytes.get(end..self.needed)?.to_vec();
            self.buffer.take(std::mem::take(&mut self.needed));
            return Some(response);
        }
    }

    /// What came after the last response.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        self.buffer.take(self.buffer.bytes().len()).to_vec()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.bytes().is_empty()
    }
}
