/**
 * The chat room: a channel of Redpoll, followed over whichever transport its visitor picks. Who is here the server tells
 * (see `chat-members.js`); a visitor without a name looks on and is not listed.
 *
 * What is said is a message of the channel, as JSON:
 *
 *     {"from": "a2f…", "time": 1732000000000, "name": "Ann", "transport": "sse", "text": "hello"}
 *
 * `from` is a random name of the sender's window, and together with `time` it names the message. What is not of this
 * form was sent by some other program, and is shown as it is. Whatever others send ends up in `textContent` only, so
 * that it can never become markup, and in the `href` of links that begin with http:// or https://.
 */
import { say, translate } from "/chat-texts.js";
import { Members } from "/chat-members.js";
import { token } from "/page.js";
import { subscribe } from "/redpoll.js";
import { locale, number } from "/texts.js";

const room = new URLSearchParams(location.search).get("room") || "lobby";
/** Dots alone lead elsewhere in an address (RFC 3986 §5.2.4): with more behind them the server says no. */
const channel = `/channel/${encodeURIComponent(room.replace(/^\.\.?$/, "$&/"))}`;
const transports = ["websocket", "sse", "long-poll", "poll"];

/** Old rows go when there are more than this. */
const rowsMax = 500;
/** Messages of one sender within this time stand together under one name. */
const groupMs = 5 * 60_000;
/** Messages on their way; more are not taken. */
const unsentMax = 20;
/** People who are listed; more are counted. */
const peopleMax = 100;

const element = (id) => document.getElementById(id);
const log = element("log");
const messages = element("messages");
const pending = element("pending");

/** This window, until it is loaded again. Not kept, since a copy of the window would take it for its own. */
const me = randomName();
/** What this window was called before; what it sent then is its own too. */
const mine = new Set(remembered("sessionStorage", "windows", "").split(" ").slice(-20)).add(me);
remember("sessionStorage", "windows", [...mine].join(" "));
/** Where there are tokens, the name is in them, and the server heeds no other. */
const nameGiven = subjectOf(token ?? /(?:^|; )redpoll_token=([^;]*)/.exec(document.cookie)?.[1]);
let name = nameGiven || cleaned(remembered("localStorage", "name", ""));
let renaming = false;
let timeLast = 0;

let subscription;
/** The name that the subscription has. */
let nameFollowing;
/** What the subscription is publishing. @type {Set<Promise>} */
const publishing = new Set();
const members = new Members(() => subscription.members(), listSoon);

/** The rows of own messages on their way, by `time`, and of these the messages that were given up. */
const unsent = new Map();
const failed = new Map();
/** Messages that are shown, by sender and time: one that was sent again because its answer was lost counts once. */
const shown = new Set();
let rowLast = null;
let gapLast = null;
/** New messages that the reader has not seen. */
let unread = 0;
/** Whether the reader is at the end of the log, and wants to stay there. */
let following = true;
/** Whether history is over, so that what comes now is new. */
let live = false;

// Begin.

translate();
element("room").textContent = room;
showTitle();
element("curl").textContent = `curl ${token ? '-H "Authorization: Bearer $TOKEN" ' : ""}-d hello ${location.origin}${channel}`;
const radios = [...document.querySelectorAll("input[name=transport]")];
const choice = radios.find((radio) => radio.value === remembered("localStorage", "transport", "websocket")) ?? radios[0];
choice.checked = true;
if (nameGiven) {
  element("rename").disabled = true;
  element("rename").title = say("given");
}
let transport = choice.value;
showForm();
follow();

// What the visitor does.

element("transports").addEventListener("change", ({ target }) => {
  transport = target.value;
  remember("localStorage", "transport", transport);
  subscription.setTransport(transport);
});

element("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = cleaned(element("name").value);
  if (!chosen) return;
  name = chosen;
  remember("localStorage", "name", name);
  renaming = false;
  showForm();
  element("text").focus();
  followAs();
});

element("rename").addEventListener("click", () => {
  renaming = true;
  element("name").value = name;
  showForm();
  element("name").select();
});
element("cancel").addEventListener("click", leaveName);
element("join").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && renaming && !event.isComposing) leaveName();
});

function leaveName() {
  renaming = false;
  showForm();
  element("rename").focus();
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

// Buttons that vanish when they are pressed leave the keyboard in the log.
element("newer").addEventListener("click", () => {
  log.focus({ preventScroll: true });
  scrollToEnd();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && following) showUnread(0); });
const sizeOfLog = () => `${log.clientWidth} ${log.clientHeight}`;
let size = sizeOfLog();
log.addEventListener("scroll", () => {
  // A change of size scrolls as well, which is not what the reader did.
  if (size !== sizeOfLog()) return;
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  if (following && !document.hidden) showUnread(0);
});
// A phone's keyboard takes half of the log away.
new ResizeObserver(() => {
  size = sizeOfLog();
  if (following) scrollToEnd();
}).observe(log);

