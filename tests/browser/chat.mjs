/**
 * The chat room at `/`: four windows, one on each transport; and what one window shows of links, new messages, keys,
 * languages and tokens.
 *
 *     node tests/browser/chat.mjs target/release/redpoll
 *
 * SCREENSHOTS=DIR saves what it looks like. CHROMIUM names the browser if it is not /usr/bin/chromium.
 */
import { execFileSync } from "node:child_process";
import { check, checkEqual, openWindow, run, shoot, sleep, startBrowser, startLine, startServer, until } from "./harness.mjs";

const transports = ["websocket", "sse", "long-poll", "poll"];
/** What the others see of it. */
const seen = { "websocket": "over WebSocket", "sse": "over an event stream", "long-poll": "by polling", "poll": "by polling" };
const own = { ...seen, "long-poll": "over long polling", "poll": "over short polling" };
const names = { "websocket": "Ann", "sse": "Björk", "long-poll": "陈小鸟", "poll": "Dee" };

/** What is said, and what of it leads where. */
const linked = [
  ["see https://example.com/a?b=c&d=%20#e.", { "https://example.com/a?b=c&d=%20#e": "https://example.com/a?b=c&d=%20#e" }],
  ["(https://example.com/a_(b)) and [http://example.com/c]!", { "https://example.com/a_(b)": "https://example.com/a_(b)", "http://example.com/c": "http://example.com/c" }],
  ["看https://example.com/茶，http://example.com/x。好", { "https://example.com/": "https://example.com/", "http://example.com/x": "http://example.com/x" }],
  ["\u201chttps://EXAMPLE.com\u201d, <http://[::1]:8080/>", { "https://EXAMPLE.com": "https://example.com/", "http://[::1]:8080/": "http://[::1]:8080/" }],
  ["javascript:alert(1) data:text/html,x ftp://example.com/ //example.com www.example.com xhttps://example.com", {}],
  ["https:// http://[ https://a:b/ http://bank.example@example.com/ https://%zz/", {}],
  [`https://example.com/"onmouseover="alert(1)`, { "https://example.com/": "https://example.com/" }],
];

/** Everything sent so far, each text once. */
const sent = [];

await run(async (binary, cleanup) => {
  let server = await startServer(binary);
  cleanup(() => server.stop());
  const browser = await startBrowser();
  cleanup(() => browser.close());

  const windows = [];
  for (const transport of transports) {
    const line = await startLine(() => server.port);
    cleanup(() => line.stop());
    windows.push({ transport, line, ...await openWindow(browser) });
  }

  await theEmptyRoom(windows[0]);
  for (const window of windows) await join(window);
  await everyoneSees(windows, "the room is joined on every transport");

  await everyoneSends(windows);
  await markupStaysText(windows);
  await whoIsHere(windows);
  await shoot(windows[0].page, "chat");
  for (const window of windows) await reload(window, windows);
  for (const window of windows) await loseTheConnection(window, windows);
  for (const window of windows) await sendWhileAway(window, windows);
  for (const window of windows) await switchTransports(window, windows);
  await otherPrograms(server, windows);
  await readerWhoScrolledBack(windows[0], windows);
  await whoLeaves(browser, server, windows[0]);
  await Promise.all([links, titleMark, keysOnly, inChinese, nothingMoves, withTokens].map((test) => test(browser, server, binary, cleanup)));

  server = await restart(server, binary, windows);
  for (const { transport, faults } of windows) checkEqual(faults, [], `${transport}: no exception, dialog, warning or policy violation`);
  checkEqual(await server.stop(), 0, "the server exits with 0 when it is told to");
});

// What a person does.

async function join({ page, line, transport }) {
  await page.goto(`${line.origin}/`);
  await page.getByLabel("Your name").fill(names[transport]);
  await page.getByRole("button", { name: "Join" }).click();
  await choose(page, transport);
  const connected = await isConnected(page);
  check(connected, `${transport}: connects`, await page.locator("#status").innerText());
}

async function choose(page, transport) {
  await page.locator(`label:has(input[value="${transport}"])`).click();
}

function isConnected(page, limitMs) {
  return until(() => page.locator("body[data-state=connected] #status").count(), limitMs);
}

