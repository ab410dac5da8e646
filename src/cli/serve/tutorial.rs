//! The tutorial chat: `/home/`, `/send_msg/`, `/get_msg/`.
//!
//! The classic tutorial gives each browser a queue on the server. Here each has a place in the room, which is a
//! position in the channel's log: the same thing without the copies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use redpoll::wire::envelope::push_string;
use redpoll::{
    ConnectionId, Consumer, Context, Message, Method, Polled, Position, Reason, Request, Response, Server, Since,
    Status,
};

use super::pages;

const CHANNEL: &str = "tutorial";

/// How long `/get_msg/` waits: what the tutorial's queue waits.
const WAIT_MS: u64 = 10_000;

pub(super) fn routes(server: Server, html: Option<PathBuf>, age_ms: u64) -> Server {
    let room = Rc::new(RefCell::new(Room { places: HashMap::new(), age_ms, swept_ms: 0 }));
    let entrance = Rc::clone(&room);
    server
        .get("/home/", move |request, cx| {
            entrance.borrow_mut().join(&name_of(request), cx);
            home(request, html.as_ref())
        })
        .post("/send_msg/", send)
        .route("/get_msg/", move |request| Poller { room: Rc::clone(&room), name: name_of(request) })
}

/// Who is in the room, and up to where each has read.
struct Room {
    places: HashMap<String, Place>,
    /// A place that nobody has used for this long is given up.
    age_ms: u64,
    swept_ms: u64,
}

struct Place {
    position: Position,
    /// The poll that waits for its next message.
    waiting: Option<ConnectionId>,
    used_ms: u64,
}

impl Room {
    /// The place of a name, from this moment on if it is new. There is none for nobody.
    fn join(&mut self, name: &str, cx: &mut Context) -> Option<&mut Place> {
        let now_ms = cx.now().monotonic_ms;
        self.sweep(now_ms);
        if name.is_empty() || (self.places.len() >= PLACES_MAX && !self.places.contains_key(name)) {
            return None;
        }
        let newcomer = || Place { position: cx.newest(CHANNEL), waiting: None, used_ms: now_ms };
        let place = self.places.entry(name.to_owned()).or_insert_with(newcomer);
        place.used_ms = now_ms;
        Some(place)
    }

    /// Gives up the places that are too old, now and then.
    fn sweep(&mut self, now_ms: u64) {
        if now_ms - self.swept_ms >= SWEEP_MS || self.places.len() >= PLACES_MAX {
            self.swept_ms = now_ms;
            self.places.retain(|_, place| place.waiting.is_some() || now_ms - place.used_ms < self.age_ms);
        }
    }
}

/// One `/get_msg/`.
struct Poller {
    room: Rc<RefCell<Room>>,
    name: String,
}

impl Consumer for Poller {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        if cx.request().is_some_and(|request| request.method() != Method::Get) {
            return Err(Status::new(405).detail("messages are taken with GET"));
        }
        let id = cx.id();
        let mut room = self.room.borrow_mut();
        let since = match room.join(&self.name, cx) {
            Some(place) => {
                if let Some(earlier) = place.waiting.replace(id) {
                    cx.end_poll(earlier);
                }
                Since::After(place.position)
            }
            None => Since::Latest,
        };
        cx.subscribe_since(CHANNEL, since);
        cx.poll(1, WAIT_MS, render);
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}

    /// The place moves on only now, when the answer has gone: who has left uses nothing up.
    fn disconnect(&mut self, _: Reason, cx: &mut Context) {
        let mut room = self.room.borrow_mut();
        let Some(place) = room.places.get_mut(&self.name) else { return };
        if let Some(position) = cx.cursor(CHANNEL) {
            place.position = position;
        }
        if place.waiting == Some(cx.id()) {
            place.waiting = None;
        }
    }
}

/// `{"status":true,"msg":"..."}`; a gap is a message too, since the tutorial's page knows nothing else.
fn render(polled: &Polled) -> Response {
    let text = match polled.publications.first() {
        _ if polled.missed > 0 => Some(format!("({} messages were missed)", polled.missed)),
        Some(publication) => Some(String::from_utf8_lossy(publication.data()).into_owned()),
        None => None,
    };
    let mut json =
        if text.is_some() { br#"{"status":true,"msg":"#.to_vec() } else { br#"{"status":false,"msg":"#.to_vec() };
    push_string(&mut json, text.as_deref().unwrap_or(""));
    json.push(b'}');
    Response::new(200).content("application/json", json).field("Cache-Control", "no-store")
}

fn send(request: &Request, cx: &mut Context) -> Response {
    match request.form("content") {
        Some(content) => {
            cx.publish(CHANNEL, &*content);
            Response::text("OK")
        }
        None => Status::new(400).detail("the form field \"content\" is missing").into(),
    }
}

/// The page, with the name where it says `{{ name }}`, as the tutorial's server fills it in.
fn home(request: &Request, html: Option<&PathBuf>) -> Response {
    let bytes = match pages::home(html.map(PathBuf::as_path)) {
        Ok(bytes) => bytes,
        Err(status) => return status.into(),
    };
    let page = String::from_utf8_lossy(&bytes).replace("{{ name }}", &escaped(&name_of(request)));
    pages::page("home.html", page.into_bytes()).field("Cache-Control", "no-store")
}

fn name_of(request: &Request) -> String {
    request.query("name").unwrap_or_default().chars().take(NAME_CHARS_MAX).collect()
}

/// Text for HTML: nothing in a name can be markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\\' => escaped.push_str("&#92;"),
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// A place costs about 150 bytes and its name.
const PLACES_MAX: usize = 16_384;
const NAME_CHARS_MAX: usize = 64;
const SWEEP_MS: u64 = 60_000;
