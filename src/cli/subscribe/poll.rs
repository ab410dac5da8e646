//! `sub` over long polling, and over short polling each second.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::Value;

use super::session::Session;
use super::{Connection, Ending, refused};
use crate::cli::http::{ANSWER_TIMEOUT, field_line, json};

/// Polls one after the other on one connection. `wait_s` is how long the server may hold one; 0 polls each second.
pub(super) fn run(session: &mut Session, wait_s: u64) -> Result<Infallible, Ending> {
    let (mut connection, is_short) = (Connection::open(session.url())?, wait_s == 0);
    loop {
        // The first poll comes back at once with a position: without one, what is published between a poll that breaks
        // and the next would be lost.
        let wait_s = if session.knows_positions() { wait_s } else { 0 };
        let (taken, keeps_alive) = poll(session, &mut connection, wait_s)?;
        // A full answer means that there is more.
        if is_short && taken < FULL {
            std::thread::sleep(INTERVAL);
        }
        if !keeps_alive {
            connection = Connection::open(session.url())?;
        }
    }
}

/// One poll. Returns how many messages came, and whether the connection takes another.
fn poll(session: &mut Session, connection: &mut Connection, wait_s: u64) -> Result<(usize, bool), Ending> {
    let (target, authority) = (session.target(), &session.url().authority);
    let authorization = field_line(session.authorization());
    let request =
        format!("GET {target}&wait={wait_s}&limit={FULL} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n");
    connection.set_silence(ANSWER_TIMEOUT + Duration::from_secs(wait_s))?;
    connection.send(request.as_bytes())?;
    let answer = connection.read_answer()?;
    if answer.code != 200 {
        return Err(refused(connection, &answer));
    }
    let content = connection.read_content(&answer)?;
    let polled = json(&content).ok_or_else(unreadable)?;
    session.connected();
    Ok((take(session, &polled)?, answer.keeps_alive()))
}

/// Takes an answer: gaps, then messages, then where it ends.
fn take(session: &mut Session, polled: &Value) -> Result<usize, Ending> {
    let cursor = polled.get("cursor").and_then(Value::as_str).ok_or_else(unreadable)?;
    let messages = polled.get("messages").and_then(Value::as_array).ok_or_else(unreadable)?;
    if polled.get("gap").and_then(Value::as_bool).unwrap_or_default() {
        let lost: Vec<String> = match polled.get("gaps").and_then(Value::as_array) {
            Some(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => session.url().channels.clone(),
        };
        lost.iter().for_each(|channel| session.lose(channel));
    }
    messages.iter().try_for_each(|message| session.take(message))?;
    session.move_to(cursor);
    Ok(messages.len())
}

fn unreadable() -> Ending {
    Ending::Refused("the server's answer is no poll's".to_owned())
}

/// Under the 30 to 60 s after which proxies give a request up.
pub(super) const WAIT_S: u64 = 25;

const INTERVAL: Duration = Duration::from_secs(1);

/// Messages of a channel in one answer.
const FULL: usize = 1_000;