async function say({ page }, text) {
  sent.push(text);
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

// What a person sees.

/** The messages on the page, in their order, with their positions. */
function messages(page) {
  return page.locator("#messages .message").evaluateAll((rows) => rows.map((row) => [row.dataset.id, row.querySelector(".text").textContent]));
}

/** Every window shows all that was sent, each once, all in one order. */
async function everyoneSees(windows, what, limitMs = 30_000) {
  const complete = async (page) => (await messages(page)).length >= sent.length;
  for (const { page } of windows) await until(() => complete(page), limitMs);
  // What comes twice may come late.
  await sleep(300);
  const seen = [];
  for (const { page } of windows) seen.push(await messages(page));
  const sorted = [...sent].sort();
  const wrong = windows.filter((_, index) => JSON.stringify(seen[index].map(([, text]) => text).sort()) !== JSON.stringify(sorted));
  check(wrong.length === 0, `${what}: everyone sees each message once`, wrong.map((window) => {
    const texts = seen[windows.indexOf(window)].map(([, text]) => text);
    const missing = sent.filter((text) => !texts.includes(text));
    const twice = texts.filter((text, index) => texts.indexOf(text) !== index);
    return `${window.transport} lacks ${JSON.stringify(missing)}, repeats ${JSON.stringify(twice)}`;
  }).join("; "));
  const orders = new Set(seen.map((rows) => JSON.stringify(rows)));
  check(orders.size === 1, `${what}: in the same order`, [...orders].join("\n"));
  for (const { page, transport } of windows) {
    const waiting = await page.locator("#pending .message").count();
    if (waiting > 0) check(false, `${what}: nothing of ${transport} is left unsent`, String(waiting));
  }
}

// The checks.

async function theEmptyRoom({ page, line }) {
  await page.goto(`${line.origin}/`);
  check(await until(() => page.locator("#empty").isVisible()), "an empty room says so");
  await shoot(page, "empty");
}

async function everyoneSends(windows) {
  for (let round = 1; round <= 3; round++) {
    await Promise.all(windows.map((window) => say(window, `${names[window.transport]} says ${round}`)));
  }
  await everyoneSees(windows, "four at once");
  for (const { page, transport } of windows) {
    checkEqual(await page.locator("#messages .message.own").count(), 3, `${transport}: one's own messages are marked`);
  }
}

async function markupStaysText(windows) {
  await say(windows[0], `<script>alert("script")</script>`);
  await say(windows[1], `<img src=x onerror="alert('image')"> <b>bold</b> &amp;`);
  await say(windows[3], `javascript:alert(1) "quoted" 'too' 🐦\nand a second line`);
  await everyoneSees(windows, "markup");
  for (const { page, transport } of windows) {
    checkEqual(await page.locator("#log :is(script, b, .text *)").count(), 0, `${transport}: markup stays text`);
  }
}

async function whoIsHere(windows) {
  for (const { page, transport } of windows) {
    const expected = transports.map((other) => (other === transport ? `${names[other]} ${own[other]} you` : `${names[other]} ${seen[other]}`));
    await lists(page, expected, `${transport}: everyone is listed, with their transports`);
    checkEqual(await page.locator("#people-count").innerText(), "4", `${transport}: and counted`);
    checkEqual(await page.locator("#people-by li").evaluateAll((items) => items.map(({ title }) => title)), ["1 over WebSocket", "1 over an event stream", "2 by polling"], `${transport}: by transport too`);
  }
}

async function lists(page, expected, what) {
  const listed = () => page.locator("#people li").evaluateAll((items) => items.map((item) => {
    const [name, how, note] = ["bdi", "title", "span"].map((tag) => item.querySelector(tag)?.textContent);
    return [name, how, note].filter(Boolean).join(" ");
  }).sort());
  await until(async () => JSON.stringify(await listed()) === JSON.stringify(expected.toSorted()), 30_000);
  checkEqual(await listed(), expected.toSorted(), what);
}

/** One that polls is missed later: see room.mjs. */
async function whoLeaves(browser, server, { page }) {
  const here = async () => (await page.locator("#people bdi").allTextContents()).includes("Eve");
  const eve = await enter(browser, server, "lobby", "Eve");
  check(await until(here, 30_000), "whoever comes is listed");
  await eve.context.close();
  check(await until(async () => !await here(), 30_000), "and whoever closes the window is not any more");
}

async function reload(window, windows) {
  const { page, transport } = window;
  const speaker = windows.find((other) => other !== window);
  await say(speaker, `before ${transport} is loaded again`);
  const loaded = page.reload();
  await say(speaker, `while ${transport} is loaded again`);
  await loaded;
  await isConnected(page);
  await say(speaker, `after ${transport} was loaded again`);
  await everyoneSees(windows, `${transport} is loaded again`);
}

async function loseTheConnection(window, windows) {
  const { page, line, transport } = window;
  const speaker = windows.find((other) => other !== window);
  await say(speaker, `before ${transport} loses its connection`);
  await line.cut();
  const noticed = await until(() => page.locator("body[data-state=reconnecting] #status").count());
  check(noticed, `${transport}: a lost connection is shown`, await page.locator("#status").innerText());
  for (let count = 1; count <= 3; count++) await say(speaker, `${count} that ${transport} misses`);
  if (transport === "websocket") await shoot(page, "reconnecting");
  await sleep(500);
  await line.mend();
  check(await isConnected(page, 30_000), `${transport}: connects again`, await page.locator("#status").innerText());
  await everyoneSees(windows, `${transport} lost its connection`);
}

async function sendWhileAway(window, windows) {
  const { page, line, transport } = window;
  await line.cut();
  await until(() => page.locator("body[data-state=reconnecting] #status").count());
  await say(window, `${transport} writes while it is away`);
  await say(window, `${transport} writes again while it is away`);
  checkEqual(await page.locator("#pending .message").count(), 2, `${transport}: what cannot be sent yet is shown as pending`);
  await sleep(300);
  await line.mend();
  await everyoneSees(windows, `${transport} wrote while it was away`, 40_000);
}

/** Once round all four transports, while somebody writes all the time. */
async function switchTransports(window, windows) {
  const { page, transport } = window;
  const speaker = windows.find((other) => other !== window);
  const others = transports.filter((other) => other !== transport);
  for (const next of [...others, transport]) {
    await say(speaker, `before ${transport} goes to ${next}`);
    await Promise.all([choose(page, next), say(speaker, `while ${transport} goes to ${next}`)]);
    await say(window, `${transport}, now over ${next}`);
  }
  check(await isConnected(page), `${transport}: is connected after four changes`);
  await everyoneSees(windows, `${transport} changed its transport four times`);
}

async function otherPrograms(server, windows) {
  const text = `plain text from a program, ${"x".repeat(300)}`;
  sent.push(text);
  const response = await fetch(`${server.origin}/channel/lobby`, { method: "POST", body: text });
  check([201, 202].includes(response.status), "a program may publish", String(response.status));
  const other = `{"not":"ours"}`;
  sent.push(other);
  await fetch(`${server.origin}/channel/lobby`, { method: "POST", body: other });
  await everyoneSees(windows, "a program's messages");
}

async function readerWhoScrolledBack({ page }, windows) {
  const log = page.locator("#log");
  await log.evaluate((node) => { node.scrollTop = 0; });
  await sleep(200);
  await say(windows[1], "a reader is far above");
  await until(() => page.locator("#newer").isVisible());
  checkEqual(await log.evaluate((node) => node.scrollTop), 0, "a reader who has scrolled back is left alone");
  checkEqual(await page.locator("#newer").innerText(), "1 new message", "and told how many messages are new");
  checkEqual(await page.title(), "(1) lobby · Redpoll", "by the title too");
  await page.locator("#newer").click();
  check(await until(() => log.evaluate((node) => node.scrollHeight - node.scrollTop - node.clientHeight < 2)), "and brought to them by a click");
  checkEqual(await page.title(), "lobby · Redpoll", "after which there is nothing new");
  await everyoneSees(windows, "scrolled back");
}

async function restart(server, binary, windows) {
  checkEqual(await server.stop(), 0, "the server ends with 0 while four are connected");
  const next = await startServer(binary, server.port);
  for (const { page, transport } of windows) {
    check(await until(() => page.locator("#messages .notice").count(), 40_000), `${transport}: a restart is told as a gap`);
    check(await isConnected(page, 30_000), `${transport}: connects after a restart`, await page.locator("#status").innerText());
  }
  await Promise.all(windows.map((window) => say(window, `${window.transport} after the restart`)));
  await everyoneSees(windows, "after a restart");
  await shoot(windows[0].page, "restarted");
  return next;
}

// One window.

async function enter(browser, server, room, name, options) {
  const window = await openWindow(browser, options);
  await window.page.goto(`${server.origin}/?room=${room}`);
  await window.page.locator("#name").fill(name);
  await window.page.locator("#enter").click();
  await isConnected(window.page, 30_000);
  return window;
}

function publish(server, room, body) {
  return fetch(`${server.origin}/channel/${room}`, { method: "POST", body });
}

async function links(browser, server) {
  const { page, context, faults } = await enter(browser, server, "links", "Ann");
  for (const [text] of linked) await publish(server, "links", text);
  await until(async () => await page.locator("#messages .message").count() === linked.length);
  const rows = await page.locator("#messages .text").evaluateAll((texts) => texts.map((text) => [
    text.textContent, Object.fromEntries([...text.querySelectorAll("a")].map((link) => [link.textContent, link.getAttribute("href")])),
  ]));
  for (const [index, expected] of linked.entries()) checkEqual(rows[index], expected, `links of: ${expected[0]}`);
  const kinds = await page.locator("#messages a").evaluateAll((all) => [...new Set(all.map(({ rel, target }) => `${rel}; ${target}`))]);
  checkEqual(kinds, ["noopener noreferrer nofollow; _blank"], "a link opens beside the chat and tells nobody where it was");
  checkEqual(faults, [], "links: no fault");
  await context.close();
}

async function titleMark(browser, server) {
  const { page, context } = await enter(browser, server, "marks", "Ann");
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await until(() => page.locator("#log[aria-live=polite]").count());
  await publish(server, "marks", "seen");
  await until(() => page.locator("#messages .message").count());
  checkEqual(await page.title(), "marks · Redpoll", "what is seen at once leaves no mark in the title");
  await hide(true);
  for (let count = 1; count <= 3; count++) await publish(server, "marks", `unseen ${count}`);
  await until(async () => await page.locator("#messages .message").count() === 4);
  checkEqual(await page.title(), "(3) marks · Redpoll", "in a hidden window messages are counted in the title");
  await hide(false);
  checkEqual(await page.title(), "marks · Redpoll", "until it is seen");
  await context.close();
}

/** Who has no mouse. */
async function keysOnly(browser, server) {
  const { page, context, faults } = await openWindow(browser);
  await page.goto(`${server.origin}/?room=keys`);
  await isConnected(page);
  const unseen = [];
  const focused = () => page.evaluate(() => {
    const element = document.activeElement;
    const outlines = [element, element.closest("label")].filter(Boolean).map((shown) => getComputedStyle(shown).outlineStyle);
    return { id: element.id || element.name || element.textContent, isSeen: outlines.some((style) => style !== "none") };
  });
  const go = async (key, to) => {
    for (let count = 0; count < 30; count++) {
      await page.keyboard.press(key);
      const { id, isSeen } = await focused();
      if (!isSeen) unseen.push(id);
      if (id === to) return true;
    }
    return check(false, `the key ${key} leads to ${to}`);
  };
  await go("Tab", "transport");
  await page.keyboard.press("ArrowDown");
  check(await until(() => page.getByText("waiting for the next event").first().isVisible()), "an arrow key chooses a transport");
  await go("Tab", "name");
  await page.keyboard.type("Kay");
  await page.keyboard.press("Enter");
  checkEqual((await focused()).id, "text", "who has joined is where one writes");
  await page.keyboard.type("without a mouse");
  await page.keyboard.press("Enter");
  check(await until(() => page.locator("#messages .own").getByText("without a mouse").isVisible()), "and Enter sends");
  await go("Shift+Tab", "rename");
  await page.keyboard.press("Enter");
  checkEqual((await focused()).id, "name", "to rename is to be in the field for it");
  await page.keyboard.press("Escape");
  checkEqual((await focused()).id, "rename", "and to leave it is to be where one was");
  await page.keyboard.press("Enter");
  await page.keyboard.type("Kai");
  await page.keyboard.press("Enter");
  checkEqual((await focused()).id, "text", "a new name given, one writes");
  await lists(page, ["Kai over an event stream you"], "and it is on the list in place of the old one");
  checkEqual(unseen, [], "wherever the keys lead, it can be seen");
  checkEqual(faults, [], "keys: no fault");
  await context.close();
}

async function inChinese(browser, server) {
  const { page, context, faults } = await enter(browser, server, "cha", "小红", { locale: "zh-CN" });
  checkEqual(await page.locator("html").getAttribute("lang"), "zh-CN", "a Chinese browser gets the page in Chinese");
  await publish(server, "cha", "hello");
  await lists(page, ["小红 经 WebSocket 你"], "with its list");
  checkEqual(await page.locator("#status-heard").textContent(), "已连接：在打开的套接字上等待", "and what is going on");
  await until(() => page.locator("#messages .message").count());
  const foreign = await page.evaluate(() => {
    const marks = [...document.querySelectorAll("[data-text]:not(noscript *)")].map((element) => element.textContent);
    const attributes = ["aria-label", "placeholder", "title"].flatMap((name) => [...document.querySelectorAll(`[${name}]`)].map((element) => element.getAttribute(name)));
    const made = [...document.querySelectorAll(".about .name, button, label, title:not(head *), #people-by title")].map((element) => element.textContent);
    return [...marks, ...attributes, ...made].filter((text) => !/[\u4e00-\u9fff]|^WebSocket$|\d年/.test(text.trim()));
  });
  checkEqual(foreign, [], "all of it");
  await shoot(page, "chinese");
  checkEqual(faults, [], "Chinese: no fault");
  await context.close();
}

/** What is on the page stays where it is while it loads, people come, messages arrive and the connection is lost. */
async function nothingMoves(browser, server) {
  await Promise.all([{ width: 360, height: 640 }, { width: 1280, height: 800 }].map(async (viewport) => {
    const line = await startLine(() => server.port);
    const { page, context } = await openWindow(browser, { viewport });
    await page.addInitScript(() => {
      globalThis.shifts = 0;
      const observer = new PerformanceObserver((list) => { for (const { value } of list.getEntries()) globalThis.shifts += value; });
      observer.observe({ type: "layout-shift", buffered: true });
    });
    const room = `still${viewport.width}`;
    await page.goto(`${line.origin}/?room=${room}`);
    await page.locator("#empty").waitFor();
    const top = () => page.locator("#transports").evaluate((element) => element.getBoundingClientRect().top);
    const before = await top();
    await page.locator("#name").fill("Ann");
    await page.locator("#enter").click();
    await page.locator("#rename").waitFor();
    checkEqual(await top(), before, `a name that is chosen moves nothing at ${viewport.width} pixels`);
    const visitors = await Promise.all(["Bo", "Cy", "Di", "Ed", "Flo", "Gus", "Hal"].map((name) => {
      return fetch(`${server.origin}/channel/${room}?name=${name}`, { headers: { Accept: "text/event-stream" } });
    }));
    for (let count = 1; count <= 20; count++) await publish(server, room, `message ${count}`);
    await until(async () => await page.locator("#messages .message").count() === 20);
    check(await until(async () => await page.locator("#people-count").innerText() === "8", 30_000), `eight come at ${viewport.width} pixels`, await page.locator("#people-count").innerText());
    for (const { body } of visitors) await body.cancel();
    await page.locator("#text").fill("one's own");
    await page.locator("#text").press("Enter");
    await until(() => page.locator("#messages .own").count());
    await line.cut();
    await until(() => page.locator("#countdown").innerText());
    await sleep(1_500);
    await line.mend();
    await isConnected(page, 30_000);
    await sleep(300);
    const moved = await page.evaluate(() => globalThis.shifts);
    check(moved < 0.05, `nothing moves at ${viewport.width} pixels`, moved);
    await page.locator("body").evaluate((body) => { body.style.marginTop = "200px"; });
    check(await until(() => page.evaluate((moved) => globalThis.shifts > moved + 0.05, moved)), "and if it did, that would be seen");
    await context.close();
    await line.stop();
  }));
}

async function withTokens(browser, _, binary, cleanup) {
  const secret = "0123456789abcdef0123456789abcdef";
  const server = await startServer(binary, 0, ["--secret", secret]);
  cleanup(() => server.stop());
  const mint = (...options) => execFileSync(binary, ["token", "--secret", secret, ...options], { encoding: "utf8" }).trim();
  const open = async (query) => {
    const window = await openWindow(browser);
    await window.page.goto(`${server.origin}/?room=tea${query}`);
    return window;
  };
  const refused = async (query, words, what) => {
    const { page, context } = await open(query);
    check(await until(() => page.locator("#refusal").getByText(words).isVisible()), what, await page.locator("#refusal").innerText());
    checkEqual(await page.locator("form:visible").count(), 0, "and there is nothing to fill in");
    await context.close();
  };
  await refused("", "A token is needed here", "where tokens are needed, a page without one says so");
  await refused(`&token=${mint("--sub", "ann", "--subscribe", "coffee")}`, "does not let you into this room", "one for another room says so");
  const token = mint("--sub", "Zoë", "--subscribe", "tea", "--publish", "tea", "--expires", "6s");
  const { page, context } = await open(`&token=${token}`);
  check(await isConnected(page), "with a token in its address the page is let in");
  checkEqual([await page.locator("#name").isVisible(), await page.locator("#rename").isDisabled()], [false, true], "and asks for no name");
  await page.locator("#text").fill("hello");
  await page.locator("#text").press("Enter");
  check(await until(() => page.locator("#messages .own").count()), "it can write");
  await lists(page, ["Zoë over WebSocket you"], "it is listed by the token's name");
  checkEqual(await page.evaluate((token) => document.documentElement.outerHTML.includes(token), token), false, "and shows the token nowhere");
  check(await until(() => page.locator("#refusal").getByText("The token is not accepted").isVisible(), 30_000), "when the token has expired, that is said");
  checkEqual(await page.locator("#messages .own").isVisible(), true, "and what was said is still there");
  await context.close();
}
