/**
 * The chat room: one channel of Redpoll, followed over whichever transport its visitor picks.
 *
 * Everything in the room is a message of the channel, as JSON:
 *
 *     {"from": "a2f…", "time": 1732000000000, "name": "Ann", "transport": "sse", "text": "hello"}
 *     {"from": "a2f…", "time": 1732000000001, "name": "Ann", "transport": "sse", "presence": "here"}
 *
 * `from` is a random name of the sender's window, and together with `time` it names the message. What is not of this
 * form was sent by some other program, and is shown as it is. Whatever others send ends up in `textContent` only, so
 * that it can never become markup.
 */
import { subscribe } from "/redpoll.js";

const room = new URLSearchParams(location.search).get("room") || "lobby";
const channel = `/channel/${encodeURIComponent(room)}`;

/** What the page says about a connection that works. */
const waiting = {
  "websocket": "waiting on an open socket",
  "sse": "waiting for the next event",
  "long-poll": "the server holds our question until there is news",
  "poll": "asking again every two seconds",
};
const labels = { "websocket": "WebSocket", "sse": "an event stream", "long-poll": "long polling", "poll": "short polling" };
/** How `/channels` calls those that stay open, so that they can be counted. */
const counted = { "websocket": "websocket", "sse": "event_stream" };

/** Old rows go when there are more than this. */
const rowsMax = 500;
/** Messages of one sender within this time stand together under one name. */
const groupMs = 5 * 60_000;
/** Whoever has said nothing for this long, and cannot be counted, is not listed. */
const presenceMs = 60 * 60_000;
const countMs = 10_000;

const element = (id) => document.getElementById(id);
const log = element("log");
const messages = element("messages");
const pending = element("pending");

/** This window, also after a reload: so its own messages are known again. */
const me = remembered("sessionStorage", "window", randomName());
let name = remembered("localStorage", "name", "");
/** What was last said about oneself, so that it is said once. */
let said = "";
let timeLast = 0;

/** Everyone who spoke, by window. @type {Map<string, {name: string, transport: string, time: number, gone: boolean}>} */
const people = new Map();
/** Open connections by transport, from the server; null while it does not tell. */
let counts = null;

/** Own messages on their way, by `time`. */
const unsent = new Map();
/** Messages that are shown, by sender and time: one that was sent again because its answer was lost counts once. */
const shown = new Set();
let rowLast = null;
let unread = 0;
/** Whether the reader is at the end of the log, and wants to stay there. */
let following = true;
/** Whether history is over, so that what comes now was sent now. */
let live = false;

// Begin.

element("room").textContent = room;
document.title = `${room} · Redpoll`;
element("curl").textContent = `curl -d hello ${location.origin}${channel}`;
const radios = [...document.querySelectorAll("input[name=transport]")];
const choice = radios.find((radio) => radio.value === remembered("localStorage", "transport", "websocket")) ?? radios[0];
choice.checked = true;

const subscription = subscribe(channel, {
  since: "earliest",
  transport: choice.value,
  onmessage: receive,
  ongap: lose,
  onstate: showState,
});

showForm();
listPeople();
count();
setInterval(() => { if (!document.hidden) count(); }, countMs);
// History is not read out, what comes after it is.
setTimeout(() => {
  live = true;
  log.setAttribute("aria-live", "polite");
  showEmpty();
}, 1000);

// What the visitor does.

element("transports").addEventListener("change", ({ target }) => {
  remember("localStorage", "transport", target.value);
  subscription.setTransport(target.value);
});

element("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = element("name").value.trim();
  if (!chosen) return;
  name = chosen;
  remember("localStorage", "name", name);
  showForm();
  element("text").focus();
  sayHere();
});

element("rename").addEventListener("click", () => {
  element("name").value = name;
  name = "";
  showForm();
  element("name").select();
});

element("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = element("text").value.trim();
  if (!text) return;
  element("text").value = "";
  send(signed({ text }));
});

element("text").addEventListener("keydown", (event) => {
  // Enter that only accepts an input method's suggestion does not send.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  element("say").requestSubmit();
});

element("newer").addEventListener("click", () => scrollToEnd());
log.addEventListener("scroll", () => {
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  if (following) showUnread(0);
});
// A phone's keyboard takes half of the log away.
new ResizeObserver(() => { if (following) scrollToEnd(); }).observe(log);

