/**
 * The browser client, `/redpoll.js`, by itself: silent networks, refusals, event streams, publications that go wrong.
 *
 *     node tests/browser/client.mjs target/release/redpoll
 *
 * What needs a WebSocket runs in Chromium, the rest in Node as well.
 */
import { once } from "node:events";
import http from "node:http";
import { check, checkEqual, openWindow, run, sleep, startBrowser, startLine, startServer, until } from "./harness.mjs";

const names = ["websocket", "sse", "long-poll", "poll"];

await run(async (binary, cleanup) => {
  // A comment each second, so that a stream that lives is never silent for the six seconds that the tests below allow.
  const server = await startServer(binary, 0, ["--ping", "1s"]);
  cleanup(() => server.stop());
  const browser = await startBrowser();
  cleanup(() => browser.close());
  const line = await startLine(() => server.port);
  cleanup(() => line.stop());
  const source = await (await fetch(`${server.origin}/redpoll.js`)).text();
  const client = await import(`data:text/javascript,${encodeURIComponent(source)}`);

  await silence(browser, line, server);
  await theOtherNetwork(browser, server);
  await offlineAndOnline(browser, server);
  await refusals(browser, server, client);
  await namedEvents(server, client);
  await streamsOfAllKinds(client, cleanup);
  await publicationsThatGoWrong(browser, server);
  await publicationsWithoutAnAnswer(browser, server);
  await publicationsThatWait(client);
  await oneOfSeveral(browser, server);
  checkAddress(client);
});

/** A page with the client's module as `client`, and what it heard as `states`. */
async function openClient(browser, origin) {
  const { page } = await openWindow(browser);
  await page.goto(`${origin}/healthz`);
  await page.evaluate(async () => {
    window.client = await import("/redpoll.js");
    window.follow = (url, options) => {
      const heard = { states: [], messages: [] };
      heard.subscription = client.subscribe(url, {
        ...options,
        onstate: (state) => heard.states.push(state),
        onmessage: ({ data, event }) => heard.messages.push(event ? `${event}: ${data}` : data),
      });
      return heard;
    };
  });
  return page;
}

/** A page that follows a channel by each transport, in the order of `names`, and what state each is in. */
async function followByEach(browser, origin, channel, options) {
  const page = await openClient(browser, origin);
  await page.evaluate(([names, channel, options]) => {
    window.all = names.map((transport) => follow(channel, { transport, ...options }));
  }, [names, channel, options]);
  return { page, last: () => page.evaluate(() => all.map(({ states }) => states.at(-1)?.state)) };
}

/** Every transport notices a network that says nothing any more, in a few patiences of a second, and comes back. */
async function silence(browser, line, server) {
  const { page, last } = await followByEach(browser, line.origin, "/channel/silence", { patience: 1, interval: 1, wait: 2 });
  await until(async () => (await last()).every((state) => state === "connected"));
  await sleep(8000);
  const states = await page.evaluate(() => all.map(({ states }) => states.map(({ state }) => state).join(" ")));
  checkEqual(states, names.map(() => "connecting connected"), "nothing happens to a connection that is merely idle");

  line.silence();
  const lost = page.evaluate(() => all[0].subscription.publish("into the void").then(() => "taken", ({ message }) => message));
  for (const [index, name] of names.entries()) {
    check(await until(async () => (await last())[index] !== "connected", 15_000), `${name}: a silent network is noticed`);
  }
  await line.mend();
  check(await until(async () => (await last()).every((state) => state === "connected"), 45_000), "and all connect again", JSON.stringify(await last()));
  checkEqual(await Promise.race([lost, sleep(20_000)]), "taken", "a publication into a silent socket is sent again");

  // This time nothing is published: the socket itself has to ask.
  await sleep(500);
  line.silence();
  check(await until(async () => (await last())[0] !== "connected", 15_000), "websocket: silence is noticed without a publication");
  await line.mend();
  check(await until(async () => (await last()).every((state) => state === "connected"), 45_000), "and all connect once more", JSON.stringify(await last()));
  await fetch(`${server.origin}/channel/silence`, { method: "POST", body: "after the silence" });
  const heard = () => page.evaluate(() => all.map(({ messages }) => messages.filter((text) => text === "after the silence").length));
  await until(async () => (await heard()).every((count) => count > 0));
  checkEqual(await heard(), [1, 1, 1, 1], "and hear each message once");
  await page.context().close();
}

