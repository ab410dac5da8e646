//! The tutorial chat: `/home/`, `/send_msg/`, `/get_msg/`.
//!
//! The classic tutorial gives each browser a queue on the server. Here each has a place in the room, which is a
//! position in the channel's log: the same thing without the copies.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::rc::Rc;

use redpoll::wire::envelope::push_string;
use redpoll::{
    Action, Config, ConnectionId, Consumer, Context, Message, Method, Polled, Position, Reason, Request, Response,
    Server, Since, Status,
};

use super::gate::Gate;
use super::pages;

const CHANNEL: &str = "tutorial";

/// How long `/get_msg/` waits: what the tutorial's queue waits.
const WAIT_MS: u64 = 10_000;

pub(super) fn routes(server: Server, html: Option<PathBuf>, config: &Config, gate: &Rc<Gate>) -> Server {
    let age_ms = config.history_of(CHANNEL).age_ms;
    let room = Rc::new(RefCell::new(Room { places: HashMap::new(), names: RandomState::new(), age_ms, swept_ms: 0 }));
    let (entrance, gate) = (Rc::clone(&room), Rc::clone(gate));
    let (shows, takes) = (Rc::clone(&gate), Rc::clone(&gate));
    server
        .get("/home/", move |request, cx| {
            if let Err(refused) = shows.admit(request, cx.now(), Action::Subscribe, &[CHANNEL]) {
                return refused.into();
            }
            entrance.borrow_mut().join(&name_of(request), cx);
            home(request, html.as_ref())
        })
        .post("/send_msg/", move |request, cx| send(request, cx, &takes).unwrap_or_else(Response::from))
        .poll("/get_msg/", move |request| Poller {
            gate: Rc::clone(&gate),
            room: Rc::clone(&room),
            name: name_of(request).into_owned(),
            takes: request.method() == Method::Get,
        })
}

/// Who is in the room, and up to where each has read.
struct Room {
    /// By the hash of each name, so that a long one takes no more than a short one.
    places: HashMap<u64, Place>,
    /// The hash has a key of its own, so that nobody can find two names with the same one.
    names: RandomState,
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
    /// The place of a name, from this moment on if it is new or its place has expired. No name is a name too.
    fn join(&mut self, name: &str, cx: &mut Context) -> &mut Place {
        let (key, now_ms) = (self.names.hash_one(name), cx.now().monotonic_ms);
        if self.places.get(&key).is_none_or(|place| place.has_expired(now_ms, self.age_ms)) {
            self.places.remove(&key);
            self.make_room(now_ms);
        }
        let newcomer = || Place { position: cx.newest(CHANNEL), waiting: None, used_ms: now_ms };
        let place = self.places.entry(key).or_insert_with(newcomer);
        place.used_ms = now_ms;
        place
    }

    /// Gives up the places that have expired, now and then, and the one that was not used for longest if there are too
    /// many: its name is then a new one, as after a restart.
    fn make_room(&mut self, now_ms: u64) {
        if now_ms - self.swept_ms >= SWEEP_MS || self.places.len() >= PLACES_MAX {
            self.swept_ms = now_ms;
            self.places.retain(|_, place| !place.has_expired(now_ms, self.age_ms));
        }
        if self.places.len() >= PLACES_MAX
            && let Some(key) = self.places.iter().min_by_key(|(_, place)| place.used_ms).map(|(key, _)| *key)
        {
            self.places.remove(&key);
        }
    }
}

impl Place {
    fn has_expired(&self, now_ms: u64, age_ms: u64) -> bool {
        self.waiting.is_none() && now_ms - self.used_ms >= age_ms
    }
}

/// One `/get_msg/`.
struct Poller {
    gate: Rc<Gate>,
    room: Rc<RefCell<Room>>,
    name: String,
    /// HEAD only looks, and uses nothing up.
    takes: bool,
}

impl Consumer for Poller {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let Some(request) = cx.request() else { return Ok(()) };
        let claims = self.gate.admit(request, cx.now(), Action::Subscribe, &[CHANNEL])?;
        cx.expire_at(claims.and_then(|claims| claims.expires_ms));
        let id = cx.id();
        let mut room = self.room.borrow_mut();
        let place = room.join(&self.name, cx);
        if self.takes
            && let Some(earlier) = place.waiting.replace(id)
        {
            cx.end_poll(earlier);
        }
        cx.subscribe_since(CHANNEL, Since::After(place.position));
        cx.poll(1, WAIT_MS, render);
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}

    /// The place moves on only now, when the answer has gone: who has left uses nothing up. Nor does a poll that
    /// another one has ended.
    fn disconnect(&mut self, _: Reason, cx: &mut Context) {
        let mut room = self.room.borrow_mut();
        let key = room.names.hash_one(&self.name);
        let own = room.places.get_mut(&key).filter(|place| self.takes && place.waiting == Some(cx.id()));
        let Some(place) = own else { return };
        place.waiting = None;
        place.position = cx.cursor(CHANNEL).unwrap_or(place.position);
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

fn send(request: &Request, cx: &mut Context, gate: &Gate) -> Result<Response, Status> {
    gate.admit(request, cx.now(), Action::Publish, &[CHANNEL])?;
    let content = request.form("content").ok_or(Status::new(400).detail("the form field \"content\" is missing"))?;
    cx.publish(CHANNEL, &*content);
    Ok(Response::text("OK"))
}

/// The page, with the name where it says `{{ name }}`, as the tutorial's server fills it in.
fn home(request: &Request, html: Option<&PathBuf>) -> Response {
    let bytes = match pages::home(html.map(PathBuf::as_path)) {
        Ok(bytes) => bytes,
        Err(status) => return status.into(),
    };
    let page = String::from_utf8_lossy(&bytes).replace("{{ name }}", &escaped(&name_of(request)));
    let response = pages::page("home.html", page.into_bytes(), "no-store");
    if html.is_none() { response.field("Content-Security-Policy", pages::CONTENT_SECURITY_POLICY) } else { response }
}

fn name_of<'a>(request: &Request<'a>) -> Cow<'a, str> {
    request.query("name").unwrap_or_default()
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

/// A place costs about 60 bytes.
const PLACES_MAX: usize = 16_384;
const SWEEP_MS: u64 = 60_000;
