//! POST and PUT: a message, received by the route's consumer and answered with what became of it.

use super::Visit;
use super::dispatch::event_of;
use super::respond::Terms;
use crate::consumer::{Call, Consumer, Message, Reason};
use crate::hub::Published;
use crate::router::Request;
use crate::wire::envelope::push_string;
use crate::wire::form::check_key;
use crate::wire::response::{Response, push_decimal};
use crate::wire::status::Status;

impl Visit<'_> {
    pub(super) fn receive_post(
        &mut self,
        mut consumer: Box<dyn Consumer>,
        request: &Request,
        terms: Terms,
    ) -> Result<(), Response> {
        let event = event_of(request)?;
        let message = message_of(request)?.with_event(event.as_deref());
        let mut call = Call { connecting: true, key: key_of(request)?, ..Call::default() };
        consumer.connect(&mut self.context(&mut call, Some(request)))?;
        call.connecting = false;
        // To all of its channels or to none: a retry must not publish twice to some of them.
        let names = call.wanted.iter().map(|wanted| &*wanted.name);
        let room = self.world.hub.check_room(names, message.data().len(), &self.world.config);
        call.refused = call.refused.or(room.err());
        if call.refused.is_none() {
            consumer.receive(message, &mut self.context(&mut call, Some(request)));
        }
        let refused = call.refused.take();
        let answer = answer(&mut call);
        consumer.disconnect(Reason::Answered, &mut self.context(&mut call, Some(request)));
        if let Some(refused) = refused {
            return Err(refused.into());
        }
        self.respond(answer, terms);
        Ok(())
    }
}

/// The content as a message: binary if it says so, else text, which must be UTF-8.
fn message_of<'a>(request: &Request<'a>) -> Result<Message<'a>, Status> {
    let media_type = request.field("content-type").and_then(|value| value.split(';').next()).unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/octet-stream") {
        return Ok(Message::binary_of(request.content()));
    }
    let text = std::str::from_utf8(request.content());
    text.map(Message::text_of)
        .map_err(|_| Status::new(415).detail("the content is not UTF-8: send binary as application/octet-stream"))
}

fn key_of(request: &Request) -> Result<Option<String>, Status> {
    let key = request.field("idempotency-key");
    key.map_or(Ok(()), check_key)?;
    Ok(key.map(str::to_owned))
}

/// What the consumer sent, else what was published, else nothing.
fn answer(call: &mut Call) -> Response {
    if !call.sent.is_empty() {
        let binary = call.sent.iter().any(|sent| sent.binary);
        let media_type = if binary { "application/octet-stream" } else { "text/plain; charset=utf-8" };
        let sent = call.sent.iter().flat_map(|sent| sent.data.iter().copied()).collect::<Vec<_>>();
        return Response::new(200).content(media_type, sent);
    }
    if call.published.is_empty() {
        return Response::new(204);
    }
    let heard = call.published.iter().any(|published| published.subscribers > 0);
    let mut json = Vec::new();
    match (&call.published[..], call.wanted.len()) {
        ([published], 0 | 1) => push_published(&mut json, published),
        (all, _) => {
            for (index, published) in all.iter().enumerate() {
                json.push(if index == 0 { b'[' } else { b',' });
                push_published(&mut json, published);
            }
            json.push(b']');
        }
    }
    Response::new(if heard { 201 } else { 202 }).content("application/json", json).field("Cache-Control", "no-store")
}

/// `{"channel":"a","id":"0000005f-43","subscribers":12}`
fn push_published(out: &mut Vec<u8>, published: &Published) {
    out.extend_from_slice(br#"{"channel":"#);
    push_string(out, &published.channel);
    out.extend_from_slice(br#","id":"#);
    push_string(out, &published.position.to_string());
    out.extend_from_slice(br#","subscribers":"#);
    push_decimal(out, published.subscribers as u64);
    out.push(b'}');
}