async function theOtherNetwork(browser, server) {
  const page = await openClient(browser, server.origin);
  const states = await page.evaluate(async () => {
    const heard = follow("/channel/online", { since: "latest" });
    const connected = async (count) => {
      while (heard.states.filter(({ state }) => state === "connected").length < count) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await connected(1);
    dispatchEvent(new Event("online"));
    await Promise.race([connected(2), new Promise((resolve) => setTimeout(resolve, 5000))]);
    return heard.states.map(({ state }) => state);
  });
  checkEqual(states, ["connecting", "connected", "connecting", "connected"], "a connection that seems to work is made anew when the network comes back");
  await page.context().close();
}

/** The browser itself goes offline, as on a train. Streams that are open then go on in this browser, and are made anew. */
async function offlineAndOnline(browser, server) {
  const { page, last } = await followByEach(browser, server.origin, "/channel/offline", { patience: 1, interval: 0.5, wait: 1 });
  check(await until(async () => (await last()).every((state) => state === "connected")), "online, all are connected");
  await page.context().setOffline(true);
  check(await until(async () => (await last()).slice(2).every((state) => state === "reconnecting")), "offline, who polls is not", JSON.stringify(await last()));
  await fetch(`${server.origin}/channel/offline`, { method: "POST", body: "on the train" });
  await sleep(1000);
  await page.context().setOffline(false);
  check(await until(async () => (await last()).every((state) => state === "connected")), "online again, all are connected", JSON.stringify(await last()));
  const heard = () => page.evaluate(() => all.map(({ messages }) => messages));
  await until(async () => (await heard()).every(({ length }) => length > 0));
  checkEqual(await heard(), names.map(() => ["on the train"]), "and have what they missed, once");
  await page.context().close();
}

/** What is refused for good is told once, and not asked again. */
async function refusals(browser, server, client) {
  const page = await openClient(browser, server.origin);
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.evaluate(() => { window.refused = follow("/channel/a%20b", { transport: "websocket" }); });
  const inBrowser = () => page.evaluate(() => refused.states.at(-1));
  await until(async () => (await inBrowser())?.state === "closed");
  const { state, status, reason } = await inBrowser();
  checkEqual([state, status, /malformed channel name/.test(reason)], ["closed", 400, true], "websocket: a refusal ends the subscription and says why");
  const count = requests.length;
  await sleep(2500);
  checkEqual(requests.length, count, "and nothing is asked any more");
  const late = await page.evaluate(() => refused.subscription.publish("x").catch(({ message }) => message));
  checkEqual(late, "the subscription is closed", "nor published");
  await page.context().close();

  for (const transport of ["sse", "long-poll", "poll"]) {
    const states = [];
    client.subscribe(`${server.origin}/channel/a%20b`, { transport, onstate: (state) => states.push(state) });
    await until(() => states.at(-1)?.state === "closed");
    checkEqual([states.length, states.at(-1)?.state, states.at(-1)?.status], [2, "closed", 400], `${transport}: a refusal ends the subscription`);
  }
}

async function namedEvents(server, client) {
  const url = `${server.origin}/channel/named`;
  const heard = [];
  const states = [];
  const subscription = client.subscribe(url, { transport: "sse", onmessage: (message) => heard.push(message), onstate: ({ state }) => states.push(state) });
  await until(() => states.includes("connected"));
  // JSON leaves the two separators of Unicode as they are, and to a pattern they are line ends.
  const text = "one\r\ntwo\rthree: \u2028four\u2029 🐦 ";
  await client.publish(url, text, { event: "alert" });
  await client.publish(url, Uint8Array.of(0, 255, 10), { event: "bytes" });
  await client.publish(url, "plain");
  await until(() => heard.length >= 3);
  const seen = heard.map(({ event, data }) => [event ?? null, typeof data === "string" ? data : [...data]]);
  checkEqual(seen, [["alert", text], ["bytes", [0, 255, 10]], [null, "plain"]], "an event stream brings messages of every name");
  check(!!subscription.position && subscription.position === heard.at(-1)?.id, "and the position is that of the last");
  subscription.close();
}

/** Streams that Redpoll does not write but HTML allows, from a server that says exactly this. */
async function streamsOfAllKinds(client, cleanup) {
  const asked = [];
  const envelope = (id, data) => JSON.stringify({ channel: "x", id, data });
  const streams = [
    // A byte order mark, each kind of line end also cut in two, comments, fields without meaning, data in two lines.
    [Buffer.from("\ufeffretry: 4000\nid: e-1\n\n:\n"), `data:${envelope("e-2", "LF")}\n\n`, `: c\r`, `\ndata: ${envelope("e-3", "CRLF")}\r`, `\n\r`, `\n`,
      `event: any\ndata: {"channel":"x","id":"e-4",\r`, `\ndata: "data":"two lines"}\nfoo: bar\ndatum\n\n`,
      `data: ${envelope("e-5", "CR")}\rdata\r\rid: e-6\n\n`, `data: ${envelope("e-7", "cut off")}`],
  ];
  const listener = http.createServer(async (request, response) => {
    asked.push(new URL(request.url, "http://x").searchParams.get("since"));
    const stream = streams.shift();
    if (!stream) return response.writeHead(503).end();
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (const piece of stream) {
      response.write(piece);
      await sleep(30);
    }
    response.end();
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  cleanup(() => listener.close());
  const heard = [];
  const states = [];
  const subscription = client.subscribe(`http://127.0.0.1:${listener.address().port}/channel/x`, {
    transport: "sse", onmessage: ({ data }) => heard.push(data), onstate: (state) => states.push(state),
  });
  await until(() => states.some(({ state }) => state === "reconnecting"));
  checkEqual(heard, ["LF", "CRLF", "two lines", "CR"], "a stream is read as HTML says");
  checkEqual([asked[0], subscription.position], ["latest", "e-6"], "an id without data moves the position");
  check(states.at(-1).delayMs >= 4000, "the stream's retry time is kept to", JSON.stringify(states.at(-1)));
  await until(() => asked.length >= 2);
  checkEqual(asked[1], "e-6", "and the next stream begins where this one ended");
  await until(() => states.at(-1).reason?.startsWith("503"));
  checkEqual([states.at(-1).state, states.at(-1).reason?.slice(0, 3)], ["reconnecting", "503"], "a refusal that may pass is no end");
  subscription.close();
}

async function publicationsThatGoWrong(browser, server) {
  const page = await openClient(browser, server.origin);
  // In between: what the server may say, or has said.
  let socket;
  await page.routeWebSocket(/channel/, (route) => {
    socket = route;
    const upstream = route.connectToServer();
    route.onMessage((text) => {
      const { data, ack } = JSON.parse(text);
      if (data === "413") route.send(JSON.stringify({ error: { status: 413, detail: "too large" }, ack }));
      else if (data === "1009") route.close({ code: 1009 });
      else upstream.send(text);
    });
  });
  await page.evaluate(() => {
    window.heard = follow("/channel/wrong", {});
    window.publish = (data, options) => heard.subscription.publish(data, options).then(() => "taken", ({ message }) => message);
  });
  const states = () => page.evaluate(() => heard.states.map(({ state }) => state));
  await until(async () => (await states()).includes("connected"));

  checkEqual(await page.evaluate(() => publish("a\ud800\ud83d\udc26\udc00", { event: "\udfffe" })), "taken", "half a surrogate pair is published");
  await until(() => page.evaluate(() => heard.messages.length));
  checkEqual(await page.evaluate(() => heard.messages), ["\ufffde: a\ufffd🐦\ufffd"], "as the character that stands for such");
  socket.send(JSON.stringify({ error: { status: 400, detail: "an error to nothing" } }));
  checkEqual(await page.evaluate(() => publish("after an error")), "taken", "an error that answers nothing is survived");
  checkEqual(await page.evaluate(() => publish("413")), "413 too large", "a message that is refused is not sent again");
  checkEqual(await states(), ["connecting", "connected"], "and none of this costs the connection");
  checkEqual(await page.evaluate(() => publish("1009")), "taken", "one that costs the connection has its answer by POST");
  const large = await page.evaluate(() => publish("x".repeat(70_000)));
  check(/^413 /.test(large), "the server itself refuses what is too large", large);
  checkEqual(await page.evaluate(() => publish("and on")), "taken", "and what comes after goes through");
  await page.context().close();
}

/** Whatever has become of them: each is published once, and in order. */
async function publicationsWithoutAnAnswer(browser, server) {
  const page = await openClient(browser, server.origin);
  // In between: which messages come to the server, and whether its answers come back.
  let passes = () => true;
  let isDeaf = false;
  let socket;
  await page.routeWebSocket(/channel/, (route) => {
    socket = route;
    const upstream = route.connectToServer();
    route.onMessage((text) => passes(JSON.parse(text).data) && upstream.send(text));
    upstream.onMessage((text) => isDeaf || route.send(text));
  });
  // Slow, so that the next WebSocket is there before the first that is sent again; or on a connection that is dead.
  let posts = 0;
  let reaches = true;
  await page.route("**/channel/unanswered", async (route) => {
    if (route.request().method() === "POST") {
      posts += 1;
      await sleep(900);
    }
    if (reaches) await route.continue();
  });
  await page.evaluate(() => {
    window.heard = follow("/channel/unanswered", { transport: "websocket", patience: 1 });
    window.publish = (...texts) => Promise.all(texts.map((text) => heard.subscription.publish(text).then(({ id }) => [text, id], ({ message }) => [text, message])));
  });
  const state = () => page.evaluate(() => heard.states.at(-1)?.state);
  const isConnected = () => until(async () => await state() === "connected");
  await isConnected();

  const published = [];
  const lose = async (what, texts, change) => {
    change();
    const before = page.evaluate((texts) => publish(...texts), texts);
    await until(async () => await state() !== "connected");
    [isDeaf, passes] = [false, () => true];
    await isConnected();
    const after = await page.evaluate((text) => publish(text), `after ${texts.at(-1)}`);
    published.push(...await before, ...after);
    const { messages } = await (await fetch(`${server.origin}/channel/unanswered?since=earliest`)).json();
    checkEqual(messages.map(({ data, id }) => [data, id]), published, `${what}: each is published once, in order, before what comes later`);
  };
  await lose("answers that are lost", ["1", "2", "3"], () => { isDeaf = true; });
  await lose("a silent network", ["4", "5", "6"], () => { passes = (text) => !/[456]/.test(text); });
  [reaches, posts] = [false, 0];
  await lose("connections that died of silence", ["a", "b", "c"], () => { passes = (text) => !/[abc]/.test(text); });
  checkEqual(posts, 1, "the next socket serves, and not one dead connection after the other");
  reaches = true;
  await lose("a connection that is lost in the middle", ["7", "8", "9"], () => {
    [isDeaf, passes] = [true, (text) => !/[89]/.test(text)];
    setTimeout(() => socket.close({ code: 1001 }), 300);
  });
  const texts = published.map(([text]) => text);
  await until(() => page.evaluate((count) => heard.messages.length >= count, texts.length));
  checkEqual(await page.evaluate(() => heard.messages), texts, "and heard so");
  posts = 0;
  checkEqual(await page.evaluate(() => publish("over the socket")).then(([[, id]]) => /-\d+$/.test(id)), true, "then a socket serves again");
  checkEqual(posts, 0, "without a POST");
  await page.context().close();
}

/** A server that cannot be reached: port 9, where nobody listens. */
async function publicationsThatWait(client) {
  const url = "http://127.0.0.1:9/channel/x";
  const subscription = client.subscribe(url, { transport: "sse" });
  const outcomes = [];
  for (let count = 1; count <= 101; count++) {
    subscription.publish("x").catch(({ message }) => outcomes.push(message));
  }
  await sleep(100);
  checkEqual(outcomes, ["100 messages are waiting already"], "the hundred and first message does not wait");
  subscription.close();
  await until(() => outcomes.length === 101);
  checkEqual(outcomes.length, 101, "and a subscription that is closed leaves none of them waiting");
  const late = await client.publish(url, "x", { until: Date.now() - 1 }).catch(({ message }) => message);
  checkEqual(late, "the server could not be reached in time", "a message whose time is over is not tried");
}

async function oneOfSeveral(browser, server) {
  const page = await openClient(browser, server.origin);
  for (const transport of ["websocket", "long-poll"]) {
    const outcome = await page.evaluate(async (transport) => {
      const heard = follow(`/channel/s1-${transport},s2-${transport}`, { transport });
      while (heard.states.at(-1)?.state !== "connected") await new Promise((resolve) => setTimeout(resolve, 20));
      const one = await heard.subscription.publish("one", { channel: `s2-${transport}` });
      const all = await heard.subscription.publish("all");
      while (heard.messages.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
      return [one.channel, all.map(({ channel }) => channel), heard.messages.sort()];
    }, transport);
    checkEqual(outcome, [`s2-${transport}`, [`s1-${transport}`, `s2-${transport}`], ["all", "all", "one"]], `${transport}: a message goes to one of two channels, or to both`);
  }
  await page.context().close();
}

function checkAddress(client) {
  let error;
  try {
    client.subscribe("http://127.0.0.1:9/channel/%zz");
  } catch (thrown) {
    error = thrown;
  }
  check(error instanceof TypeError && error.message.includes("/channel/%zz"), "an address that cannot be read is named", String(error));
}
