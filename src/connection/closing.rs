//! Closing: this side has sent a Close and waits for the peer's (RFC 6455 §7.1.2).

use super::{State, Visit};
use crate::wire::message::Event;

impl Visit<'_> {
    /// Discards everything but the peer's Close, which ends the connection; so does what cannot be decoded.
    pub(super) fn receive_closing(&mut self, bytes: &mut [u8]) -> usize {
        let State::Closing(websocket, decoder) = &mut self.connection.state else { return bytes.len() };
        let limits = websocket.limits(&self.world.config);
        let mut at = 0;
        let closed = loop {
            match decoder.decode(&mut bytes[at..], &limits) {
                Ok((used, Some(Event::Message { .. } | Event::Ping(_) | Event::Pong(_)))) => at += used,
                Ok((_, None)) => break None,
                Ok((used, Some(Event::Close(_)))) => break Some(at + used == bytes.len()),
                Err(_) => break Some(false),
            }
        };
        if let Some(last) = closed {
            self.drain_after_close(last);
        }
        bytes.len()
    }
}
