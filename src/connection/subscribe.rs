//! GET on a consumer's route: which transport, from where on, in which form.

use std::borrow::Cow;
use std::rc::Rc;

use super::event_stream::EventStream;
use super::poll::Poll;
use super::presence::observes;
use super::respond::Terms;
use super::upgrade::{handshake_of, upgrade_required};
use super::{State, Visit, World};
use crate::config::Limit;
use crate::consumer::{Call, Consumer, PollShape, Reason, Wanted};
use crate::hub::{Beginning, ConnectionId, Form, SubscriptionId, Transport};
use crate::router::Request;
use crate::wire::head::Method;
use crate::wire::position::{Position, Since};
use crate::wire::response::Response;
use crate::wire::status::Status;

/// A subscription that begins behind a gap: the client's own position, and where delivery goes on.
pub(super) struct Unknown {
    pub(super) subscription: SubscriptionId,
    pub(super) from: Position,
    pub(super) to: Position,
}

impl Visit<'_> {
    /// Has the consumer say what a GET subscribes to, and begins that.
    pub(super) fn subscribe(
        &mut self,
        mut consumer: Box<dyn Consumer>,
        request: &Request,
        only_polls: bool,
        terms: Terms,
    ) -> Result<(), Response> {
        let mut call = Call { connecting: true, ..Call::default() };
        consumer.connect(&mut self.context(&mut call, Some(request)))?;
        self.connection.consumer = Some(consumer);
        self.world.expire_at(self.id, call.expires_ms);
        let begun = match call.refused.take() {
            Some(refused) => Err(refused.into()),
            None => self.begin_subscription(&call, request, only_polls, terms),
        };
        match (&begun, &call.tap.key) {
            (Err(_), _) => self.end_consumer(Reason::Answered),
            (Ok(()), Some(key)) => self.begin_tap(key),
            (Ok(()), None) => {}
        }
        begun
    }

    fn begin_subscription(
        &mut self,
        call: &Call,
        request: &Request,
        only_polls: bool,
        terms: Terms,
    ) -> Result<(), Response> {
        let observes = observes(request)?;
        let starts = self.starts(&call.wanted, since_of(request).as_deref(), observes)?;
        let several = starts.len() > 1;
        // HEAD only looks.
        if let Some(name) = call.name.as_ref().filter(|_| !terms.head_only) {
            self.world.hub.name(self.id, name)?;
        }
        let handshake = if only_polls { None } else { handshake_of(request, &self.world.config)? };
        if let Some(mut handshake) = handshake {
            handshake.deflate = handshake.deflate.filter(|_| !call.tap.declines_deflate);
            let raw = raw_of(request, observes)?.unwrap_or(!several);
            let unknown = self.enter(&starts, Transport::WebSocket, false)?;
            self.begin_websocket(&handshake, raw, &unknown);
            self.say_after_connect(call);
            return Ok(());
        }
        if starts.is_empty() {
            let detail = "this path has nothing to subscribe to: it is a WebSocket, or takes POST";
            return Err(upgrade_required(detail));
        }
        if let Some(shape) = call.poll {
            self.begin_own_poll(shape, &starts, terms);
            return Ok(());
        }
        let raw = raw_of(request, observes)?;
        if raw == Some(true) && several {
            return Err(Status::new(400).detail("form=raw is for one channel: several come as form=json").into());
        }
        if !only_polls && request.head().accepts_event_stream() && request.method() == Method::Get {
            let form = if raw.unwrap_or(!several) { Form::Event } else { Form::EnvelopeEvent };
            let unknown = self.enter(&starts, Transport::EventStream, false)?;
            self.begin_event_stream(EventStream::new(form, several || observes), terms, &unknown);
            return Ok(());
        }
        let wait_ms = if terms.head_only { 0 } else { wait_of(request, self.world.config.wait_s_max)? };
        let limit = limit_of(request)?.min(self.world.config.poll_messages_max);
        let unknown = self.enter(&starts, Transport::LongPoll, wait_ms == 0)?;
        self.connection.state = State::Poll(Poll::new(limit, raw.unwrap_or(false), terms), None);
        self.begin_poll(wait_ms, &unknown);
        Ok(())
    }

    /// Begins a poll of the application's own shape. Where its channels cannot be had, it waits as if nothing came.
    fn begin_own_poll(&mut self, shape: PollShape, starts: &[Beginning], terms: Terms) {
        let unknown = self.enter(starts, Transport::LongPoll, false).unwrap_or_else(|refusal| {
            log::debug!("{}: a poll waits for nothing: {refusal}", self.id.0);
            self.world.leave(self.id);
            self.world.transports[Transport::LongPoll as usize] += 1;
            Vec::new()
        });
        let limit = shape.limit.min(self.world.config.poll_messages_max);
        self.connection.state = State::Poll(Poll::new(limit, false, terms), Some(shape.render));
        self.begin_poll(if terms.head_only { 0 } else { shape.wait_ms }, &unknown);
    }

    /// Where each channel begins that the consumer wants. A vector of positions names all of them, also those that the
    /// consumer has begin elsewhere.
    fn starts(&self, wanted: &[Wanted], since: Option<&str>, observes: bool) -> Result<Vec<Beginning>, Status> {
        let asked = match since.filter(|_| wanted.iter().any(|wanted| wanted.since.is_none())) {
            Some(text) => Since::parse_vector(text, wanted.len())?,
            None => vec![Since::Latest; wanted.len()],
        };
        let mut of_presence = since.unwrap_or_default().split(',').map(Since::of_presence);
        let begin = |(wanted, asked): (&Wanted, Since)| Beginning {
            name: Rc::clone(&wanted.name),
            start: self.world.hub.start(&wanted.name, wanted.since.unwrap_or(asked)),
            presence: observes.then(|| of_presence.next().unwrap_or(Since::Latest)),
        };
        Ok(wanted.iter().zip(asked).map(begin).collect())
    }

    /// Subscribes to the channels, either all or none. One that gets its answer at once needs no room for them.
    fn enter(&mut self, starts: &[Beginning], transport: Transport, at_once: bool) -> Result<Vec<Unknown>, Status> {
        let mut unknown = Vec::new();
        for wanted in starts {
            self.world.begin(self.id, wanted, transport, at_once, &mut unknown)?;
        }
        self.world.transports[transport as usize] += 1;
        Ok(unknown)
    }

    /// Answers the poll at once if it has no time to wait or something to get.
    fn begin_poll(&mut self, wait_ms: u64, unknown: &[Unknown]) {
        let unknown: Vec<SubscriptionId> = unknown.iter().map(|unknown| unknown.subscription).collect();
        let due = !unknown.is_empty() || self.world.hub.lacks(self.id);
        match due || wait_ms == 0 || self.world.draining {
            true => self.answer_poll(&unknown),
            false => self.world.schedule(self.id, wait_ms),
        }
    }
}

