/**
 * The chat room in bad times: latecomers, windows that vanish or are copied, outages, floods, gaps, refusals.
 *
 *     node tests/browser/room.mjs target/release/redpoll
 *
 * SCREENSHOTS=DIR saves what it looks like.
 */
import { check, checkEqual, openWindow, run, shoot, sleep, startBrowser, startLine, startServer, until } from "./harness.mjs";

await run(async (binary, cleanup) => {
  let server = await startServer(binary);
  cleanup(() => server.stop());
  const browser = await startBrowser();
  cleanup(() => browser.close());
  const line = await startLine(() => server.port);
  cleanup(() => line.stop());
  const open = async (room, name, transport = "websocket", { origin = server.origin } = {}) => {
    const window = { ...await openWindow(browser), name };
    await window.page.goto(`${origin}/?room=${room}`);
    if (name) {
      await window.page.getByLabel("Your name").fill(name);
      await window.page.getByRole("button", { name: "Join" }).click();
    }
    await window.page.locator(`label:has(input[value="${transport}"])`).click();
    check(await isConnected(window), `${room}: ${name} connects`);
    return window;
  };

  await latecomer(open);
  await copies(server, open);
  await ghost(binary, open, cleanup);
  await renaming(line, open);
  await crowd(server, open);
  await flood(server, open);
  await programs(server, open);
  await outage(line, open);
  await deadSocket(line, open);
  await notAllowed(open);
  await onAPhone(open);
  await refused(browser, server);
  server = await gap(server, binary, open);
  checkEqual(await server.stop(), 0, "the server exits with 0");
});

function isConnected({ page }) {
  return until(() => page.locator("body[data-state=connected]").count(), 30_000);
}

function texts({ page }) {
  return page.locator("#messages .text").allTextContents();
}

function rows({ page }) {
  return page.locator("#messages .message").count();
}

async function names({ page }) {
  return (await page.locator("#people bdi").allTextContents()).sort();
}

function publish(server, channel, body, query = "") {
  return fetch(`${server.origin}/channel/${channel}${query}`, { method: "POST", body });
}