element("missing").addEventListener("click", () => {
  gaps.disconnect();
  log.focus({ preventScroll: true });
  element("missing").hidden = true;
  (gapLast.isConnected ? gapLast : messages.firstElementChild).scrollIntoView({ block: "center" });
});
/** A gap that is out of sight is told until the reader has been there. */
const gaps = new IntersectionObserver((entries) => {
  const { isIntersecting } = entries.at(-1);
  element("missing").hidden = isIntersecting;
  if (isIntersecting && !following) gaps.disconnect();
}, { root: log });

// Following.

/** Begins a subscription by the name and transport of now, where the last one has ended. */
function follow() {
  const since = subscription?.position ?? "earliest";
  subscription?.close();
  nameFollowing = name;
  // Tabs share a connection only where name and transport are the same, so what is chosen here is what is used.
  subscription = subscribe(channel, {
    since, transport, token, name, presence: true,
    onmessage: receive,
    onpresence: (presence) => members.note(presence),
    ongap: addGap,
    onstate: showState,
  });
}

/** A subscription keeps its name: for another one, another takes over. */
async function followAs() {
  // What the old one is publishing when it is closed is given up, though it may have been taken.
  while (publishing.size > 0) await Promise.allSettled(publishing);
  if (name !== nameFollowing) follow();
}

// Sending.

/** A message of this window. Times never repeat, because they name messages. */
function signed(content) {
  timeLast = Math.max(Date.now(), timeLast + 1);
  return { from: me, time: timeLast, name, transport: subscription.transport, ...content };
}

async function send(message) {
  if (!unsent.has(message.time)) {
    const item = pending.appendChild(row(message));
    item.querySelector(".about").prepend(create("span", { className: "sending", textContent: say("sending") }));
    unsent.set(message.time, item);
    showEmpty();
    scrollToEnd();
  }
  unsent.get(message.time).querySelector(".unsent")?.remove();
  const published = subscription.publish(JSON.stringify(message));
  const end = () => publishing.delete(published);
  publishing.add(published);
  published.then(end, end);
  await published.catch((error) => showUnsent(message, error.message));
}

/** The row stays until the visitor sends it again, or until the message comes back from the channel after all. */
function showUnsent(message, reason) {
  const item = unsent.get(message.time);
  if (!item) return;
  failed.set(message.time, message);
  const again = create("button", { type: "button", textContent: say("again") });
  again.addEventListener("click", () => {
    const messages = [...failed.values()];
    failed.clear();
    messages.forEach(send);
    element("text").focus();
  });
  item.append(create("p", { className: "unsent", role: "alert" }, create("span", { textContent: say("unsent", worded(reason)) }), again));
  scrollToEnd();
}

// Receiving.

function receive({ id, data, event }) {
  addMessage({ ...parse(data), event }, id);
}

/** The message in a payload. What this page did not send is text without a sender. */
function parse(data) {
  if (typeof data !== "string") return { text: say("binary", data.length) };
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    return { text: data };
  }
  if (typeof value?.name !== "string" || typeof value.text !== "string") return { text: data };
  return {
    name: value.name.slice(0, 64),
    transport: transports.includes(value.transport) ? value.transport : undefined,
    text: value.text,
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
  gapLast = messages.appendChild(create("li", { className: "notice", textContent: say("gap") }));
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
  if (!own && (!following || (document.hidden && live))) showUnread(unread + 1);
  if (following) scrollToEnd();
}

/** A message that does not say when it was sent shows no time: after a reload it would be another. */
function row({ from, name, text, transport, event, time = NaN }) {
  const item = create("li", { className: mine.has(from) ? "message own" : "message" });
  const who = create("bdi", { className: name ? "name" : "name quiet", textContent: name || say("program") });
  const how = icon(transport ?? "terminal", transport ? say(`over ${transport}`) : say("fromProgram"));
  const when = create("time");
  const date = new Date(time);
  if (!Number.isNaN(date.getTime())) {
    const isToday = date.toDateString() === new Date().toDateString();
    when.dateTime = date.toISOString();
    when.title = date.toLocaleString(locale);
    when.textContent = date.toLocaleString(locale, { ...(!isToday && { day: "numeric", month: "short" }), hour: "2-digit", minute: "2-digit" });
  }
  const what = event ? [create("bdi", { className: "event", textContent: event })] : [];
  item.append(create("p", { className: "about" }, who, how, ...what, when), create("p", { className: "text", dir: "auto" }, ...linked(text)));
  return item;
}

