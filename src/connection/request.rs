//! Request: a head is being read, then its content.

use super::{State, Visit};
use crate::config::Limit;
use crate::consumer::Reason;
use crate::pages::heap_bytes;
use crate::wire::content::{ContentDecoder, Framing};
use crate::wire::head::{Head, head_length, head_too_large, leading_empty_lines};
use crate::wire::status::Status;

/// A connection between two requests, or in the middle of one. An unfinished head waits in the backlog's input.
#[derive(Default)]
pub(crate) struct RequestState {
    content: Option<Box<Content>>,
}

/// A request whose content has not all arrived.
struct Content {
    /// Read again when the content is there: borrowing it meanwhile would tie the state to itself.
    head: Vec<u8>,
    decoder: ContentDecoder,
    bytes: Vec<u8>,
}

/// The request has been answered with what is wrong with it.
struct Refused;

impl RequestState {
    pub(super) fn held_bytes(&self) -> usize {
        let held = |content: &Content| {
            heap_bytes(size_of::<Content>())
                + heap_bytes(content.head.capacity())
                + heap_bytes(content.bytes.capacity())
        };
        self.content.as_deref().map_or(0, held)
    }
}

impl Visit<'_> {
    /// Serves one request, or as much of it as is there. Returns how many bytes were used; the others are to be given
    /// again with what follows.
    pub(super) fn receive_request(&mut self, bytes: &mut [u8]) -> usize {
        let State::Request(request) = &mut self.connection.state else { return 0 };
        let received = match request.content.take() {
            Some(content) => self.receive_content(content, bytes),
            None => self.receive_head(bytes),
        };
        // Whatever the answer was to, what follows is not understood.
        received.unwrap_or(bytes.len())
    }

    fn refuse(&mut self, status: Status, head: Option<&Head>) -> Refused {
        self.refuse_and_close(status, head);
        Refused
    }

    fn receive_head(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let scanned = self.scanned();
        let empty = leading_empty_lines(bytes);
        if empty > 0 {
            if let Some(backlog) = &mut self.connection.backlog {
                backlog.scanned = 0;
            }
            return Ok(empty);
        }
        let limit = self.world.config.head_bytes_max;
        let Some(length) = head_length(bytes, scanned).map_err(|status| self.refuse(status, None))? else {
            if bytes.len() > limit {
                return Err(self.refuse(head_too_large(bytes, limit), None));
            }
            self.connection.backlog_mut().scanned = bytes.len();
            if scanned == 0 {
                self.world.schedule(self.id, self.world.config.head_timeout_ms);
            }
            return Ok(0);
        };
        if let Some(backlog) = &mut self.connection.backlog {
            backlog.scanned = 0;
        }
        if length > limit {
            return Err(self.refuse(head_too_large(&bytes[..length], limit), None));
        }
        let (head, rest) = bytes.split_at(length);
        let parsed = Head::parse(head).map_err(|status| self.refuse(status, None))?;
        let served = self.serve_head(&parsed, head, rest);
        served.map(|used| length + used).map_err(|status| self.refuse(status, Some(&parsed)))
    }

    /// Serves the request at once if its content is there, else begins to collect that. Returns how much of `rest` was
    /// used.
    fn serve_head(&mut self, head: &Head, bytes: &[u8], rest: &[u8]) -> Result<usize, Status> {
        let framing = head.framing()?;
        framing.check(self.world.config.message_bytes_max)?;
        let expects_continue = head.expects_continue()?;
        match framing {
            Framing::None => self.dispatch(head, b""),
            Framing::Length(length) if length <= rest.len() as u64 => {
                let content = &rest[..length as usize];
                self.dispatch(head, content);
                return Ok(content.len());
            }
            framing => {
                if expects_continue && rest.is_empty() && !self.invite(head) {
                    return Ok(0);
                }
                let content =
                    Content { head: bytes.to_vec(), decoder: ContentDecoder::new(framing), bytes: Vec::new() };
                self.connection.state = State::Request(RequestState { content: Some(Box::new(content)) });
                self.world.schedule(self.id, self.world.config.content_timeout_ms);
            }
        }
        Ok(0)
    }

    fn receive_content(&mut self, mut content: Box<Content>, bytes: &[u8]) -> Result<usize, Refused> {
        let limit = self.world.config.message_bytes_max;
        let decoded = content.decoder.decode(bytes, &mut content.bytes, limit);
        if let Ok((used, false)) = decoded {
            self.connection.state = State::Request(RequestState { content: Some(content) });
            return Ok(used);
        }
        // It could be parsed before.
        let head = Head::parse(&content.head).map_err(|status| self.refuse(status, None))?;
        let (used, _) = decoded.map_err(|status| self.refuse(status, Some(&head)))?;
        self.dispatch(&head, &content.bytes);
        Ok(used)
    }

    /// Asks for the content of a request that waits to be asked (RFC 9110 §10.1.1), unless it can be refused without.
    fn invite(&mut self, head: &Head) -> bool {
        match self.refusal_before_content(head) {
            Some(refusal) => {
                self.refuse_and_close(refusal, Some(head));
                false
            }
            None => {
                self.world.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                true
            }
        }
    }

    /// Sets the timer to what is waited for.
    pub(super) fn await_rest_of_request(&mut self) {
        let State::Request(request) = &self.connection.state else { return };
        let config = &self.world.config;
        let delay_ms = match (&request.content, self.scanned()) {
            (Some(_), _) => config.content_timeout_ms,
            (None, 1..) => config.head_timeout_ms,
            (None, 0) => config.keep_alive_ms,
        };
        self.world.schedule(self.id, delay_ms);
    }

    /// How much of an unfinished head has been looked at.
    fn scanned(&self) -> usize {
        self.connection.backlog.as_ref().map_or(0, |backlog| backlog.scanned)
    }

    /// The peer ends its side. What was complete has been answered.
    pub(super) fn end_of_requests(&mut self) {
        self.drain_then_go(true);
    }

    pub(super) fn expire_request(&mut self) {
        let State::Request(request) = &mut self.connection.state else { return };
        if let Some(content) = request.content.take() {
            let detail = format!("the content did not arrive within {} ms", self.world.config.content_timeout_ms);
            let refusal = Status::new(408).detail(detail).limit(Limit::ContentTime);
            return self.refuse_and_close(refusal, Head::parse(&content.head).ok().as_ref());
        }
        if self.scanned() == 0 {
            self.world.counters.reach(Limit::KeepAlive);
            return self.drain_then_go(false);
        }
        let head_timeout_ms = self.world.config.head_timeout_ms;
        let detail = format!("the head did not arrive within {head_timeout_ms} ms, which --head-timeout decides");
        self.refuse_and_close(Status::new(408).detail(detail).limit(Limit::HeadTime), None);
    }

    /// An idle connection ends at once; a request that is arriving is answered first, and an answer on its way arrives.
    pub(super) fn drain_request(&mut self) {
        match self.connection.state {
            State::Request(RequestState { content: None }) if self.connection.is_blocked() => self.drain_then_go(false),
            State::Request(RequestState { content: None }) if self.scanned() == 0 => self.drop_for(Reason::Draining),
            _ => {}
        }
    }
}