// A page on its way out has no time for an answer; a beacon is sent even so.
addEventListener("pagehide", () => {
  if (!said) return;
  said = "";
  navigator.sendBeacon(channel, JSON.stringify(signed({ presence: "gone" })));
});
addEventListener("pageshow", ({ persisted }) => { if (persisted) sayHere(); });

// Sending.

/** A message of this window. Times never repeat, because they name messages. */
function signed(content) {
  timeLast = Math.max(Date.now(), timeLast + 1);
  return { from: me, time: timeLast, name, transport: subscription.transport, ...content };
}

async function send(message) {
  if (!unsent.has(message.time)) {
    unsent.set(message.time, pending.appendChild(row(message)));
    showEmpty();
    scrollToEnd();
  }
  try {
    await subscription.publish(JSON.stringify(message));
  } catch (error) {
    showUnsent(message, error.message);
  }
}

/** The row stays until the visitor sends it again, or until the message comes back from the channel after all. */
function showUnsent(message, reason) {
  const item = unsent.get(message.time);
  if (!item) return;
  const again = create("button", { type: "button", textContent: "Send again" });
  const note = create("p", { className: "unsent" }, create("span", { textContent: `Not sent: ${reason}` }), again);
  again.addEventListener("click", () => {
    note.remove();
    send(message);
  });
  item.append(note);
  scrollToEnd();
}

/** Tells the others who is here and how, once for each name and transport. */
function sayHere() {
  const saying = `${name} ${subscription.transport}`;
  if (!name || saying === said) return;
  said = saying;
  subscription.publish(JSON.stringify(signed({ presence: "here" }))).catch(() => { said = ""; });
}

// Receiving.

/** The server forgot something, perhaps that this window is here. */
function lose() {
  addNotice("Some messages are missing here. The server no longer has them.");
  said = "";
  sayHere();
}

function receive({ id, data }) {
  const message = parse(data);
  if (message.from) notePerson(message);
  if (message.text !== undefined) addMessage(message, id);
}

/** The message in a payload. What this page did not send is text without a sender. */
function parse(data) {
  if (typeof data !== "string") return { text: `${data.length} bytes of binary data` };
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    return { text: data };
  }
  if (typeof value?.name !== "string" || typeof (value.text ?? value.presence) !== "string") return { text: data };
  return {
    name: value.name.slice(0, 64),
    transport: Object.hasOwn(labels, value.transport) ? value.transport : undefined,
    text: typeof value.text === "string" ? value.text : undefined,
    presence: value.presence,
    from: typeof value.from === "string" ? value.from : undefined,
    time: Number.isFinite(value.time) ? value.time : undefined,
  };
}

function addMessage(message, id) {
  const key = `${message.from} ${message.time}`;
  if (message.from && shown.has(key)) return;
  shown.add(key);

  if (message.from === me) {
    unsent.get(message.time)?.remove();
    unsent.delete(message.time);
  }
  const item = row(message);
  item.dataset.id = id;
  const together = message.from && message.from === rowLast?.from && message.name === rowLast.name
    && message.transport === rowLast.transport && message.time - rowLast.time < groupMs;
  item.classList.toggle("together", Boolean(together));
  rowLast = message;
  messages.append(item);
  added(message.from === me);
}

function addNotice(text) {
  messages.append(create("li", { className: "notice", textContent: text }));
  rowLast = null;
  added(true);
}

/** After a row: stay at the end if the reader was there, and leave alone a reader who has scrolled back. */
function added(own) {
  showEmpty();
  if (following) {
    while (messages.children.length > rowsMax) messages.firstElementChild.remove();
    scrollToEnd();
  } else if (!own) {
    showUnread(unread + 1);
  }
}

/** Nothing but a message itself says when it was sent, so one without a time that came with the history shows none. */
function row({ from, name, text, transport, time = live ? Date.now() : NaN }) {
  const item = create("li", { className: from === me ? "message own" : "message" });
  const who = create("bdi", { className: name ? "name" : "name quiet", textContent: name || "no name" });
  const how = icon(transport ?? "terminal", transport ? `over ${labels[transport]}` : "from another program");
  const when = create("time");
  const date = new Date(time);
  if (!Number.isNaN(date.getTime())) {
    when.dateTime = date.toISOString();
    when.title = date.toLocaleString();
    when.textContent = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }
  const about = create("p", { className: "about" }, who, how, when);
  item.append(about, create("p", { className: "text", dir: "auto", textContent: text }));
  return item;
}

// Who is here. Until the server itself knows, this is what people said, held against what the server counts.

