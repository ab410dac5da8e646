//! `/channel/NAME`, who is there, and `/channels`.

use std::borrow::Cow;
use std::rc::Rc;

use redpoll::wire::envelope::{push_member, push_string};
use redpoll::wire::form::channel_names;
use redpoll::{
    Action, ChannelInfo, Consumer, Context, MemberInfo, Message, Order, Request, Response, Server, Status, Transport,
};

use super::gate::Gate;
use super::guarded::Guarded;
use super::lab;
use super::status::Audience;

pub(super) fn routes(server: Server, gate: &Rc<Gate>, audience: &Audience) -> Server {
    let audience = audience.clone();
    let [clears, lists, shows, lets_in] = [(); 4].map(|()| Rc::clone(gate));
    let server = match gate.is_open() {
        true => server.route("/channel/{names}", |_| Channels),
        false => server.route("/channel/{names}", move |_| Guarded::new(Rc::clone(&lets_in))),
    };
    server
        .delete("/channel/{names}", move |request, cx| {
            forget(request, cx, &clears).map_or_else(Response::from, |()| Response::new(204))
        })
        .get("/channel/{names}/members", move |request, cx| members(request, cx, &shows).unwrap_or_else(Response::from))
        .get("/channels", move |request, cx| list(request, cx, &lists, &audience).unwrap_or_else(Response::from))
}

/// A client of one or several channels. It has no fields, so it takes no memory: the context knows its channels.
struct Channels;

impl Consumer for Channels {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let names = names_of(cx.request())?;
        names.iter().for_each(|name| cx.subscribe(name));
        if let Some(name) = cx.request().and_then(|request| request.query("name")) {
            cx.present_as(&name);
        }
        lab::tap(&names, cx)
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        for channel in cx.channels() {
            cx.publish(&channel, message);
        }
    }

    /// The server is open, so every channel is.
    fn authorize(&mut self, _: Action, _: &str, _: &mut Context) -> Result<(), Status> {
        Ok(())
    }
}

/// The channels that a request names.
pub(super) fn names_of(request: Option<&Request>) -> Result<Vec<String>, Status> {
    channel_names(request.map_or("", |request| request.param_raw("names")))
}

fn forget(request: &Request, cx: &mut Context, gate: &Gate) -> Result<(), Status> {
    let names = names_of(Some(request))?;
    gate.admit(request, cx.now(), Action::Publish, &names)?;
    names.iter().for_each(|name| cx.clear_history(name));
    Ok(())
}

/// A page of channels in name order, and from where the next one goes on; or the largest, for those who see the status
/// page: all channels have to be looked at.
fn list(request: &Request, cx: &mut Context, gate: &Gate, audience: &Audience) -> Result<Response, Status> {
    gate.admit_to_status(request, cx.now())?;
    let (prefix, page) = (request.query("prefix").unwrap_or_default(), Page::of(request)?);
    let channels = match order_of(request)? {
        None => cx.list_channels(&prefix, &page.after, page.limit + 1),
        Some(_) if !page.after.is_empty() => {
            return Err(Status::new(400).detail("order= lists the first alone: after= goes on in name order"));
        }
        Some(order) => {
            audience.admit(request, cx)?;
            cx.list_largest(&prefix, order, page.limit)
        }
    };
    let mut json = br#"{"channels":"#.to_vec();
    page.push(&mut json, &channels, push_channel, |channel| &channel.name);
    Ok(Response::new(200).content("application/json", json).field("Cache-Control", "no-store"))
}

fn order_of(request: &Request) -> Result<Option<Order>, Status> {
    let known = [("subscribers", Order::Subscribers), ("messages", Order::Messages), ("bytes", Order::Bytes)];
    let Some(text) = request.query("order").filter(|text| text != "name") else { return Ok(None) };
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, order)| *order);
    let accepted = "order is name, subscribers, messages or bytes";
    found.map(Some).ok_or_else(|| Status::new(400).detail(format!("order={text:?}: {accepted}")))
}

/// A page of the members of one channel, the same way.
fn members(request: &Request, cx: &mut Context, gate: &Gate) -> Result<Response, Status> {
    let names = names_of(Some(request))?;
    gate.admit(request, cx.now(), Action::Subscribe, &names)?;
    let [channel] = &names[..] else {
        return Err(Status::new(400).detail("members are those of one channel: ask for each"));
    };
    let page = Page::of(request)?;
    let members = cx.list_members(channel, &page.after, page.limit + 1);
    let mut json = br#"{"channel":"#.to_vec();
    push_string(&mut json, channel);
    json.extend_from_slice(format!(r#","count":{},"members":"#, cx.count_members(channel)).as_bytes());
    let push = |out: &mut Vec<u8>, member: &MemberInfo| push_member(out, &member.name, member.transport.word());
    page.push(&mut json, &members, push, |member| &member.name);
    Ok(Response::new(200).content("application/json", json).field("Cache-Control", "no-store"))
}

/// Which part of a list in the order of names is asked for.
struct Page<'r> {
    after: Cow<'r, str>,
    limit: usize,
}

impl<'r> Page<'r> {
    fn of(request: &Request<'r>) -> Result<Page<'r>, Status> {
        let limit = match request.query("limit") {
            None => LIST_DEFAULT,
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|limit| *limit > 0)
                .map(|limit| limit.min(LIST_MAX))
                .ok_or_else(|| Status::new(400).detail(format!("limit={text:?}: limit is 1 to {LIST_MAX}")))?,
        };
        Ok(Page { after: request.query("after").unwrap_or_default(), limit })
    }

    /// Appends what has been found, which may be one too many, and from where the next page goes on.
    fn push<T>(&self, out: &mut Vec<u8>, found: &[T], push: impl Fn(&mut Vec<u8>, &T), name: impl Fn(&T) -> &str) {
        let listed = &found[..found.len().min(self.limit)];
        out.push(b'[');
        for (index, item) in listed.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push(out, item);
        }
        out.extend_from_slice(br#"],"next":"#);
        match listed.last().filter(|_| found.len() > self.limit) {
            Some(last) => push_string(out, name(last)),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
}

fn push_channel(out: &mut Vec<u8>, channel: &ChannelInfo) {
    out.extend_from_slice(br#"{"channel":"#);
    push_string(out, &channel.name);
    let by_transport =
        |transport: &Transport| format!(r#""{}":{}"#, transport.name(), channel.subscribers[*transport as usize]);
    let subscribers = Transport::ALL.iter().map(by_transport).collect::<Vec<_>>().join(",");
    let ChannelInfo { messages, bytes, oldest, newest, .. } = channel;
    let rest = format!(
        r#","subscribers":{{{subscribers}}},"messages":{messages},"bytes":{bytes},{}"#,
        format_args!(r#""oldest":"{oldest}","newest":"{newest}"}}"#)
    );
    out.extend_from_slice(rest.as_bytes());
}

const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;
