//! `sub` over Server-Sent Events.

use std::convert::Infallible;
use std::time::Duration;

use redpoll::wire::event_stream::EventStreamParser;

use super::session::Session;
use super::{Connection, Ending, refused};
use crate::cli::http::{Content, field_line};

pub(super) fn run(session: &mut Session) -> Result<Infallible, Ending> {
    let mut connection = Connection::open(session.url())?;
    let (target, authority) = (session.target(), &session.url().authority);
    let authorization = field_line(session.authorization());
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/event-stream\r\n{authorization}\r\n");
    connection.send(request.as_bytes())?;
    let answer = connection.read_answer()?;
    if answer.code != 200 {
        return Err(refused(&mut connection, &answer));
    }
    if !answer.field("content-type").is_some_and(|media_type| media_type.starts_with("text/event-stream")) {
        return Err(Ending::Refused("the server has no event stream there".to_owned()));
    }
    connection.set_silence(SILENCE)?;
    session.connected();
    receive(session, &mut connection, Content::of(&answer)?)
}

/// Reads until the stream ends.
fn receive(session: &mut Session, connection: &mut Connection, mut content: Content) -> Result<Infallible, Ending> {
    let mut parser = EventStreamParser::new(EVENT_BYTES_MAX);
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    loop {
        bytes.clear();
        let is_end = content.read(connection, &mut bytes)?;
        parser.push(&bytes, &mut events).map_err(|error| Ending::Lost(error.to_string(), None))?;
        if let Some(retry_ms) = parser.retry_ms() {
            session.set_retry(Duration::from_millis(retry_ms));
        }
        for event in events.drain(..) {
            // What is not JSON is no event of ours.
            if let Ok(value) = serde_json::from_str(&event.data) {
                session.take(&value)?;
            }
        }
        // After the events: the ID is that of the last of them, and each has set its own channel's position.
        session.begin_at(parser.last_event_id());
        if is_end {
            return Err(Ending::Lost("the server ended the stream".to_owned(), None));
        }
    }
}

const EVENT_BYTES_MAX: usize = 256 << 20;

/// The server sends a comment after 25 s of silence, by default. A longer `--ping` than this costs a reconnection now
/// and then, and no message.
const SILENCE: Duration = Duration::from_secs(90);
