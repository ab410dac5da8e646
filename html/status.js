/**
 * The status page: what the server says of itself each second (`/status/events`), drawn over the last minutes; its
 * largest channels; and, live, the messages of one of them.
 *
 * A report is Prometheus text, as in `/metrics`, without what is 0: `redpoll_connections 12`.
 */
import { address } from "/page.js";
import { subscribe } from "/redpoll.js";
import { Chart, chartMs } from "/status-chart.js";
import { say, translate } from "/status-texts.js";
import { number, size, time } from "/texts.js";

const channelsMs = 5_000;
const channelsMax = 20;
/** After this long without a report the figures are old. */
const lateMs = 4_000;
const againMs = 3_000;
/** What was refused within this time is marked. */
const recentMs = 60_000;
const messagesMax = 100;
const charactersMax = 2_000;

const element = (id) => document.getElementById(id);

/** Reports of the last minutes: when each was, by the server's own clock, and its values by name. */
let samples = [];
let heardMs = performance.now();
let source;

// What is drawn.

const value = (name) => (sample) => sample.values.get(name) ?? 0;
const transport = (name) => value(`redpoll_subscribers{transport="${name}"}`);
const held = ["client", "channel", "table"].map((of) => value(`redpoll_${of}_memory_bytes`));

/** By how much a counter grows in a second. The first report has none before it. */
const rate = (name) => ({ values, before, ms }) => {
  if (!before) return undefined;
  return Math.max(0, ((values.get(name) ?? 0) - (before.values.get(name) ?? 0)) / ((ms - before.ms) / 1000));
};

/** The duration that a share of the deliveries between two reports took at most. */
const quantile = (share) => ({ values, before }) => {
  if (!before) return undefined;
  const bounds = [...values.keys()].map((name) => /^redpoll_delivery_seconds_bucket\{le="([^"]+)"\}$/.exec(name)?.[1]).filter(Boolean);
  const counts = bounds.map((bound) => {
    const name = `redpoll_delivery_seconds_bucket{le="${bound}"}`;
    return { ms: bound === "+Inf" ? Infinity : Number(bound) * 1000, count: values.get(name) - (before.values.get(name) ?? 0) };
  }).sort((a, b) => a.ms - b.ms);
  const all = counts.at(-1)?.count;
  if (!all) return undefined;
  const at = counts.findIndex(({ count }) => count >= share * all);
  const [low, lowCount] = at > 0 ? [counts[at - 1].ms, counts[at - 1].count] : [0, 0];
  // Within a bucket they are taken to lie evenly; above the last bound nobody knows.
  if (counts[at].ms === Infinity) return low;
  return low + ((counts[at].ms - low) * (share * all - lowCount)) / (counts[at].count - lowCount);
};

const otherConnections = (sample) => {
  const subscribed = ["websocket", "event_stream", "long_poll"].reduce((sum, name) => sum + transport(name)(sample), 0);
  return Math.max(0, value("redpoll_connections")(sample) - subscribed);
};

/** Of all counters whose name begins so, how much they grow together. */
const rateOf = (family) => (sample) => {
  const names = [...sample.values.keys()].filter((name) => name.startsWith(`${family}{`));
  return sample.before && names.reduce((sum, name) => sum + rate(name)(sample), 0);
};

const perSecond = (count) => number(count < 10 ? Math.round(count * 10) / 10 : Math.round(count));
const bytesPerSecond = (bytes) => `${size(bytes)}/s`;
const known = (read) => (sample) => read(sample) || undefined;

translate();

const charts = [
  {
    key: "connections",
    series: [["websocket", transport("websocket")], ["streams", transport("event_stream")], ["polls", transport("long_poll")], ["others", otherConnections]],
    format: (count) => number(Math.round(count)),
    stacked: 4,
  },
  { key: "messages", series: [["in", rate("redpoll_publications_total")], ["out", rate("redpoll_deliveries_total")]], format: perSecond },
  { key: "traffic", series: [["in", rate("redpoll_received_bytes_total")], ["out", rate("redpoll_sent_bytes_total")]], format: bytesPerSecond },
  { key: "delay", series: [["median", quantile(0.5)], ["most", quantile(0.99)]], format: time, decades: [0.1, 1, 10, 100, 1000] },
  {
    key: "memory",
    series: [["clients", held[0]], ["forChannels", held[1]], ["tables", held[2]], ["process", known(value("process_resident_memory_bytes"))], ["budget", known(value("redpoll_memory_limit_bytes"))]],
    format: size,
    stacked: 3,
    limit: known(value("redpoll_memory_limit_bytes")),
  },
  {
    key: "refusals",
    series: [["answers", rateOf("redpoll_request_refusals_total")], ["limits", rateOf("redpoll_limit_reached_total")], ["gaps", rate("redpoll_gaps_total")]],
    format: perSecond,
  },
].map((chart) => new Chart(chart));

