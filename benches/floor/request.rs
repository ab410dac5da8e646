//! What the floor understands of HTTP: the opening handshake, an event stream, a POST.

use redpoll::wire::handshake::accept_key;

use super::Floor;
use super::peer::Role;

impl Floor {
    /// Answers the requests that are whole, in one write.
    pub(super) fn receive_requests(&mut self, id: usize, read: &mut [u8]) {
        let Some(peer) = &mut self.peers[id] else { return };
        peer.begun.extend_from_slice(read);
        let bytes = std::mem::take(&mut peer.begun);
        let (mut at, mut answers) = (0, Vec::new());
        while let Some(head) = head(&bytes[at..]) {
            let content = at + head.len() + 4;
            let end = content + field(head, "Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if end > bytes.len() {
                break;
            }
            answers.extend(self.answer(id, head, &bytes[content..end]).into_bytes());
            at = end;
        }
        if let Some(peer) = &mut self.peers[id] {
            peer.begun = bytes[at..].to_vec();
            peer.write(&answers);
        }
    }

    fn answer(&mut self, id: usize, head: &str, content: &[u8]) -> String {
        let target = head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let name = path.strip_prefix("/channel/");
        let key = field(head, "Sec-WebSocket-Key");
        let (role, answer) = match (name, key) {
            (None, Some(key)) => (Role::Echo, switching(key)),
            (Some(name), Some(key)) => {
                let channel = self.channel(name);
                self.channels[channel].sockets.push(id);
                (Role::Member(channel), switching(key))
            }
            (Some(name), None) if head.starts_with("POST") => {
                let channel = self.channel(name);
                self.channels[channel].say(content);
                (Role::Request, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok".to_owned())
            }
            (Some(name), None) => {
                let channel = self.channel(name);
                self.channels[channel].streams.push(id);
                (Role::EventStream(channel), EVENT_STREAM.to_owned())
            }
            (None, None) => (Role::Request, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        };
        if let Some(peer) = &mut self.peers[id] {
            peer.role = role;
        }
        answer
    }
}

/// The first head in `bytes`, without the empty line that ends it.
fn head(bytes: &[u8]) -> Option<&str> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    std::str::from_utf8(&bytes[..end]).ok()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn switching(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key)
    )
}

const EVENT_STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nid: 00000001-0\n\n";
