//! `/channel/NAME` and `/channels`.

use redpoll::wire::envelope::push_string;
use redpoll::wire::form::channel_names;
use redpoll::{Action, ChannelInfo, Consumer, Context, Message, Request, Response, Server, Status, Transport};

pub(super) fn routes(server: Server) -> Server {
    server
        .route("/channel/{names}", |_| Channels)
        .delete("/channel/{names}", forget)
        .get("/channels", |request, cx| list(request, cx).unwrap_or_else(Response::from))
}

/// A client of one or several channels. It has no fields, so it takes no memory: the context knows its channels.
struct Channels;

impl Consumer for Channels {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let names = cx.request().map_or("", |request| request.param_raw("names"));
        for name in channel_names(names)? {
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

fn forget(request: &Request, cx: &mut Context) -> Response {
    let names = match channel_names(request.param_raw("names")) {
        Ok(names) => names,
        Err(status) => return status.into(),
    };
    for name in names {
        cx.clear_history(&name);
    }
    Response::new(204)
}

/// A page of channels in name order, and from where the next one goes on.
fn list(request: &Request, cx: &mut Context) -> Result<Response, Status> {
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