function notePerson({ from, name, transport, time = 0, presence }) {
  // A reload says "gone" and "here" at nearly the same moment, and the two may arrive in either order.
  if (time < (people.get(from)?.time ?? 0)) return;
  people.set(from, { name, transport, time, gone: presence === "gone" });
  listPeople();
  if (presence) countSoon();
}

function listPeople() {
  const listed = Object.keys(labels).flatMap(presentOver);
  if (name) listed.unshift([me, { name, transport: subscription.transport }]);
  element("nobody").hidden = listed.length > 0;
  element("people").replaceChildren(...listed.map(([from, { name, transport }]) => create("li", {},
    icon(transport, labels[transport]),
    create("bdi", { textContent: name }),
    ...(from === me ? [create("span", { className: "quiet", textContent: "you" })] : []))));
}

/** The others on one transport, the newest first. */
function presentOver(transport) {
  const present = [...people]
    .filter(([from, person]) => from !== me && !person.gone && person.transport === transport)
    .sort(([, a], [, b]) => b.time - a.time);
  // A browser that crashed said no goodbye. Sockets and streams stay open and can be counted, so no more are listed
  // than there are; between two polls there is nothing to count.
  if (counts && counted[transport]) {
    return present.slice(0, Math.max(0, counts[counted[transport]] - (subscription.transport === transport ? 1 : 0)));
  }
  return present.filter(([, { time }]) => Date.now() - time < presenceMs);
}

let counting;
function countSoon() {
  clearTimeout(counting);
  counting = setTimeout(count, 300);
}

async function count() {
  try {
    const response = await fetch(`/channels?prefix=${encodeURIComponent(room)}&limit=1`, { cache: "no-store" });
    const { channels } = await response.json();
    const subscribers = channels.find((entry) => entry.channel === room)?.subscribers ?? {};
    counts = { websocket: 0, event_stream: 0, long_poll: 0, ...subscribers };
  } catch {
    // The status line says already what is wrong; the numbers are only unknown.
    counts = null;
  }
  for (const place of document.querySelectorAll("[data-count]")) place.textContent = counts?.[place.dataset.count] ?? "";
  listPeople();
}

// Showing.

let ticking;
function showState({ state, transport, reason, delayMs }) {
  clearInterval(ticking);
  element("status").dataset.state = state;
  element("countdown").textContent = "";
  if (state === "connected") {
    showStatus("Connected", waiting[transport]);
    sayHere();
    countSoon();
  } else if (state === "reconnecting") {
    showStatus("Reconnecting", reason);
    countSoon();
    if (delayMs !== undefined) countDown(Date.now() + delayMs);
  } else {
    showStatus("Connecting", `over ${labels[transport]}`);
  }
  listPeople();
}

function showStatus(state, detail) {
  element("status-state").textContent = state;
  element("status-detail").textContent = detail;
  element("status-heard").textContent = `${state}: ${detail}`;
}

function countDown(until) {
  const tick = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    element("countdown").textContent = seconds > 0 ? `in ${seconds} s` : "now";
  };
  tick();
  ticking = setInterval(tick, 250);
}

function showForm() {
  element("join").hidden = Boolean(name);
  element("say").hidden = !name;
  element("rename").hidden = !name;
  element("me").textContent = name;
  listPeople();
}

function showEmpty() {
  element("empty").hidden = messages.children.length + pending.children.length > 0;
}

function showUnread(number) {
  unread = number;
  element("newer").hidden = unread === 0;
  element("newer").textContent = unread === 1 ? "1 new message" : `${unread} new messages`;
}

function scrollToEnd() {
  following = true;
  log.scrollTop = log.scrollHeight;
  showUnread(0);
}

// Small things.

function create(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** One of the symbols in the page, with its meaning for those who do not see it. */
function icon(transport, meaning) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const title = svg.appendChild(document.createElementNS(svg.namespaceURI, "title"));
  const use = svg.appendChild(document.createElementNS(svg.namespaceURI, "use"));
  svg.setAttribute("role", "img");
  title.textContent = meaning;
  use.setAttribute("href", `#icon-${transport}`);
  return svg;
}

/** Storage may be forbidden, even to look at; then things are forgotten, and that is all. */
function remembered(storage, key, otherwise) {
  try {
    return window[storage].getItem(`redpoll-${key}`) ?? remember(storage, key, otherwise);
  } catch {
    return otherwise;
  }
}

function remember(storage, key, value) {
  try {
    window[storage].setItem(`redpoll-${key}`, value);
  } catch {
    // As above.
  }
  return value;
}

function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
