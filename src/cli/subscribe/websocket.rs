//! `sub` over WebSocket, with the subprotocol `redpoll.v1`.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use redpoll::CloseCode;
use redpoll::wire::close;
use redpoll::wire::frame::{Opcode, encode_masked};
use redpoll::wire::handshake::{check_answer, client_request, encode_key};
use redpoll::wire::message::{Decoder, Event, Limits, Role};

use super::session::Session;
use super::{Connection, Ending, refused};
use crate::cli::http::json;
use crate::cli::retry::{entropy, nonce};

pub(super) fn run(session: &mut Session) -> Result<Infallible, Ending> {
    let mut connection = Connection::open(session.url())?;
    let key = encode_key(nonce());
    let authorization = session.authorization().map(|value| ("Authorization", value));
    let authority = &session.url().authority;
    let request = client_request(authority, &session.target(), &key, &[PROTOCOL], authorization.as_slice());
    connection.send(&request)?;
    let answer = connection.read_answer()?;
    if answer.code != 101 {
        return Err(refused(&mut connection, &answer));
    }
    match check_answer(&answer.head, &key, &[PROTOCOL]) {
        Ok(Some(accepted)) if accepted.protocol.as_deref() == Some(PROTOCOL) => {}
        Ok(_) => return Err(Ending::Refused(format!("the server does not speak {PROTOCOL}"))),
        Err(why) => return Err(Ending::Refused(why)),
    }
    connection.set_silence(SILENCE)?;
    session.connected();
    let ended = receive(session, &mut connection);
    if matches!(ended, Err(Ending::Done)) {
        // RFC 6455 §7.1.1 asks for it; who does not wait for the answer loses nothing.
        let _ = send(&mut connection, Opcode::Close, &close::encode(CloseCode::NORMAL, ""));
    }
    ended
}

/// Reads until the connection ends.
fn receive(session: &mut Session, connection: &mut Connection) -> Result<Infallible, Ending> {
    let (mut decoder, mut is_pinged) = (Decoder::default(), false);
    loop {
        let mut bytes = connection.take_received();
        let mut at = 0;
        loop {
            let decoded = decoder.decode(&mut bytes[at..], &LIMITS);
            let (used, event) =
                decoded.map_err(|violation| Ending::Lost(format!("the server sent {violation}"), None))?;
            at += used;
            let Some(event) = event else { break };
            handle(session, connection, event)?;
        }
        match connection.read_more() {
            Ok(()) => is_pinged = false,
            // A long `--ping` of the server is no reason to believe that it is gone: it is asked first.
            Err(error) if is_silence(error.kind()) && !is_pinged => {
                is_pinged = true;
                send(connection, Opcode::Ping, b"")?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn handle(session: &mut Session, connection: &mut Connection, event: Event) -> Result<(), Ending> {
    match event {
        // What is not JSON is no message of the subprotocol.
        Event::Message { data, .. } => json(data).map_or(Ok(()), |value| session.take(&value)),
        Event::Ping(payload) => Ok(send(connection, Opcode::Pong, payload)?),
        Event::Pong(_) => Ok(()),
        Event::Close(code) => {
            // RFC 6455 §5.5.1: a close is answered with the same code.
            let answer = code.map_or(Vec::new(), |(code, _)| close::encode(code, ""));
            let _ = send(connection, Opcode::Close, &answer);
            Err(Ending::Lost(
                code.map_or("closed".to_owned(), |(code, _)| format!("the server closed with {code}")),
                None,
            ))
        }
    }
}

fn send(connection: &mut Connection, opcode: Opcode, payload: &[u8]) -> std::io::Result<()> {
    let [a, b, c, d, ..] = entropy();
    let mut frame = Vec::new();
    encode_masked(opcode, payload, [a, b, c, d], &mut frame);
    connection.send(&frame)
}

fn is_silence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

const PROTOCOL: &str = "redpoll.v1";

/// A message is as large as the server's `--max-message` lets others publish, and its JSON up to six times that.
const LIMITS: Limits = Limits { role: Role::Client, message_bytes_max: 256 << 20, deflate: false };

/// The server pings after 25 s of silence, by default.
const SILENCE: Duration = Duration::from_secs(35);
