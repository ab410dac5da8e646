/**
 * The chat room: a channel of Redpoll, followed over whichever transport its visitor picks, and beside it a channel for
 * who is here (see `people.js`).
 *
 * What is said is a message of the room's channel, as JSON:
 *
 *     {"from": "a2f…", "time": 1732000000000, "name": "Ann", "transport": "sse", "text": "hello"}
 *
 * `from` is a random name of the sender's window, and together with `time` it names the message. What is not of this
 * form was sent by some other program, and is shown as it is. Whatever others send ends up in `textContent` only, so
 * that it can never become markup.
 */
import { People } from "/people.js";
import { subscribe } from "/redpoll.js";

const room = new URLSearchParams(location.search).get("room") || "lobby";
const roomHere = `${room}~here`;
const channel = `/channel/${encodeURIComponent(room)}`;

/** What the page says about a connection that works. */
const waiting = {
  "websocket": "waiting on an open socket",
  "sse": "waiting for the next event",
  "long-poll": "a question is held until there is news",
  "poll": "asking again every two seconds",
};
const labels = { "websocket": "WebSocket", "sse": "an event stream", "long-poll": "long polling", "poll": "short polling" };
/** How `/channels` calls those that stay open, so that they can be counted. */
const counted = { "websocket": "websocket", "sse": "event_stream" };

/** Old rows go when there are more than this. */
const rowsMax = 500;
/** Messages of one sender within this time stand together under one name. */
const groupMs = 5 * 60_000;
/** Messages on their way; more are not taken. */
const unsentMax = 20;
/** Whether a message has arrived shows this long after the connection that it went into was lost. */
const uncertainMs = 3_000;
const countMs = 10_000;

const element = (id) => document.getElementById(id);
const log = element("log");
const messages = element("messages");
const pending = element("pending");

/** This window, until it is loaded again. Not kept, since a copy of the window would take it for its own. */
const me = randomName();
/** What this window was called before; what it sent then is its own too. */
const mine = new Set(remembered("sessionStorage", "windows", "").split(" ").slice(-20)).add(me);
remember("sessionStorage", "windows", [...mine].join(" "));
let name = remembered("localStorage", "name", "");
let renaming = false;
let timeLast = 0;

const people = new People(me, (presence) => {
  const message = JSON.stringify(signed({ presence }));
  // A page on its way out has no time for an answer; a beacon is sent even so.
  if (presence === "gone") return navigator.sendBeacon(`/channel/${encodeURIComponent(roomHere)}`, message);
  return subscription.publish(message, { channel: roomHere });
});
/** Open connections by transport, from the server; null while it does not tell. */
let counts = null;

/** The rows of own messages on their way, by `time`, and of these the messages that were given up. */
const unsent = new Map();
const failed = new Map();
/** Messages that are shown, by sender and time: one that was sent again because its answer was lost counts once. */
const shown = new Set();
let rowLast = null;
let gapLast = null;
let unread = 0;
/** Whether the reader is at the end of the log, and wants to stay there. */
let following = true;
/** Whether history is over, so that what comes now is new. */
let live = false;
let listing;

// Begin.

element("room").textContent = room;
document.title = `${room} · Redpoll`;
element("curl").textContent = `curl -d hello ${location.origin}${channel}`;
const radios = [...document.querySelectorAll("input[name=transport]")];
const choice = radios.find((radio) => radio.value === remembered("localStorage", "transport", "websocket")) ?? radios[0];
choice.checked = true;

const subscription = subscribe(`${channel},${encodeURIComponent(roomHere)}`, {
  since: "earliest",
  transport: choice.value,
  // Each window is to show a connection of its own, and is counted by it.
  share: false,
  onmessage: receive,
  ongap: lose,
  onstate: showState,
});

showForm();
listPeople();
count();
const recount = setInterval(() => { if (!document.hidden) count(); }, countMs);

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
  endRenaming();
  people.announce(name, subscription.transport);
});

element("rename").addEventListener("click", () => {
  renaming = true;
  element("name").value = name;
  showForm();
  element("name").select();
});
element("cancel").addEventListener("click", endRenaming);
element("name").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && renaming && !event.isComposing) endRenaming();
});

function endRenaming() {
  renaming = false;
  showForm();
  element("text").focus();
}