/** A text with what looks like an address in it as a link. Only what an address is written with (RFC 3986) belongs to it. */
function linked(text) {
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(/(?<!\w)https?:\/\/[\w!#$%&'()*+,./:;=?@[\]~-]+/gi)) {
    const address = withoutEnd(found);
    const url = parsed(address);
    // What stands before an @ only pretends to be where it leads.
    if (!url || url.username || url.password) continue;
    const link = create("a", { href: url.href, textContent: address, dir: "ltr", target: "_blank", rel: "noopener noreferrer nofollow" });
    parts.push(text.slice(end, index), link);
    end = index + address.length;
  }
  return [...parts, text.slice(end)];
}

function parsed(address) {
  try {
    return new URL(address);
  } catch {
    return undefined;
  }
}

/** An address without the end of the sentence that it stands in, and brackets that were opened before it. */
function withoutEnd(address) {
  const count = (character) => address.split(character).length;
  const unopened = { ")": count(")") - count("("), "]": count("]") - count("[") };
  let end = address.length;
  for (;; end--) {
    const last = address[end - 1];
    if (unopened[last] > 0) unopened[last] -= 1;
    else if (!".,:;!?'".includes(last)) return address.slice(0, end);
  }
}

// Who is here.

let listing;
function listSoon() {
  listing ??= setTimeout(listPeople, 50);
}

function listPeople() {
  listing = undefined;
  const listed = members.first(peopleMax, name).map((member) => {
    const isMe = member.name === name;
    const how = isMe ? subscription.transport : member.transport;
    return create("li", {}, icon(how ?? "terminal", how ? say(`over ${how}`) : ""), create("bdi", { textContent: member.name }),
      ...(isMe ? [create("span", { className: "quiet", textContent: say("you") })] : []));
  });
  const rest = members.count - listed.length;
  if (rest > 0) listed.push(create("li", { className: "quiet", textContent: say("more", rest) }));
  element("people").replaceChildren(...listed);
  element("nobody").hidden = members.count > 0;
  element("people-count").textContent = members.count > 0 ? number(members.count) : "";
  element("people-by").replaceChildren(...["websocket", "sse", "polling"].flatMap((transport) => {
    const count = members.by(transport);
    const meaning = say(`by ${transport}`, count);
    return count ? [create("li", { title: meaning }, icon(transport, meaning), create("span", { ariaHidden: true, textContent: number(count) }))] : [];
  }));
}

// Showing.

let ticking;
function showState({ state, transport, reason, status, delayMs, shared }) {
  // The subscription that another has taken over from.
  if (state === "closed" && !reason) return;
  clearInterval(ticking);
  document.body.dataset.state = state;
  element("countdown").textContent = "";
  if (state === "connected") {
    const waits = say(`waits ${transport}`);
    showStatus(state, shared ? say("shared", waits) : waits);
    // After a while in which nothing was told, too.
    members.ask();
    // What a connection begins with is history, and that is not read out.
    if (!live) setTimeout(endHistory, 1000);
  } else if (state === "reconnecting") {
    showStatus(state, worded(reason));
    if (delayMs !== undefined) countDown(Date.now() + delayMs);
  } else if (state === "closed") {
    showRefusal(status, reason);
  } else {
    showStatus(state, say(`over ${transport}`));
  }
  listSoon();
}

function endHistory() {
  live = true;
  log.setAttribute("aria-live", "polite");
  showEmpty();
}

/** The server will never let this page in, so there is nothing to wait for. */
function showRefusal(status, reason) {
  const title = (status === 401 && !token && say("noToken")) || say(`refused${status}`) || say("refused");
  showStatus("closed", title);
  element("refused").textContent = title;
  element("refused-reason").textContent = reason;
  element("refused-advice").textContent = status === 401 ? say("bringToken", encodeURIComponent(room)) : "";
  element("to-lobby").hidden = status !== 400;
  const hadFocus = document.activeElement?.closest("form");
  element("refusal").hidden = false;
  element("transports").disabled = true;
  members.stop();
  showForm();
  showEmpty();
  if (hadFocus) log.focus();
  scrollToEnd();
}

function showStatus(state, detail) {
  element("status-state").textContent = say(state);
  element("status-detail").textContent = detail;
  const heard = say("said", say(state), detail);
  if (element("status-heard").textContent !== heard) element("status-heard").textContent = heard;
}

/** A reason in the visitor's language, if it is one of the client's own; the server's are in English. */
function worded(reason) {
  return say(reason) || reason;
}

function countDown(until) {
  const tick = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    element("countdown").textContent = seconds > 0 ? say("inSeconds", seconds) : say("now");
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
  element("enter").textContent = say(name ? "change" : "join");
  element("me").textContent = name;
}

function showEmpty() {
  element("empty").hidden = !live || !element("refusal").hidden || messages.children.length + pending.children.length > 0;
}

function showUnread(count) {
  unread = count;
  element("newer").hidden = following || unread === 0;
  element("newer").textContent = say("newer", unread);
  showTitle();
}

function showTitle() {
  document.title = `${unread ? `(${number(unread)}) ` : ""}${room} · Redpoll`;
}

function scrollToEnd() {
  following = true;
  log.scrollTop = log.scrollHeight;
  if (!document.hidden) showUnread(0);
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

/** A name as the server takes it: a tab may have come with what was pasted. */
function cleaned(name) {
  return name.replace(/[\p{Cc}\p{Cs}]+/gu, " ").trim();
}

/** The name in a token, which is not checked here. */
function subjectOf(token) {
  try {
    const [, claims] = token.split(".");
    const bytes = Uint8Array.from(atob(claims.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}

function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