element("to-metrics").href = address("/metrics");
follow();
setInterval(showState, 500);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
new ResizeObserver(show).observe(element("charts"));

// Reports.

function follow() {
  // What was said of late is there already, where somebody has followed it.
  source = new EventSource(address("/status/events", { since: "earliest" }));
  source.addEventListener("message", ({ data }) => take(data));
  source.addEventListener("expired", () => end(say("expired")));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) void askWhy();
  });
}

/** A browser does not tell its pages why a stream was refused. */
async function askWhy() {
  source.close();
  const response = await fetch(address("/status/events"), { cache: "no-store" }).catch(() => undefined);
  if (response?.status === 401 || response?.status === 403) {
    const { detail } = await response.json().catch(() => ({}));
    return end(detail ?? String(response.status));
  }
  // It may be served again by now.
  void response?.body?.cancel();
  setTimeout(follow, againMs);
}

function take(text) {
  const values = new Map(text.split("\n").map((line) => {
    const space = line.lastIndexOf(" ");
    return [line.slice(0, space), Number(line.slice(space + 1))];
  }));
  const ms = (values.get("redpoll_uptime_seconds") ?? 0) * 1000;
  const before = samples.at(-1);
  // After a restart everything counts from 0.
  if (before && ms < before.ms) samples = [];
  if (before && ms === before.ms) return;
  samples.push({ ms, values, before: samples.at(-1) && { ms: before.ms, values: before.values } });
  samples = samples.filter((sample) => ms - sample.ms <= chartMs);
  if (heardMs !== undefined) heardMs = performance.now();
  show();
}

function end(reason) {
  source.close();
  heardMs = undefined;
  document.body.dataset.state = "ended";
  element("state").textContent = reason;
}

function showState() {
  if (heardMs === undefined) return;
  const late = performance.now() - heardMs > lateMs;
  const state = late ? "late" : samples.length ? "live" : "connecting";
  document.body.dataset.state = state;
  const text = say(state);
  if (element("state").textContent !== text) element("state").textContent = text;
}

function show() {
  for (const chart of charts) chart.show(samples);
  const last = samples.at(-1);
  if (!last) return;
  const version = [...last.values.keys()].map((name) => /^redpoll_build_info\{version="([^"]+)"\}$/.exec(name)?.[1]).find(Boolean);
  element("about").textContent = say("about", version ?? "", location.host, duration(last.ms));
  showRefused(last);
  showState();
}

function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return say("days", days, hours);
  if (hours) return say("hours", hours, minutes);
  return minutes ? say("minutes", minutes, seconds % 60) : say("seconds", seconds);
}

// What was refused.

const reasons = /^redpoll_(request_refusals|limit_reached|gaps|connections_dropped|websocket_violations|shed_\w+?)_total(?:\{\w+="([^"]+)"\})?$/;

function showRefused(last) {
  const first = samples[0];
  const recent = samples.find((sample) => last.ms - sample.ms <= recentMs);
  const rows = [...last.values].flatMap(([name, total]) => {
    const [, family, label] = reasons.exec(name) ?? [];
    if (!family) return [];
    const since = (sample) => total - (sample.values.get(name) ?? 0);
    return [{ text: wordsFor(family, label), window: since(first), recent: since(recent) > 0, total }];
  });
  element("nothing").hidden = rows.length > 0;
  element("reasons").hidden = rows.length === 0;
  element("reasons").tBodies[0].replaceChildren(...rows.sort((a, b) => b.window - a.window || b.total - a.total).map(({ text, window, recent, total }) => {
    const tr = row(text, number(window), number(total));
    tr.classList.toggle("recent", recent);
    return tr;
  }));
}

function wordsFor(family, label) {
  if (family === "request_refusals") return label === "other" ? say("otherAnswer") : say("answer", label, say(`status ${label}`));
  return say(family === "limit_reached" ? `limit ${label}` : family) || label || family;
}