element("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = element("text").value.trim();
  if (!text) return;
  element("full").hidden = unsent.size < unsentMax;
  if (unsent.size >= unsentMax) return;
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
const sizeOfLog = () => `${log.clientWidth} ${log.clientHeight}`;
let size = sizeOfLog();
log.addEventListener("scroll", () => {
  // A change of size scrolls as well, which is not what the reader did.
  if (size !== sizeOfLog()) return;
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  if (following) showUnread(0);
});
// A phone's keyboard takes half of the log away.
new ResizeObserver(() => {
  size = sizeOfLog();
  if (following) scrollToEnd();
}).observe(log);

element("missing").addEventListener("click", () => {
  gaps.disconnect();
  element("missing").hidden = true;
  (gapLast.isConnected ? gapLast : messages.firstElementChild).scrollIntoView({ block: "center" });
});
/** A gap that is out of sight is told until the reader has been there. */
const gaps = new IntersectionObserver((entries) => {
  const { isIntersecting } = entries.at(-1);
  element("missing").hidden = isIntersecting;
  if (isIntersecting && !following) gaps.disconnect();
}, { root: log });

addEventListener("pagehide", () => people.leave());
addEventListener("pageshow", ({ persisted }) => { if (persisted) people.announce(name, subscription.transport); });

// Sending.

/** A message of this window. Times never repeat, because they name messages. */
function signed(content) {
  timeLast = Math.max(Date.now(), timeLast + 1);
  return { from: me, time: timeLast, name, transport: subscription.transport, ...content };
}

async function send(message) {
  if (!unsent.has(message.time)) {
    const item = pending.appendChild(row(message));
    item.querySelector(".about").prepend(create("span", { className: "sending", textContent: "sending …" }));
    unsent.set(message.time, item);
    showEmpty();
    scrollToEnd();
  }
  unsent.get(message.time).querySelector(".unsent")?.remove();
  for (;;) {
    try {
      return await subscription.publish(JSON.stringify(message), { channel: room });
    } catch (error) {
      if (!error.uncertain) return showUnsent(message, error.message);
      await new Promise((resolve) => setTimeout(resolve, uncertainMs));
      // It has come back from the channel, so it was taken. If it was and has not, `shown` knows it the second time.
      if (!unsent.has(message.time)) return;
    }
  }
}

/** The row stays until the visitor sends it again, or until the message comes back from the channel after all. */
function showUnsent(message, reason) {
  const item = unsent.get(message.time);
  if (!item) return;
  failed.set(message.time, message);
  const again = create("button", { type: "button", textContent: "Send again" });
  again.addEventListener("click", () => {
    const messages = [...failed.values()];
    failed.clear();
    messages.forEach(send);
  });
  item.append(create("p", { className: "unsent" }, create("span", { textContent: `Not sent: ${reason}` }), again));
  scrollToEnd();
}

// Receiving.

/** The server forgot something of what was said, or of who is here. */
function lose({ channel }) {
  if (channel === room) return addGap();
  people.forgotten();
  people.announce(name, subscription.transport);
}

function receive({ channel, id, data, event }) {
  const message = parse(data);
  if (message.from) {
    people.note(message, live);
    listSoon();
    if (message.presence) countSoon();
  }
  if (channel === room && message.text !== undefined) addMessage({ ...message, event }, id);
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
    from: typeof value.from === "string" && value.from ? value.from.slice(0, 64) : undefined,
    time: Number.isFinite(value.time) ? value.time : undefined,
  };
}

function addMessage(message, id) {
  const key = `${message.from} ${message.time}`;
  if (message.from && shown.has(key)) return;
  if (message.from) shown.add(key);
  if (shown.size > 4 * rowsMax) shown.delete(shown.values().next().value);

  if (message.from === me) {
    unsent.get(message.time)?.remove();
    unsent.delete(message.time);
    failed.delete(message.time);
    element("full").hidden = true;
  }
  const item = row(message);
  item.dataset.id = id;
  item.classList.toggle("together", areTogether(message, rowLast));
  rowLast = message;
  messages.append(item);
  added(mine.has(message.from));
}

/** Whether a row needs no heading, since it would be that of the row before. */
function areTogether(message, last) {
  const same = last && ["from", "name", "transport", "event"].every((key) => message[key] === last[key]);
  return Boolean(same) && !(message.time - last.time > groupMs);
}

function addGap() {
  gapLast = messages.appendChild(create("li", { className: "notice", textContent: "Some messages are missing here. The server no longer has them." }));
  gaps.disconnect();
  gaps.observe(gapLast);
  rowLast = null;
  added(true);
}