async function say({ page }, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

async function sees(window, expected, what, limitMs = 15_000) {
  await until(async () => JSON.stringify(await names(window)) === JSON.stringify(expected), limitMs);
  checkEqual(await names(window), expected, what);
}

async function leave(...windows) {
  for (const { page, faults, name } of windows) {
    checkEqual(faults, [], `${name}: no exception, dialog, warning or policy violation`);
    await page.context().close();
  }
}

// Who is here.

async function latecomer(open) {
  const first = [await open("late", "Ann"), await open("late", "Bo", "poll")];
  for (const window of first) await sees(window, ["Ann", "Bo"], `${window.name} sees both`);
  const late = await open("late", "");
  await sees(late, ["Ann", "Bo"], "a latecomer without a name sees who came before and has said nothing since");
  checkEqual([await names(first[0]), await names(first[1])], [["Ann", "Bo"], ["Ann", "Bo"]], "and is not seen");
  await late.page.getByLabel("Your name").fill("Cy");
  await late.page.getByLabel("Your name").press("Enter");
  for (const window of [late, ...first]) await sees(window, ["Ann", "Bo", "Cy"], `until it has a name, says ${window.name || "Cy"}`);
  await leave(...first, late);
}

/** A copy of a window has the same storage: it is the same person once more, over the same connection. */
async function copies(server, open) {
  const observer = await open("copies", "Obs", "sse");
  const ann = await open("copies", "Ann");
  await say(ann, "from the first");
  await sees(observer, ["Ann", "Obs"], "a window is listed");
  const [copy] = await Promise.all([ann.page.waitForEvent("popup"), ann.page.evaluate(() => { open(location.href); })]);
  check(await until(() => copy.locator("#messages .own").count()), "a copy knows what its original sent as its own");
  check(await until(() => copy.getByText("through another tab").first().isVisible()), "and uses its connection");
  await copy.locator("#text").fill("from the copy");
  await copy.locator("#text").press("Enter");
  for (const page of [copy, ann.page, observer.page]) {
    await until(async () => await page.locator("#messages .message").count() === 2);
    checkEqual(await page.locator("#messages .text").allTextContents(), ["from the first", "from the copy"], "what it sends arrives once");
  }
  const { channels } = await (await fetch(`${server.origin}/channels?prefix=copies`)).json();
  checkEqual(channels[0].subscribers.websocket, 1, "the two have one connection");
  checkEqual(await names(observer), ["Ann", "Obs"], "a window and its copy are one person");
  await ann.page.reload();
  check(await until(() => ann.page.locator("#messages .own").count()), "a window that was loaded again knows what it sent, too");
  await copy.close({ runBeforeUnload: true });
  await sleep(1500);
  checkEqual(await names(observer), ["Ann", "Obs"], "to close one of them does not remove the other");
  await leave(observer, ann);
}

/** A window that polls and ends without a word. */
async function ghost(binary, open, cleanup) {
  const server = await startServer(binary, 0, ["--ping", "4s"]);
  cleanup(() => server.stop());
  const line = await startLine(() => server.port);
  cleanup(() => line.stop());
  const observer = await open("ghost", "Obs", "poll", server);
  const ghost = await open("ghost", "Ghost", "long-poll", line);
  await sees(observer, ["Ghost", "Obs"], "somebody who polls is listed");
  await line.cut();
  await ghost.page.context().close();
  await sleep(2500);
  checkEqual(await names(observer), ["Ghost", "Obs"], "and still is after a short silence");
  await sees(observer, ["Obs"], "but not after a longer one", 30_000);
  await leave(observer);
}

async function renaming(line, open) {
  const ann = await open("rename", "Ann", "websocket", line);
  const bo = await open("rename", "Bo");
  for (const window of [ann, bo]) await sees(window, ["Ann", "Bo"], `two are here, says ${window.name}`);
  const field = ann.page.getByLabel("Your name");
  await ann.page.locator("#rename").click();
  checkEqual(await names(ann), ["Ann", "Bo"], "who renames is still on the list");
  await field.fill("Nobody");
  await shoot(ann.page, "renaming");
  await field.press("Escape");
  checkEqual([await ann.page.locator("#me").textContent(), await field.isVisible()], ["Ann", false], "Escape leaves the name as it was");
  await ann.page.locator("#rename").click();
  await ann.page.getByRole("button", { name: "Cancel" }).click();
  checkEqual(await field.isVisible(), false, "and so does Cancel");
  check(/You are\s*Ann/.test(await ann.page.locator("#rename").innerText()), "the button says what the name is", await ann.page.locator("#rename").innerText());
  await ann.page.locator("#rename").click();
  await field.fill("Anna");
  await field.press("Enter");
  await sees(bo, ["Anna", "Bo"], "a new name is told");
  const said = [];
  for (const [index, transport] of ["websocket", "sse", "long-poll", "poll"].entries()) {
    await ann.page.locator(`label:has(input[value="${transport}"])`).click();
    const tell = (window, text) => {
      said.push(text);
      return say(window, text);
    };
    await tell(ann, `${transport}: before`);
    await ann.page.locator("#rename").click();
    await field.fill(`Anna ${index}`);
    await tell(bo, `${transport}: while`);
    await Promise.all([field.press("Enter"), tell(bo, `${transport}: at that moment`)]);
    await tell(ann, `${transport}: after`);
  }
  for (const window of [ann, bo]) {
    await until(async () => (await texts(window)).length >= said.length, 30_000);
    await sleep(300);
    checkEqual((await texts(window)).sort(), said.toSorted(), `who is renamed loses and repeats nothing, says ${window.name}`);
  }
  await ann.page.locator('label:has(input[value="websocket"])').click();
  await isConnected(ann);
  await line.cut();
  await until(() => ann.page.locator("body:not([data-state=connected])").count());
  await say(ann, "written by Anna 3");
  await ann.page.locator("#rename").click();
  await field.fill("Anita");
  await field.press("Enter");
  await say(ann, "written by Anita");
  await line.mend();
  const last = () => bo.page.locator("#messages .message").evaluateAll((rows) => rows.slice(-2).map((row) => `${row.querySelector(".name").textContent}: ${row.querySelector(".text").textContent}`));
  await until(async () => (await texts(bo)).at(-1) === "written by Anita", 30_000);
  checkEqual(await last(), ["Anna 3: written by Anna 3", "Anita: written by Anita"], "what waits while one is renamed arrives, in order");
  check(await until(async () => (await names(bo)).includes("Anita"), 30_000), "and the name is told after that");
  await leave(ann, bo);
}

/** So many at once that the server tells only their number. */
async function crowd(server, open) {
  const ann = await open("crowd", "Ann");
  const come = (name) => fetch(`${server.origin}/channel/crowd?name=${name}`, { headers: { Accept: "text/event-stream" } });
  const visitors = await Promise.all(Array.from({ length: 300 }, (_, index) => come(`Member ${index}`)));
  const count = () => ann.page.locator("#people-count").innerText();
  await until(async () => await count() === "301" && await ann.page.getByText("and 201 more").count(), 30_000);
  checkEqual([await count(), (await names(ann)).length, await ann.page.locator("#people li").last().innerText()], ["301", 100, "and 201 more"], "a crowd is counted, and the first of it are listed");
  checkEqual((await ann.page.locator("#people bdi").allTextContents()).slice(0, 3), ["Ann", "Member 0", "Member 1"], "oneself, and then by name");
  await shoot(ann.page, "crowd");
  for (const { body } of visitors) await body.cancel();
  await sees(ann, ["Ann"], "and when it goes it is not there any more", 30_000);
  await leave(ann);
}

// What is said.

async function flood(server, open) {
  const ann = await open("flood", "Ann");
  for (let count = 0; count < 40; count++) await publish(server, "flood", `first ${count}`);
  await until(async () => await rows(ann) === 40);
  await ann.page.locator("#log").evaluate((node) => { node.scrollTop = 0; });
  await sleep(200);
  for (let count = 0; count < 1100; count++) await publish(server, "flood", `flood ${count}`);
  await until(async () => (await texts(ann)).at(-1) === "flood 1099", 30_000);
  const count = await rows(ann);
  check(count >= 500 && count <= 1000, "a reader who has scrolled back keeps many rows, but not all", String(count));
  await ann.page.locator("#newer").click();
  await publish(server, "flood", "the last");
  await until(async () => (await texts(ann)).at(-1) === "the last");
  checkEqual(await rows(ann), 500, "and fewer when at the end");
  await leave(ann);
}

async function programs(server, open) {
  const ann = await open("programs", "Ann");
  const seen = () => ann.page.locator("#messages .message").evaluateAll((rows) => rows.map((row) => {
    const about = row.querySelector(".about");
    return [row.querySelector(".text").textContent, getComputedStyle(about).display === "none" ? "" : [...about.children].map((part) => part.textContent).filter(Boolean).join(" | ")];
  }));
  // Until history is over, so that these are new.
  await sleep(1500);
  await publish(server, "programs", "disk is full", "?event=alert");
  await publish(server, "programs", "disk is fuller", "?event=alert");
  await publish(server, "programs", "no name to this");
  await until(async () => await rows(ann) === 3);
  const heading = "a program | from another program";
  const expected = [["disk is full", `${heading} | alert`], ["disk is fuller", ""], ["no name to this", heading]];
  checkEqual(await seen(), expected, "a program's messages have their event's name and stand together");
  await ann.page.reload();
  await until(async () => await rows(ann) === 3);
  checkEqual(await seen(), expected, "and look the same when they come from the history");
  await shoot(ann.page, "programs");
  await leave(ann);
}

async function outage(line, open) {
  const ann = await open("outage", "Ann", "sse", { origin: line.origin });
  const { page } = ann;
  await say(ann, "before");
  await until(async () => await rows(ann) === 1);
  const isPale = () => page.locator("#people").evaluate((node) => getComputedStyle(node).color === getComputedStyle(document.getElementById("people-title")).color);
  checkEqual(await isPale(), false, "while connected, people are shown in full");
  await line.cut();
  check(await until(isPale), "in an outage, people are shown as what was true before");
  for (let count = 1; count <= 20; count++) await say(ann, `message ${count}`);
  checkEqual(await page.locator("#full").isVisible(), false, "twenty messages may wait");
  await say(ann, "one too many");
  checkEqual([await page.locator("#pending .message").count(), await page.locator("#full").isVisible()], [20, true], "more are not taken, and that is said");
  checkEqual(await page.getByLabel("Message", { exact: true }).inputValue(), "one too many", "what was written is kept");
  check(await page.locator("#pending").getByText("sending").first().isVisible(), "what waits has a word for it");
  await shoot(page, "outage");
  await line.mend();
  await until(async () => await rows(ann) === 21, 30_000);
  checkEqual(await texts(ann), ["before", ...Array.from({ length: 20 }, (_, index) => `message ${index + 1}`)], "all are sent, in order");
  checkEqual(await page.locator("#full").isVisible(), false, "and there is room again");
  await leave(ann);
}

/** A message that goes into a socket that is dead is sent again, and counts once. */
async function deadSocket(line, open) {
  const ann = await open("dead", "Ann", "websocket", { origin: line.origin });
  const bo = await open("dead", "Bo");
  line.silence();
  await say(ann, "is anybody there?");
  check(await until(() => ann.page.locator("body:not([data-state=connected])").count(), 20_000), "a silent network is shown on the page");
  // While it is not known whether the message has arrived.
  await ann.page.locator("#rename").click();
  await ann.page.getByLabel("Your name").fill("Anne");
  await ann.page.getByLabel("Your name").press("Enter");
  await line.mend();
  // Of the connections that a browser has kept, each that is tried costs ten seconds.
  check(await until(async () => await rows(ann) === 1, 120_000), "what went into a dead socket is sent again");
  await sleep(500);
  checkEqual([await texts(ann), await texts(bo)], [["is anybody there?"], ["is anybody there?"]], "and is there once");
  check(await until(async () => (await names(bo)).includes("Anne"), 30_000), "and who was renamed meanwhile is listed by the new name", await names(bo));
  await leave(ann, bo);
}

/** What the server would not take stays on the page until it does. */
async function notAllowed(open) {
  const ann = await open("notallowed", "Ann", "sse");
  const { page } = ann;
  const problem = { status: 403, contentType: "application/problem+json", body: JSON.stringify({ status: 403, detail: "you may only listen" }) };
  await page.route("**/channel/notallowed?*", (route) => route.fulfill(problem));
  await say(ann, "first");
  await say(ann, "second");
  const unsent = page.locator("#pending .unsent");
  await until(async () => await unsent.count() === 2);
  check(/Not sent: 403 you may only listen/.test(await unsent.first().textContent()), "a message that was refused says why");
  await shoot(page, "unsent");
  await page.unroute("**/channel/notallowed?*");
  await unsent.first().getByRole("button", { name: "Send again" }).click();
  await until(async () => await rows(ann) === 2);
  checkEqual(await texts(ann), ["first", "second"], "and one click sends all of them again, in order");
  ann.faults.splice(0, Infinity, ...ann.faults.filter((fault) => !fault.includes("403")));
  await leave(ann);
}

async function onAPhone(open) {
  const crowd = [];
  for (const name of ["Ann", "Bartholomew", "Constantinople", "Dee"]) crowd.push(await open("phone", name, "long-poll"));
  const [ann] = crowd;
  const { page } = ann;
  await sees(ann, ["Ann", "Bartholomew", "Constantinople", "Dee"], "four are here");
  await page.emulateMedia({ colorScheme: "dark" });
  for (const width of [360, 320]) {
    await page.setViewportSize({ width, height: 640 });
    const cut = await page.locator("#people bdi, #status-detail, #transports .label").evaluateAll((nodes) => nodes
      .filter((node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).overflow === "hidden" || node.getBoundingClientRect().right > innerWidth)
      .map((node) => node.textContent));
    checkEqual(cut, [], `nothing is cut off at ${width} pixels`);
    checkEqual(await page.locator("#people-count").innerText(), "4", `how many are here is told at ${width} pixels`);
    checkEqual(await page.getByText("A question, held until there is news.").isVisible(), true, `and what the chosen transport is at ${width} pixels`);
  }
  const brightness = (selector) => page.locator(selector).evaluate((node) => getComputedStyle(node).backgroundColor.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0));
  const [chosen, others] = [await brightness("#transports label:has(:checked)"), await brightness("#transports")];
  check(chosen > others + 60, "in the dark, the chosen transport stands out", `${chosen} on ${others}`);
  await shoot(page, "phone");
  await leave(...crowd);
}

