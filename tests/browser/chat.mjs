/**
 * The chat room at `/`: four windows, one on each transport.
 *
 *     node tests/browser/chat.mjs target/release/redpoll
 *
 * SCREENSHOTS=DIR saves what it looks like. CHROMIUM names the browser if it is not /usr/bin/chromium.
 */
import { check, checkEqual, openWindow, run, shoot, sleep, startBrowser, startLine, startServer, until } from "./harness.mjs";

const transports = ["websocket", "sse", "long-poll", "poll"];
const names = { "websocket": "Ann", "sse": "Björk", "long-poll": "陈小鸟", "poll": "Dee" };

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
  const everyone = Object.values(names).sort();
  for (const { page, transport } of windows) {
    const listed = async () => (await page.locator("#people bdi").allTextContents()).sort();
    await until(async () => JSON.stringify(await listed()) === JSON.stringify(everyone), 15_000);
    checkEqual(await listed(), everyone, `${transport}: everyone is listed`);
  }
  const counts = () => windows[3].page.locator("[data-count]").allTextContents();
  await until(async () => JSON.stringify((await counts()).slice(0, 2)) === '["1","1"]', 15_000);
  checkEqual((await counts()).slice(0, 2), ["1", "1"], "the server's count of sockets and streams is shown");
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
  check((await page.locator("#newer").textContent()).startsWith("1 "), "and told how many messages are new");
  await page.locator("#newer").click();
  check(await until(() => log.evaluate((node) => node.scrollHeight - node.scrollTop - node.clientHeight < 2)), "and brought to them by a click");
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
