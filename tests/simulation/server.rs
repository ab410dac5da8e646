//! The server of the stories: channels by name, and a consumer that tells the oracle what happens.

use std::cell::RefCell;
use std::rc::Rc;

use redpoll::{Action, Config, Consumer, Context, Message, Reason, Response, Server, Status};

use crate::oracle::{Departure, Ending, Oracle, Payload};
use crate::troubles::held;

type Shared<T> = Rc<RefCell<T>>;

pub(crate) fn server(oracle: &Shared<Oracle>, config: Config) -> Server {
    let for_members = Rc::clone(oracle);
    let for_delete = Rc::clone(oracle);
    let for_list = Rc::clone(oracle);
    Server::new()
        .config(config)
        .route("/channel/{name}", move |_| {
            for_members.borrow_mut().consumers += 1;
            Member { oracle: Rc::clone(&for_members), client: None }
        })
        .get("/list", move |_, cx| {
            let mut oracle = for_list.borrow_mut();
            (0..oracle.channels.len()).for_each(|channel| note_list(&mut oracle, None, channel, cx));
            Response::new(204)
        })
        .delete("/channel/{name}", move |request, cx| {
            for name in request.param_raw("name").split(',') {
                cx.clear_history(name);
                for_delete.borrow_mut().clear(name);
            }
            Response::new(204)
        })
}

/// A client of the channels that its URL names. It tells the oracle what is published.
struct Member {
    oracle: Shared<Oracle>,
    client: Option<usize>,
}

/// Notes who is in a channel.
fn note_list(oracle: &mut Oracle, client: Option<usize>, channel: usize, cx: &Context) {
    let name = oracle.channels[channel].name.clone();
    let listed = cx.list_members(&name, "", usize::MAX).into_iter().map(|member| member.name);
    oracle.listed.insert((client, channel), listed.collect());
}

impl Consumer for Member {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let names = cx.request().map_or("", |request| request.param_raw("name"));
        names.split(',').for_each(|name| cx.subscribe(name));
        let Some(request) = cx.request() else { return Ok(()) };
        if let Some(name) = request.query("name") {
            cx.present_as(&name);
        }
        if let Some(token) = request.query("token") {
            stay(&token, cx)?;
        }
        self.client = request.field("x-client").and_then(|id| id.parse().ok());
        let mut oracle = self.oracle.borrow_mut();
        for name in names.split(',').filter(|_| self.client.is_some()) {
            let channel = oracle.index(name);
            note_list(&mut oracle, self.client, channel, cx);
        }
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        let keyed = cx.request().is_some_and(|request| request.field("idempotency-key").is_some());
        let payload = Payload { data: message.data().to_vec(), binary: message.is_binary() };
        for channel in cx.channels() {
            if let Some(published) = cx.publish(&channel, message) {
                self.oracle.borrow_mut().record(&payload, message.event(), &published, keyed);
            }
        }
    }

    fn authorize(&mut self, _: Action, channel: &str, cx: &mut Context) -> Result<(), Status> {
        let mut oracle = self.oracle.borrow_mut();
        if let Some(channel) = oracle.find(channel) {
            note_list(&mut oracle, self.client, channel, cx);
        }
        Ok(())
    }

    fn renew(&mut self, token: &str, cx: &mut Context) -> Result<(), Status> {
        stay(token, cx)
    }

    fn disconnect(&mut self, reason: Reason, cx: &mut Context) {
        let mut oracle = self.oracle.borrow_mut();
        oracle.note(match reason {
            Reason::Answered => "disconnect: answered",
            Reason::PeerGone => "disconnect: peer gone",
            Reason::Closed(_) => "disconnect: closed",
            Reason::Closing(_) => "disconnect: closing",
            Reason::Silent => "disconnect: silent",
            Reason::Stalled => "disconnect: stalled",
            Reason::Draining => "disconnect: draining",
            Reason::Expired => "disconnect: expired",
        });
        let newest = (0..oracle.channels.len()).map(|channel| oracle.newest(channel)).collect();
        let overdrawn = oracle.troubles.resident || held(&cx.metrics()) > oracle.config.memory_bytes_max;
        oracle.endings.push(Ending { connection: cx.id(), reason, newest, overdrawn });
        for name in cx.channels() {
            if let Some(cursor) = cx.cursor(&name) {
                let Some(channel) = oracle.find(&name) else { continue };
                oracle.departures.push(Departure { connection: cx.id(), channel, cursor });
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.oracle.borrow_mut().consumers -= 1;
    }
}

/// A token says how long its client may stay, from now on.
fn stay(token: &str, cx: &mut Context) -> Result<(), Status> {
    let lasts_ms: u64 = token.parse().map_err(|_| Status::new(401))?;
    cx.expire_at(Some(cx.now().unix_ms + lasts_ms));
    Ok(())
}