function row(first, ...rest) {
  const tr = document.createElement("tr");
  const th = document.createElement("th");
  th.scope = "row";
  th.append(first);
  tr.append(th, ...rest.map((text) => {
    const td = document.createElement("td");
    td.textContent = text;
    return td;
  }));
  return tr;
}

// Channels.

let order = "subscribers";
let listing = 0;

list();
setInterval(() => { if (!document.hidden && heardMs !== undefined) list(); }, channelsMs);
element("search").addEventListener("submit", (event) => event.preventDefault());
element("prefix").addEventListener("input", () => list());
element("channels").tHead.addEventListener("click", ({ target }) => {
  if (!target.dataset.order) return;
  order = target.dataset.order;
  for (const button of element("channels").tHead.querySelectorAll("button")) {
    const direction = button.dataset.order === "name" ? "ascending" : "descending";
    if (button === target) button.parentElement.setAttribute("aria-sort", direction);
    else button.parentElement.removeAttribute("aria-sort");
  }
  list();
});

async function list() {
  const asked = ++listing;
  const prefix = element("prefix").value.trim();
  const request = fetch(address("/channels", { order, prefix, limit: channelsMax }), { cache: "no-store", signal: AbortSignal.timeout(channelsMs) });
  const channels = await request.then((response) => response.json()).then((json) => json.channels).catch(() => undefined);
  if (asked !== listing || !channels) return;
  // How many begin with a prefix nobody has counted.
  const all = prefix ? undefined : samples.at(-1)?.values.get("redpoll_channels");
  const found = say(channels.length < channelsMax ? "found" : "first", channels.length);
  element("listed").textContent = all === undefined ? found : say("listed", Math.max(all, channels.length), channels.length);
  const focused = document.activeElement?.dataset?.channel;
  element("channels").tBodies[0].replaceChildren(...channels.map(({ channel, subscribers, messages, bytes }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = channel;
    button.dataset.channel = channel;
    button.title = say("watch", channel);
    const counts = [subscribers.websocket, subscribers.event_stream, subscribers.long_poll];
    const sum = counts.reduce((sum, count) => sum + count, 0);
    return row(button, number(sum), ...counts.map(number), number(messages), size(bytes));
  }));
  // The row that had the focus is another element now.
  if (focused) element("channels").querySelector(`[data-channel="${CSS.escape(focused)}"]`)?.focus();
}

// The messages of one channel.

let tail;

element("channels").tBodies[0].addEventListener("click", ({ target }) => {
  if (target.dataset.channel) watch(target.dataset.channel);
});
element("tail-end").addEventListener("click", () => {
  tail?.close();
  element("tail").hidden = true;
  element("channels").querySelector(`[data-channel="${CSS.escape(element("tail").dataset.channel)}"]`)?.focus();
});

function watch(channel) {
  tail?.close();
  element("tail-messages").replaceChildren();
  element("tail-title").textContent = channel;
  element("tail").dataset.channel = channel;
  element("tail").hidden = false;
  tail = subscribe(address(`/channel/${encodeURIComponent(channel)}`), {
    since: "earliest",
    share: false,
    onmessage: ({ id, event, data }) => addMessage(id, typeof data === "string" ? data : say("binary", data.length), event),
    ongap: ({ from, to }) => addMessage(to, say("gap", from, to), "gap"),
    onstate: ({ state, transport, reason }) => {
      if (state !== "closed" || reason) element("tail-state").textContent = reason ?? say(`tail ${state}`, say(transport));
    },
  });
  element("tail").scrollIntoView({ block: "nearest" });
}

/** The newest stands first. What others have sent is text and nothing else. */
function addMessage(id, text, event) {
  const item = document.createElement("li");
  const [place, content] = [document.createElement("span"), document.createElement("span")];
  [place.className, content.className] = ["quiet", "text"];
  place.textContent = id;
  if (event) {
    const name = document.createElement("bdi");
    [name.className, name.textContent] = ["event", event];
    place.append(" ", name);
  }
  content.textContent = text.length > charactersMax ? `${text.slice(0, charactersMax)}…` : text;
  item.append(place, content);
  element("tail-messages").prepend(item);
  while (element("tail-messages").children.length > messagesMax) element("tail-messages").lastElementChild.remove();
}