impl World {
    /// Subscribes to one channel, and right behind it to who comes and goes, where that is asked for. What begins
    /// behind a gap is added to `unknown`.
    pub(super) fn begin(
        &mut self,
        id: ConnectionId,
        wanted: &Beginning,
        transport: Transport,
        at_once: bool,
        unknown: &mut Vec<Unknown>,
    ) -> Result<SubscriptionId, Status> {
        let World { hub, config, now, .. } = self;
        // Who is present, or observes, stays for a while: that does not go with the answer.
        let begun = match at_once && wanted.presence.is_none() && !hub.has_name(id) {
            true => hub.subscribe_briefly(id, wanted, config)?,
            false => hub.subscribe(id, wanted, transport, *now, config)?,
        };
        let starts = [Some((begun.subscription, wanted.start)), begun.observer];
        for (subscription, start) in starts.into_iter().flatten() {
            let to = hub.position(start.cursor);
            unknown.extend(start.unknown.map(|from| Unknown { subscription, from, to }));
        }
        Ok(begun.subscription)
    }
}

/// `Last-Event-ID` wins: a browser that reconnects sends the URL as it was. `If-None-Match` stands in for what is
/// missing.
fn since_of<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    let last_event_id = request.field("last-event-id").filter(|id| !id.is_empty()).map(Cow::Borrowed);
    let entity_tag = || {
        let tag = request.field("if-none-match")?.trim();
        tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
    };
    last_event_id.or_else(|| request.query("since")).or_else(entity_tag)
}

/// Who is to be told of joins and leaves needs envelopes.
fn raw_of(request: &Request, observes: bool) -> Result<Option<bool>, Status> {
    match request.query("form").as_deref() {
        None => Ok(observes.then_some(false)),
        Some("raw") if observes => {
            let detail = "form=raw has only payloads: presence=1 tells joins and leaves, which come as form=json";
            Err(Status::new(400).detail(detail))
        }
        Some("raw") => Ok(Some(true)),
        Some("json") => Ok(Some(false)),
        Some(other) => Err(Status::new(400).detail(format!("form={other:?}: form is raw or json"))),
    }
}

fn wait_of(request: &Request, wait_s_max: u32) -> Result<u64, Status> {
    let Some(text) = request.query("wait") else { return Ok(0) };
    match number_of(&text) {
        Some(seconds) if seconds <= u64::from(wait_s_max) => Ok(seconds * 1000),
        known => {
            let refused = Status::new(400).detail(format!("wait={text:?}: wait is whole seconds, 0 to {wait_s_max}"));
            Err(if known.is_none() { refused } else { refused.limit(Limit::Wait) })
        }
    }
}

fn limit_of(request: &Request) -> Result<u16, Status> {
    let Some(text) = request.query("limit") else { return Ok(u16::MAX) };
    match number_of(&text) {
        Some(limit @ 1..) => Ok(u16::try_from(limit).unwrap_or(u16::MAX)),
        _ => Err(Status::new(400).detail(format!("limit={text:?}: limit is 1 or more"))),
    }
}

/// Digits alone, without the sign that `parse` would take. More than a `u64` holds is as much as that.
fn number_of(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}