/** After a row: stay at the end if the reader was there, and leave alone a reader who has scrolled back. */
function added(own) {
  showEmpty();
  // Whoever reads above may read on, but not without end.
  while (messages.children.length > (following ? 1 : 2) * rowsMax) messages.firstElementChild.remove();
  if (following) {
    scrollToEnd();
  } else if (!own) {
    showUnread(unread + 1);
  }
}

/** A message that does not say when it was sent shows no time: after a reload it would be another. */
function row({ from, name, text, transport, event, time = NaN }) {
  const item = create("li", { className: mine.has(from) ? "message own" : "message" });
  const who = create("bdi", { className: name ? "name" : "name quiet", textContent: name || "a program" });
  const how = icon(transport ?? "terminal", transport ? `over ${labels[transport]}` : "from another program");
  const when = create("time");
  const date = new Date(time);
  if (!Number.isNaN(date.getTime())) {
    when.dateTime = date.toISOString();
    when.title = date.toLocaleString();
    when.textContent = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }
  const what = event ? [create("bdi", { className: "event", textContent: event })] : [];
  item.append(create("p", { className: "about" }, who, how, ...what, when), create("p", { className: "text", dir: "auto", textContent: text }));
  return item;
}

// Who is here, and how many connections there are.

function listSoon() {
  listing ??= setTimeout(listPeople, 50);
}

function listPeople() {
  listing = undefined;
  const listed = people.present(countOf);
  if (name) listed.unshift({ name, transport: subscription.transport, note: "you" });
  element("nobody").hidden = listed.length > 0;
  element("people-count").textContent = listed.length || "";
  element("people").replaceChildren(...listed.map(({ name, transport, note = "" }) => create("li", {},
    icon(transport ?? "terminal", labels[transport] ?? "unknown"),
    create("bdi", { textContent: name }),
    create("span", { className: "quiet", textContent: note }))));
}

/** The others' connections. Between two polls there is nothing to count. */
function countOf(transport) {
  if (!counts || !counted[transport]) return undefined;
  return counts[counted[transport]] - (subscription.transport === transport ? 1 : 0);
}

let counting;
function countSoon() {
  clearTimeout(counting);
  counting = setTimeout(count, 300);
}

async function count() {
  try {
    // Without a limit, questions into a silent network would take up all connections that a browser allows.
    const init = { cache: "no-store", signal: AbortSignal.timeout(countMs) };
    const response = await fetch(`/channels?prefix=${encodeURIComponent(room)}&limit=1`, init);
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
function showState({ state, transport, reason, status, delayMs }) {
  clearInterval(ticking);
  document.body.dataset.state = state;
  element("countdown").textContent = "";
  if (state === "connected") {
    showStatus("Connected", waiting[transport]);
    people.announce(name, transport);
    // What a connection begins with is history, and that is not read out.
    if (!live) setTimeout(endHistory, 1000);
    countSoon();
  } else if (state === "reconnecting") {
    showStatus("Reconnecting", reason);
    countSoon();
    if (delayMs !== undefined) countDown(Date.now() + delayMs);
  } else if (state === "closed") {
    showRefusal(status, reason);
  } else {
    showStatus("Connecting", `over ${labels[transport]}`);
  }
  listPeople();
}

function endHistory() {
  live = true;
  log.setAttribute("aria-live", "polite");
  showEmpty();
}

/** The server will never let this page in, so there is nothing to wait for. */
function showRefusal(status, reason) {
  const title = status === 400 ? "This room’s name is not allowed" : "You cannot enter this room";
  showStatus("Closed", title);
  element("refused").textContent = title;
  element("refused-reason").textContent = reason;
  element("refusal").hidden = false;
  element("transports").disabled = true;
  clearInterval(recount);
  showForm();
  showEmpty();
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
  const refused = !element("refusal").hidden;
  const asking = !name || renaming;
  element("join").hidden = refused || !asking;
  element("say").hidden = refused || asking;
  element("rename").hidden = refused || asking;
  element("cancel").hidden = !name;
  element("enter").textContent = name ? "Rename" : "Join";
  element("me").textContent = name;
  listPeople();
}

function showEmpty() {
  element("empty").hidden = !live || !element("refusal").hidden || messages.children.length + pending.children.length > 0;
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
