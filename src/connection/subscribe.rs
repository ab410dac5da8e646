//! GET on a consumer's route: which transport, from where on, in which form.

use std::borrow::Cow;
use std::rc::Rc;

use super::event_stream::EventStream;
use super::poll::Poll;
use super::respond::Terms;
use super::upgrade::{handshake_of, upgrade_required};
use super::{State, Visit};
use crate::consumer::{Call, Consumer, PollShape, Reason, Wanted};
use crate::hub::{Form, Start, SubscriptionId, Transport};
use crate::router::Request;
use crate::wire::head::Method;
use crate::wire::position::{Position, Since};
use crate::wire::response::Response;
use crate::wire::status::Status;

/// What the request's query and fields ask for.
struct Asked<'a> {
    /// `None` leaves it to the consumer, else only what is new.
    since: Option<Cow<'a, str>>,
    /// `Some(true)` is `form=raw`.
    raw: Option<bool>,
    wait_ms: u64,
    limit: u16,
}

/// A subscription that begins behind a gap: the client's own position, and where delivery goes on.
pub(super) struct Unknown {
    pub(super) subscription: SubscriptionId,
    pub(super) from: Position,
    pub(super) to: Position,
}

impl Visit<'_> {
    pub(super) fn subscribe(
        &mut self,
        mut consumer: Box<dyn Consumer>,
        request: &Request,
        terms: Terms,
    ) -> Result<(), Response> {
        let asked = Asked::of(request, self.world.config.wait_s_max)?;
        let handshake = handshake_of(request, &self.world.config)?;
        let mut call = Call { connecting: true, ..Call::default() };
        consumer.connect(&mut self.context(&mut call, Some(request)))?;
        if let Some(refused) = call.refused {
            return Err(refused.into());
        }
        let starts = self.starts(&call.wanted, asked.since.as_deref())?;
        if handshake.is_none() && starts.is_empty() {
            return Err(upgrade_required("this path has nothing to subscribe to: it is a WebSocket, or takes POST"));
        }
        let several = starts.len() > 1;
        let is_stream = request.head().accepts_event_stream() && request.method() == Method::Get;
        if asked.raw == Some(true) && several && handshake.is_none() {
            return Err(Status::new(400).detail("form=raw is for one channel: several come as form=json").into());
        }
        let raw = asked.raw.unwrap_or(!several && (handshake.is_some() || is_stream));
        let transport = match &handshake {
            Some(_) => Transport::WebSocket,
            None if is_stream => Transport::EventStream,
            None => Transport::LongPoll,
        };
        let unknown = self.enter(consumer, &starts, transport)?;
        match handshake {
            Some(handshake) => self.begin_websocket(&handshake, raw, &unknown),
            None if is_stream => {
                let form = if raw { Form::Event } else { Form::EnvelopeEvent };
                self.begin_event_stream(EventStream::new(form, several), terms, &unknown);
            }
            None => {
                let limit = call.poll.map_or(asked.limit, |shape| shape.limit);
                let limit = limit.min(self.world.config.poll_messages_max);
                self.connection.state = State::Poll(Poll::new(limit, raw, terms), call.poll.map(|shape| shape.render));
                self.begin_poll(asked.wait_of(call.poll, terms), &unknown);
            }
        }
        Ok(())
    }

    /// Where each channel begins that the consumer wants.
    fn starts(&self, wanted: &[Wanted], since: Option<&str>) -> Result<Vec<(Rc<str>, Start)>, Status> {
        let open = wanted.iter().filter(|wanted| wanted.since.is_none()).count();
        let mut asked = match since {
            Some(text) if open > 0 => Since::parse_vector(text, open)?.into_iter(),
            _ => vec![Since::Latest; open].into_iter(),
        };
        let start = |wanted: &Wanted| {
            let since = wanted.since.or_else(|| asked.next()).unwrap_or(Since::Latest);
            (Rc::clone(&wanted.name), self.world.hub.start(&wanted.name, since))
        };
        Ok(wanted.iter().map(start).collect())
    }

    /// Subscribes, and hands the connection to its consumer. Either to all channels or to none.
    fn enter(
        &mut self,
        consumer: Box<dyn Consumer>,
        starts: &[(Rc<str>, Start)],
        transport: Transport,
    ) -> Result<Vec<Unknown>, Status> {
        self.connection.consumer = Some(consumer);
        let mut unknown = Vec::new();
        for (name, start) in starts {
            match self.world.hub.subscribe(self.id, name, *start, transport, &self.world.config) {
                Ok(subscription) => unknown.extend(start.unknown.map(|from| Unknown {
                    subscription,
                    from,
                    to: self.world.hub.position(start.cursor),
                })),
                Err(status) => {
                    self.end_consumer(Reason::Answered);
                    return Err(status);
                }
            }
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

impl<'a> Asked<'a> {
    fn of(request: &Request<'a>, wait_s_max: u32) -> Result<Asked<'a>, Status> {
        Ok(Asked {
            since: since_of(request),
            raw: raw_of(request)?,
            wait_ms: wait_of(request, wait_s_max)?,
            limit: limit_of(request)?,
        })
    }

    /// The wait of a poll: its own, or that of the shape which the consumer gave it.
    fn wait_of(&self, shape: Option<PollShape>, terms: Terms) -> u64 {
        if terms.head_only { 0 } else { shape.map_or(self.wait_ms, |shape| shape.wait_ms) }
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

fn raw_of(request: &Request) -> Result<Option<bool>, Status> {
    match request.query("form").as_deref() {
        None => Ok(None),
        Some("raw") => Ok(Some(true)),
        Some("json") => Ok(Some(false)),
        Some(other) => Err(Status::new(400).detail(format!("form={other:?}: form is raw or json"))),
    }
}

fn wait_of(request: &Request, wait_s_max: u32) -> Result<u64, Status> {
    let Some(text) = request.query("wait") else { return Ok(0) };
    match text.parse::<u32>() {
        Ok(seconds) if seconds <= wait_s_max => Ok(u64::from(seconds) * 1000),
        _ => Err(Status::new(400).detail(format!("wait={text:?}: wait is whole seconds, 0 to {wait_s_max}"))),
    }
}

fn limit_of(request: &Request) -> Result<u16, Status> {
    let Some(text) = request.query("limit") else { return Ok(u16::MAX) };
    match text.parse::<u64>() {
        Ok(1..) => Ok(text.parse().unwrap_or(u16::MAX)),
        _ => Err(Status::new(400).detail(format!("limit={text:?}: limit is 1 or more"))),
    }
}
