//! `/channel/NAME` and `/channels`.

use std::rc::Rc;

use redpoll::wire::envelope::push_string;
use redpoll::wire::form::channel_names;
use redpoll::{Action, ChannelInfo, Consumer, Context, Message, Request, Response, Server, Status, Transport};

use super::gate::Gate;
use super::guarded::Guarded;

pub(super) fn routes(server: Server, gate: &Rc<Gate>) -> Server {
    let (clears, lists, lets_in) = (Rc::clone(gate), Rc::clone(gate), Rc::clone(gate));
    let server = match gate.is_open() {
        true => server.route("/channel/{names}", |_| Channels),
        false => server.route("/channel/{names}", move |_| Guarded::new(Rc::clone(&lets_in))),
    };
    server
        .delete("/channel/{names}", move |request, cx| {
            forget(request, cx, &clears).map_or_else(Response::from, |()| Response::new(204))
        })
        .get("/channels", move |request, cx| list(request, cx, &lists).unwrap_or_else(Response::from))
}

/// A client of one or several channels. It has no fields, so it takes no memory: the context knows its channels.
struct Channels;

impl Consumer for Channels {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        for name in names_of(cx.request())? {
            cx.subscribe(&name);
        }
        Ok(())
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

/// A page of channels in name order, and from where the next one goes on.
fn list(request: &Request, cx: &mut Context, gate: &Gate) -> Result<Response, Status> {
    gate.admit_to_status(request, cx.now())?;
    let limit = match request.query("limit") {
        None => LIST_DEFAULT,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|limit| *limit > 0)
            .map(|limit| limit.min(LIST_MAX))
            .ok_or_else(|| Status::new(400).detail(format!("limit={text:?}: limit is 1 to {LIST_MAX}")))?,
    };
    let (prefix, after) = (request.query("prefix").unwrap_or_default(), request.query("after").unwrap_or_default());
    let mut channels = cx.list_channels(&prefix, &after, limit + 1);
    let more = channels.len() > limit;
    channels.truncate(limit);
    let next = channels.last().filter(|_| more).map(|channel| channel.name.clone());
    let mut json = br#"{"channels":["#.to_vec();
    for (index, channel) in channels.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        push_channel(&mut json, channel);
    }
    json.extend_from_slice(br#"],"next":"#);
    match next {
        Some(name) => push_string(&mut json, &name),
        None => json.extend_from_slice(b"null"),
    }
    json.push(b'}');
    Ok(Response::new(200).content("application/json", json).field("Cache-Control", "no-store"))
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