async function refused(browser, server) {
  const window = await openWindow(browser);
  const { page } = window;
  let asked = 0;
  page.on("request", (request) => { if (request.url().includes("/channel/")) asked += 1; });
  await page.goto(`${server.origin}/?room=a%20b`);
  check(await until(() => page.getByText("This room’s name is not allowed").first().isVisible()), "a room that cannot be says so");
  const before = asked;
  await sleep(2500);
  checkEqual(asked, before, "and asks no more");
  checkEqual([await page.locator("#join").isVisible(), await page.locator("#empty").isVisible()], [false, false], "nor invites anyone to write");
  await shoot(page, "refused");
  await page.goto(`${server.origin}/?room=..`);
  check(await until(() => page.getByText("This room’s name is not allowed").first().isVisible()), "so does one whose name leads elsewhere in an address", await page.locator("#status").innerText());
  await page.getByText("Go to the lobby").click();
  check(await isConnected(window), "the lobby is one click away");
  await page.context().close();
}

async function gap(server, binary, open) {
  const ann = await open("gap", "Ann");
  const { page } = ann;
  const button = page.locator("#missing");
  await say(ann, "before the restart");
  await until(async () => await rows(ann) === 1);
  checkEqual(await server.stop(), 0, "the server ends with 0");
  const next = await startServer(binary, server.port);
  check(await until(() => page.locator("#messages .notice").count(), 30_000), "a restart is told as a gap");
  await sleep(300);
  checkEqual(await button.isVisible(), false, "a gap in sight needs no button");
  for (let count = 0; count < 40; count++) await publish(next, "gap", `after the restart, ${count}`);
  check(await until(() => button.isVisible()), "a gap out of sight is told");
  await shoot(page, "gap");
  await button.click();
  const inSight = () => page.locator("#messages .notice").evaluate((node) => {
    const [{ top, bottom }, log] = [node.getBoundingClientRect(), document.getElementById("log").getBoundingClientRect()];
    return top >= log.top && bottom <= log.bottom;
  });
  check(await until(inSight), "the button leads to it");
  await page.locator("#log").evaluate((node) => { node.scrollTop = node.scrollHeight; });
  await sleep(300);
  checkEqual(await button.isVisible(), false, "and is gone then");
  for (const [width, height] of [[360, 740], [320, 568], [740, 360], [1280, 800]]) {
    await page.setViewportSize({ width, height });
    await sleep(200);
    const below = await page.locator("#log").evaluate((node) => node.scrollHeight - node.scrollTop - node.clientHeight);
    check(below < 2, `who is at the end stays there at ${width} by ${height}`, `${below} pixels`);
  }
  await leave(ann);
  return next;
}
