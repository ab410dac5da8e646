/**
 * The status page at `/status`: what an operator sees while things happen.
 *
 *     node tests/browser/status.mjs target/release/redpoll
 *
 * SCREENSHOTS=DIR saves what it looks like.
 */
import { execFileSync } from "node:child_process";
import { check, checkEqual, openWindow, run, shoot, sleep, startBrowser, startServer, until } from "./harness.mjs";

const secret = "0123456789abcdef0123456789abcdef";

await run(async (binary, cleanup) => {
  let server = await startServer(binary, 0, ["--memory", "32M"]);
  cleanup(() => server.stop());
  const browser = await startBrowser();
  cleanup(() => browser.close());
  const { page, faults } = await openWindow(browser);

  await theFirstReport(page, server);
  await whatHappens(page, server);
  await whatWasRefused(page, server);
  await channelsBySize(page, server);
  await aLiveTail(page, server);
  await shoot(page, "status");
  await inChinese(browser, server);
  server = await aRestart(page, server, binary);
  await tokens(browser, binary, cleanup);
  await elsewhere(browser, binary, cleanup);
  checkEqual(faults, [], "no exception, dialog, warning or policy violation");
});

/** A number that a chart shows. */
async function shown(page, chart, series) {
  return Number.parseFloat((await page.locator(`[data-chart=${chart}] [data-value=${series}]`).textContent()).replaceAll(",", ""));
}

/** The rows of a table, each as its cells' texts. */
function rows(page, table) {
  return page.locator(`#${table} tbody tr`).evaluateAll((all) => all.map((tr) => [...tr.children].map((cell) => cell.textContent)));
}

async function publish(server, channel, body = "hello") {
  return (await fetch(`${server.origin}/channel/${channel}`, { method: "POST", body })).status;
}

/** How many pixels of a chart are coloured, and not grey. */
function colour(page, chart) {
  return page.locator(`[data-chart=${chart}] canvas`).evaluate((canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] > 40 && Math.max(...data.slice(at, at + 3)) - Math.min(...data.slice(at, at + 3)) > 50) count += 1;
    }
    return count;
  });
}

async function theFirstReport(page, server) {
  await page.goto(`${server.origin}/status`);
  check(await until(() => page.locator("[data-state=live] #state").count()), "the page is live soon", await page.locator("#state").innerText());
  check((await page.locator("#about").innerText()).startsWith("Redpoll 0."), "it says which Redpoll it is, and for how long");
  checkEqual(await shown(page, "connections", "streams"), 1, "its own event stream is a connection");
  check(await page.locator("#nothing").isVisible(), "nothing was refused so far");
  check(await page.locator("[data-chart=memory] [data-value=budget]").innerText() !== "–", "the memory budget is shown");
}

async function whatHappens(page, server) {
  // Who forgets an answer ends it: the stream of one that is garbage is cancelled.
  const followers = await Promise.all(["a", "a", "b"].map((channel) => {
    return fetch(`${server.origin}/channel/${channel}`, { headers: { Accept: "text/event-stream" } });
  }));
  const streams = () => shown(page, "connections", "streams");
  check(await until(async () => await streams() === 4), "three more streams are counted", String(await streams()));
  for (let count = 0; count < 20; count++) await publish(server, "a", "x".repeat(1000));
  check(await until(async () => await shown(page, "messages", "in") > 1), "messages a second rise when somebody publishes");
  check(await shown(page, "traffic", "in") > 0, "so does what comes in");
  check(await until(async () => await shown(page, "delay", "median") > 0), "delays of deliveries are shown");
  check(await until(async () => await colour(page, "messages") > 20), "the chart of messages is drawn", String(await colour(page, "messages")));
  check((await page.locator("[data-chart=messages] canvas").getAttribute("aria-label")).includes("In "), "and said in words");
  for (const { body } of followers) await body.cancel();
  check(await until(async () => await streams() === 1), "streams that have ended are not counted any more", String(await streams()));
}

async function whatWasRefused(page, server) {
  await fetch(`${server.origin}/nowhere`);
  checkEqual(await publish(server, "a", "x".repeat(70_000)), 413, "a message that is too large is refused");
  const expected = ["Answered 404 nothing there", "Answered 413 the message was too large", "Limit: message (--max-message)"];
  await until(async () => (await rows(page, "reasons")).length >= expected.length);
  checkEqual((await rows(page, "reasons")).map(([text]) => text).sort(), expected, "what was refused is listed with its reason");
  checkEqual((await rows(page, "reasons")).map(([, window, total]) => [window, total]), [["1", "1"], ["1", "1"], ["1", "1"]], "and how often");
  checkEqual(await page.locator("#reasons tr.recent").count(), 3, "what was refused just now is marked");
}

