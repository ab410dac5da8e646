//! What has been published, and the application that does it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use redpoll::{
    Action, CloseCode, ConnectionId, Consumer, Context, Message, Polled, Published, Reason, Response, Server, Since,
    Status,
};

/// Everything that was ever published, by channel and offset.
#[derive(Default)]
pub struct Ledger {
    channels: BTreeMap<String, BTreeMap<u64, Entry>>,
    /// Consumers that exist.
    pub consumers: usize,
    /// Consumers that have connected and not been told of their end.
    pub connected: usize,
    /// Who is present where, when somebody has asked for it last.
    pub listed: Option<Members>,
    /// The same for each observer's channels, when its connection asked for that last.
    pub begun: BTreeMap<ConnectionId, Members>,
    /// Whether anything was taken away that had not grown too old, or too much.
    pub cleared: bool,
    /// The poll of `/get` that waits.
    waiting: Option<ConnectionId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub data: Vec<u8>,
    pub binary: bool,
}

/// Names, by channel.
pub type Members = BTreeMap<String, BTreeSet<String>>;

pub type Shared = Rc<RefCell<Ledger>>;

impl Ledger {
    pub fn record(&mut self, message: Message, published: &Published) {
        let entry = Entry { data: message.data().to_vec(), binary: message.is_binary() };
        // A repeated idempotency key gets the position of the first.
        self.channels
            .entry(published.channel.to_string())
            .or_default()
            .entry(published.position.offset)
            .or_insert(entry);
    }

    pub fn entry(&self, channel: &str, offset: u64) -> &Entry {
        let entry = self.channels.get(channel).and_then(|entries| entries.get(&offset));
        entry.unwrap_or_else(|| panic!("{channel} {offset} was never published"))
    }

    /// The first that was published after `from` and before `to`.
    pub fn between(&self, channel: &str, from: u64, to: u64) -> Option<u64> {
        let entries = self.channels.get(channel)?;
        (from + 1 < to).then(|| entries.range(from + 1..to).next().map(|(offset, _)| *offset))?
    }

    /// Whether all these came one after the other, and whether they are the newest.
    pub fn run(&self, channel: &str, messages: &[Entry]) -> (bool, bool) {
        let all = Vec::from_iter(self.channels.get(channel).into_iter().flat_map(BTreeMap::values).cloned());
        (messages.is_empty() || all.windows(messages.len()).any(|run| run == messages), all.ends_with(messages))
    }
}

/// Channels as in the binary, and some that make use of all that an application can do.
pub fn server(ledger: &Shared) -> Server {
    let [members, polls, sends, clears, talks, lists] = [(); 6].map(|()| Rc::clone(ledger));
    Server::new()
        .route("/channel/{names}", move |_| Member::new(&members))
        .route("/talk", move |_| {
            let ledger = Rc::clone(&talks);
            move |message: Message, cx: &mut Context| talk(message, cx, &ledger)
        })
        .poll("/get", move |_| Poller(Rc::clone(&polls)))
        .post("/send", move |request, cx| {
            let Some(content) = request.form("content") else { return Status::new(400).into() };
            let message = Message::text_of(&content);
            if let Some(published) = cx.publish("a", message) {
                sends.borrow_mut().record(message, &published);
            }
            Response::text("OK")
        })
        .get("/list", move |_, cx| {
            let names =
                Vec::from_iter(cx.list_channels("", "", 10).into_iter().map(|channel| channel.name.to_string()));
            lists.borrow_mut().listed = Some(members_of(&names, cx));
            Response::text(names.join(","))
        })
        .delete("/channel/{names}", move |request, cx| {
            clears.borrow_mut().cleared = true;
            request.param("names").split(',').for_each(|name| cx.clear_history(name));
            Response::new(204)
        })
}

fn members_of(channels: &[String], cx: &Context) -> Members {
    let members = |channel: &String| {
        let listed = BTreeSet::from_iter(cx.list_members(channel, "", 100).into_iter().map(|member| member.name));
        assert_eq!(listed.len(), cx.count_members(channel));
        (channel.clone(), listed)
    };
    channels.iter().map(members).collect()
}

/// A client of the channels in its path. With `until` it has to go so many milliseconds later.
struct Member(Shared);

impl Member {
    fn new(ledger: &Shared) -> Member {
        ledger.borrow_mut().consumers += 1;
        Member(Rc::clone(ledger))
    }
}

impl Consumer for Member {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let Some(request) = cx.request() else { return Ok(()) };
        request.param("names").split(',').for_each(|name| cx.subscribe(name));
        if let Some(until) = request.query("until") {
            let delay_ms: u64 = until.parse().map_err(|_| Status::new(400))?;
            cx.expire_at(Some(cx.now().unix_ms.saturating_add(delay_ms)));
        }
        if let Some(name) = request.query("name") {
            cx.present_as(&name);
        }
        let mut ledger = self.0.borrow_mut();
        if request.query("presence").as_deref() == Some("1") {
            let channels = Vec::from_iter(request.param("names").split(',').map(str::to_owned));
            ledger.begun.insert(cx.id(), members_of(&channels, cx));
        } else {
            ledger.begun.remove(&cx.id());
        }
        ledger.connected += 1;
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        for channel in cx.channels() {
            if let Some(published) = cx.publish(&channel, message) {
                self.0.borrow_mut().record(message, &published);
            }
        }
    }

    fn authorize(&mut self, _: Action, channel: &str, _: &mut Context) -> Result<(), Status> {
        if channel == "forbidden" { Err(Status::new(403)) } else { Ok(()) }
    }

    fn renew(&mut self, token: &str, cx: &mut Context) -> Result<(), Status> {
        let delay_ms = token.parse::<u64>().ok();
        cx.expire_at(delay_ms.map(|delay_ms| cx.now().unix_ms.saturating_add(delay_ms)));
        Ok(())
    }

    fn disconnect(&mut self, _: Reason, _: &mut Context) {
        self.0.borrow_mut().connected -= 1;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.borrow_mut().consumers -= 1;
    }
}

/// Sends back what it gets, and does what that says.
fn talk(message: Message, cx: &mut Context, ledger: &Shared) {
    let (first, rest) = message.data().split_first().map_or((&0, &[][..]), |(first, rest)| (first, rest));
    let name = String::from_utf8_lossy(rest);
    match first {
        b'+' => cx.subscribe(&name),
        b'<' => cx.subscribe_since(&name, Since::Earliest),
        b'-' => cx.unsubscribe(&name),
        b'!' => cx.close(CloseCode::new(1000 + rest.len() as u16)),
        b'*' => {
            ledger.borrow_mut().cleared = true;
            cx.clear_history(&name);
        }
        _ => {}
    }
    cx.send(message);
}

/// A poll of its own shape; the next one ends it.
struct Poller(Shared);

impl Consumer for Poller {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        if let Some(earlier) = self.0.borrow_mut().waiting.replace(cx.id()) {
            cx.end_poll(earlier);
        }
        cx.subscribe_since("a", Since::Last);
        cx.poll(1, 3_000, render);
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}

    fn disconnect(&mut self, _: Reason, cx: &mut Context) {
        let waiting = &mut self.0.borrow_mut().waiting;
        *waiting = waiting.filter(|waiting| *waiting != cx.id());
    }
}

fn render(polled: &Polled) -> Response {
    Response::text(format!("{} {}", polled.publications.len(), polled.missed))
}
