//! Responding: answers, and what follows them.

use super::request::RequestState;
use super::{State, Visit, World};
use crate::consumer::Reason;
use crate::wire::head::{Head, Method};
use crate::wire::response::{self, Exchange, Response};
use crate::wire::status::Status;
use crate::wire::syntax::list_items;

/// An answer is being written; nothing is read until it has gone.
#[derive(Clone, Copy)]
pub(crate) struct Responding {
    pub(super) keep_alive: bool,
}

/// What an answer takes from its request, to be kept while a poll waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(super) persistence: Persistence,
    pub(super) head_only: bool,
    /// Which of the configured origins may read the answer, counted from 1; 0 if no field is needed.
    pub(super) allowed_origin: u8,
}

/// What becomes of the connection after the answer (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    Close,
    KeepAlive,
    /// It stays open, which an HTTP/1.0 client has to be told.
    SaidKeepAlive,
}

impl Terms {
    pub(super) fn keep_alive(self) -> bool {
        self.persistence != Persistence::Close
    }

    pub(super) fn http10(self) -> bool {
        self.persistence == Persistence::SaidKeepAlive
    }

    pub(super) fn exchange(self, date: &str) -> Exchange<'_> {
        Exchange { date, keep_alive: self.keep_alive(), http10: self.http10(), head_only: self.head_only }
    }
}

/// What scripts of other origins may read besides the content.
const EXPOSED: &str = "ETag, Retry-After, Redpoll-Gap";

impl Visit<'_> {
    pub(super) fn terms(&self, head: &Head, allowed_origin: u8) -> Terms {
        Terms {
            persistence: match (head.keep_alive() && !self.world.draining, head.is_http10()) {
                (false, _) => Persistence::Close,
                (true, false) => Persistence::KeepAlive,
                (true, true) => Persistence::SaidKeepAlive,
            },
            head_only: head.method() == Method::Head,
            allowed_origin,
        }
    }

    /// Answers a request, and goes on to the next one or ends.
    pub(super) fn respond(&mut self, response: Response, terms: Terms) {
        self.push_response(response, terms);
        self.after_request(terms.keep_alive());
    }

    /// Appends an answer to the output.
    pub(super) fn push_response(&mut self, response: Response, terms: Terms) {
        let response = self.with_fields(response, terms);
        let date = self.world.date.at(self.world.now.unix_ms / 1000);
        response::encode(&response, &terms.exchange(date), &mut self.world.output);
    }

    fn with_fields(&mut self, mut response: Response, terms: Terms) -> Response {
        let code = response.code();
        if code >= 400 {
            self.world.counters.refuse(code);
            self.world.counters.reach(response.reached());
        }
        if matches!(code, 429 | 503) && response.value("Retry-After").is_none() {
            let wait_s = if code == 429 { self.world.publish_wait_s(self.id) } else { 1 };
            response = response.field("Retry-After", wait_s.to_string());
        }
        if let Some(origin) = self.world.config.origins.get(usize::from(terms.allowed_origin).wrapping_sub(1)) {
            response = response
                .field("Access-Control-Allow-Origin", origin.clone())
                .field("Access-Control-Expose-Headers", EXPOSED);
        }
        if !response
            .value("Vary")
            .is_some_and(|names| list_items(names).any(|name| name.eq_ignore_ascii_case("origin")))
        {
            response = response.field("Vary", "Origin");
        }
        // What a push server says holds for this moment; whoever knows better has said so.
        if response.value("Cache-Control").is_none() {
            response = response.field("Cache-Control", "no-store");
        }
        response.field("X-Content-Type-Options", "nosniff")
    }

    /// The fields that an answer written by hand shares with [`Visit::respond`]'s.
    pub(super) fn push_common_fields(&mut self, terms: Terms) {
        let World { output, date, now, config, .. } = self.world;
        response::push_field(output, "Date", date.at(now.unix_ms / 1000));
        response::push_field(output, "Cache-Control", "no-store");
        response::push_field(output, "Vary", "Accept, Origin");
        response::push_field(output, "X-Content-Type-Options", "nosniff");
        if let Some(origin) = config.origins.get(usize::from(terms.allowed_origin).wrapping_sub(1)) {
            response::push_field(output, "Access-Control-Allow-Origin", origin);
            response::push_field(output, "Access-Control-Expose-Headers", EXPOSED);
        }
    }

    /// Goes on after an answer that nobody has to be told of. While the server ends, only a request that is there
    /// already is still served.
    fn after_request(&mut self, keep_alive: bool) {
        self.leave_client();
        match keep_alive && (!self.world.draining || self.connection.has_input()) {
            true => self.await_request(),
            false => self.drain_then_go(false),
        }
    }

    fn await_request(&mut self) {
        self.connection.state = State::Request(RequestState::default());
        self.end_tap();
        self.await_rest_of_request();
        if self.connection.has_input() {
            self.world.unread.push(self.id);
        }
    }

    /// Has the consumer told, and the next request read, when the answer has gone to the kernel.
    pub(super) fn respond_when_flushed(&mut self, terms: Terms) {
        self.connection.state = State::Responding(Responding { keep_alive: terms.keep_alive() });
        self.world.schedule(self.id, self.world.config.ping_interval_ms);
    }

    pub(super) fn finish_response(&mut self, responding: Responding) {
        self.end_consumer(Reason::Answered);
        self.after_request(responding.keep_alive);
    }
}

/// `Retry-After` of a 503 is in [`Visit::respond`]; this one refuses a connection that is not even accepted.
pub(crate) fn refusal_of_connection(detail: String) -> Vec<u8> {
    let status = Status::new(503).detail(detail);
    let exchange = Exchange { date: "", keep_alive: false, http10: false, head_only: false };
    let mut bytes = Vec::new();
    let response = Response::from(status).field("Retry-After", "5").field("Cache-Control", "no-store");
    response::encode(&response.field("X-Content-Type-Options", "nosniff"), &exchange, &mut bytes);
    bytes
}