async function channelsBySize(page, server) {
  for (let count = 0; count < 30; count++) await publish(server, `room-${String(count).padStart(2, "0")}`, "x".repeat(count + 1));
  const names = async () => (await rows(page, "channels")).map(([name]) => name);
  await page.getByRole("button", { name: "Bytes" }).click();
  check(await until(async () => (await names())[1] === "room-29"), "channels are listed by their bytes", JSON.stringify(await names()));
  checkEqual((await names()).length, 20, "the largest of them");
  checkEqual(await page.locator("th[aria-sort]").count(), 1, "one column is marked as that of the order");
  const listed = () => page.locator("#listed").innerText();
  await page.getByLabel("Names that begin with").fill("room-");
  check(await until(async () => await listed() === "The first 20 channels"), "of more than are listed, nobody says that these are all", await listed());
  await page.getByLabel("Names that begin with").fill("room-0");
  check(await until(async () => JSON.stringify(await names()) === JSON.stringify([9, 8, 7, 6, 5, 4, 3, 2, 1, 0].map((n) => `room-0${n}`))), "a beginning of names is looked for", JSON.stringify(await names()));
  checkEqual(await listed(), "10 channels", "and how many there are");
}

async function aLiveTail(page, server) {
  await publish(server, "room-03", `<b>kept</b>`);
  await page.getByRole("button", { name: "room-03" }).focus();
  await page.keyboard.press("Enter");
  const messages = () => page.locator("#tail-messages .text").allTextContents();
  check(await until(async () => (await messages()).length === 2), "a channel's messages are shown", JSON.stringify(await messages()));
  checkEqual(await messages(), ["<b>kept</b>", "xxxx"], "the newest first, and markup as text");
  await fetch(`${server.origin}/channel/room-03?event=news`, { method: "POST", body: "now" });
  check(await until(async () => (await messages())[0] === "now"), "what is published now comes at once");
  checkEqual(await page.locator("#tail-messages .event").allTextContents(), ["news"], "with the name of its event");
  check((await page.locator("#tail-state").innerText()).includes("WebSocket"), "it says over which transport");
  await page.getByRole("button", { name: "Stop" }).click();
  check(await page.locator("#tail").isHidden(), "and ends when it is told to");
  check(await page.evaluate(() => document.activeElement?.dataset.channel === "room-03"), "the focus goes back to where it was");
}

async function inChinese(browser, server) {
  const { page } = await openWindow(browser, { locale: "zh-CN", colorScheme: "dark" });
  await page.goto(`${server.origin}/status`);
  check(await until(async () => (await page.locator("#about").innerText()).includes("已运行")), "a Chinese browser sees Chinese");
  check(await until(async () => (await rows(page, "reasons")).length === 3), "it has the history of another page's reports, or new ones");
  const english = await page.locator("body").evaluate((body) => body.innerText.match(/\b(?:Connections|Refused|Channels|Subscribers|Limit|Answered)\b/g));
  checkEqual(english, null, "and no English words");
  await shoot(page, "status-zh");
  await page.close();
}

async function aRestart(page, server, binary) {
  await server.stop();
  check(await until(() => page.locator("[data-state=late] #state").count()), "that no report comes is said", await page.locator("#state").innerText());
  const next = await startServer(binary, server.port);
  check(await until(() => page.locator("[data-state=live] #state").count(), 30_000), "the page goes on with the next server");
  const names = async () => (await rows(page, "reasons")).map(([text]) => text);
  await until(async () => (await names()).length === 1);
  checkEqual(await names(), ["Gaps told"], "which has refused nothing, and told this page that it had missed something");
  return next;
}

async function tokens(browser, binary, cleanup) {
  const server = await startServer(binary, 0, ["--secret", secret]);
  cleanup(() => server.stop());
  const token = (...rights) => execFileSync(binary, ["token", "--secret", secret, ...rights], { encoding: "utf8" }).trim();
  const { page } = await openWindow(browser);
  const refused = await page.goto(`${server.origin}/status`);
  checkEqual(refused.status(), 401, "without a token it is not shown");
  await page.goto(`${server.origin}/status?token=${token("--status", "--expires", "4s")}`);
  check(await until(() => page.locator("[data-state=live] #state").count()), "with one that says status it is");
  check(await until(async () => (await page.locator("#state").innerText()).includes("expired"), 20_000), "until the token expires, which is said");
  await page.close();
}

async function elsewhere(browser, binary, cleanup) {
  const server = await startServer(binary, 0, ["--open", "--listen", "0.0.0.0:0"]);
  cleanup(() => server.stop());
  const { page } = await openWindow(browser);
  checkEqual((await page.goto(`${server.origin}/status`)).status(), 403, "an open server that others can reach does not show it");
  await page.close();
}
