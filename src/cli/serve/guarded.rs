//! `/channel/NAME` for clients that have a token.

use std::rc::Rc;

use redpoll::wire::token::Claims;
use redpoll::{Action, Consumer, Context, Message, Method, Request, Status};

use super::channels::names_of;
use super::gate::{Gate, check};
use super::lab;

/// A client of one or several channels that may do what its token says.
pub(super) struct Guarded {
    gate: Rc<Gate>,
    /// Kept where more will be asked of it: on a WebSocket. An event stream or a poll asks once.
    claims: Option<Box<Claims>>,
}

impl Guarded {
    pub(super) fn new(gate: Rc<Gate>) -> Guarded {
        Guarded { gate, claims: None }
    }

    fn check(&self, action: Action, channel: &str) -> Result<(), Status> {
        check(self.claims.as_deref().unwrap_or(&Claims::default()), action, channel)
    }
}

impl Consumer for Guarded {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let Some(request) = cx.request() else { return Ok(()) };
        let names = names_of(Some(request))?;
        let claims = self.gate.admit(request, cx.now(), action_of(request), &names)?;
        cx.expire_at(claims.as_ref().and_then(|claims| claims.expires_ms));
        // Not what the request says: nobody takes another's name.
        if let Some(subject) = claims.as_ref().and_then(|claims| claims.subject.as_ref()) {
            cx.present_as(subject);
        }
        self.claims = claims.filter(|_| request.field("upgrade").is_some()).map(Box::new);
        names.iter().for_each(|name| cx.subscribe(name));
        lab::tap(&names, cx)
    }

    /// Another token of the same person, which allows all that is subscribed to: nobody stays where it does not.
    fn renew(&mut self, token: &str, cx: &mut Context) -> Result<(), Status> {
        let claims = self.gate.renew(token, cx.now())?;
        if claims.subject != self.claims.as_ref().and_then(|before| before.subject.clone()) {
            return Err(Status::new(403).detail("the token has another sub than the one before"));
        }
        cx.channels().iter().try_for_each(|channel| check(&claims, Action::Subscribe, channel))?;
        cx.expire_at(claims.expires_ms);
        self.claims = Some(Box::new(claims));
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        let channels = cx.channels();
        // To all or to none. For a POST this was seen to as it connected.
        let is_asked_for = cx.request().is_some();
        let check = |channel| if is_asked_for { Ok(()) } else { self.check(Action::Publish, channel) };
        match channels.iter().try_for_each(|channel| check(channel)) {
            Ok(()) => channels.iter().for_each(|channel| drop(cx.publish(channel, message))),
            Err(refused) => cx.refuse(refused),
        }
    }

    fn authorize(&mut self, action: Action, channel: &str, _: &mut Context) -> Result<(), Status> {
        self.check(action, channel)
    }
}

fn action_of(request: &Request) -> Action {
    match request.method() {
        Method::Post | Method::Put => Action::Publish,
        _ => Action::Subscribe,
    }
}
