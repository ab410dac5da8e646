/**
 * Redpoll's WebSocket with Node's `ws` and Chromium, and the two together with Python's `websockets` on one channel.
 *
 *     node tests/clients/websocket.mjs target/release/redpoll target/clients/venv/bin/python
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { check, checkEqual, openWindow, run, sleep, startBrowser, startServer } from "../browser/harness.mjs";
import { openChromium, openPython, openWs, speakRedpoll, within } from "./clients.mjs";

const messageBytesMax = 1 << 20;
const sizes = [0, 125, 126, 65_535, 65_536, messageBytesMax];
const noContext = ["client_no_context_takeover", "permessage-deflate", "server_no_context_takeover"];

await run(async (binary, cleanup) => {
  const python = process.argv[3];
  const browser = await startBrowser();
  cleanup(() => browser.close());
  const start = async (...options) => {
    const server = await startServer(binary, 0, ["--echo", "--max-message", "1M", ...options]);
    cleanup(() => server.stop());
    const { page } = await openWindow(browser);
    await page.goto(`${server.origin}/healthz`);
    return { server, url: server.origin.replace("http", "ws"), page };
  };

  for (const [how, options, deflate] of [["compression on", [], true], ["compression off", [], false], ["--deflate off", ["--deflate", "off"], true]]) {
    const site = await start(...options);
    const agreed = how === "compression on";
    const openNode = (path) => openWs(`ws, ${how}`, site.url + path, { deflate });
    await everyone(openNode, agreed, site);
    await onlyWs(openNode, agreed);
    // Chromium cannot be told to offer nothing.
    const openPage = (path) => openChromium(`chromium, ${how}`, site.url + path, site.page);
    if (deflate) await everyone(openPage, agreed, site);
    await ending(site, deflate ? [openNode, openPage] : [openNode]);
  }
  await together(await start(), python);
  await keepalive(await start("--ping", "200ms"));
});

/** Characters of one to four bytes, which deflate well; exactly `size` bytes. */
function textOf(size) {
  const pattern = "tea ü 茶 🫖 ";
  const text = pattern.repeat(Math.floor(size / Buffer.byteLength(pattern)));
  return text + ".".repeat(size - Buffer.byteLength(text));
}

/** Bytes that do not deflate: compressed, they are longer than before. */
function binaryOf(size) {
  return createHash("shake256", { outputLength: size || 1 }).update(`${size}`).digest().subarray(0, size);
}

function same(actual, expected) {
  return typeof actual === typeof expected && Buffer.from(actual).equals(Buffer.from(expected));
}

function shown(message) {
  return `${typeof message} of ${message.length}: ${JSON.stringify(message.toString().slice(0, 60))}`;
}

/** The extension and its parameters, in an order of their own. */
function parameters(extensions) {
  return extensions.split(/[;,]/).map((part) => part.trim()).filter(Boolean).sort();
}

/** What holds for every client. */
async function everyone(open, agreed) {
  const client = await open("/echo");
  checkEqual(parameters(client.extensions), agreed ? noContext : [], `${client.name}: the extension is ${agreed ? "agreed" : "absent"}`);
  for (const size of sizes) {
    for (const [kind, message] of [["a text", textOf(size)], ["a binary", binaryOf(size)]]) {
      await client.send(message);
      const answer = await client.receive();
      check(same(answer, message), `${client.name}: ${kind} of ${size} bytes comes back as it was`, shown(answer));
    }
  }
  for (const codeAndReason of [[], [1000, "done"], [3000, "ü".repeat(61)], [4999, "x".repeat(123)]]) {
    const one = await open("/echo");
    await one.close(...codeAndReason);
    const [code, , clean] = await one.closed();
    // 1005 stands for a close frame without a code (RFC 6455 §7.4.1).
    const what = codeAndReason.length === 0 ? "a close without a code is answered with none" : `a close with ${codeAndReason[0]} is answered with it`;
    checkEqual([code, clean], [codeAndReason[0] ?? 1005, true], `${one.name}: ${what}`);
  }
  for (const [kind, message] of [["a text", textOf(messageBytesMax + 1)], ["a binary", binaryOf(messageBytesMax + 1)]]) {
    const one = await open("/echo");
    await one.send(message);
    const [code, reason] = await one.closed();
    check(code === 1009 && reason !== "", `${one.name}: ${kind} that is too large is closed with 1009 and a reason`, `${code} ${reason}`);
  }
  const late = await open("/channel/x?since=00000000-7");
  const [code, reason] = await late.closed();
  check(code === 4008 && reason.includes("lost"), `${late.name}: a position that is not kept any more is closed with 4008`, `${code} ${reason}`);
}

/** What `ws` can do and a browser cannot. */
async function onlyWs(open, agreed) {
  const { name, socket, receive, send } = await open("/echo");
  for (const payload of ["", "tea", "x".repeat(125)]) {
    socket.ping(payload);
    checkEqual((await within(once(socket, "pong"), name))[0].toString(), payload, `${name}: a ping of ${payload.length} bytes is answered with the same`);
  }
  for (const [size, piece] of [[126, 1], [65_536, 1000], [messageBytesMax, 65_536]]) {
    for (const message of [textOf(size), binaryOf(size)]) {
      const data = Buffer.from(message);
      for (let at = 0; at < size; at += piece) {
        send(data.subarray(at, at + piece), { binary: typeof message !== "string", fin: false });
        socket.ping();
      }
      send("", { fin: true });
      check(same(await receive(), message), `${name}: a ${typeof message === "string" ? "text" : "binary"} of ${size} bytes in fragments with pings between comes back whole`);
    }
  }

  const { socket: counted, receive: back, send: forth } = await open("/echo");
  const received = async (size, options) => {
    const before = counted._socket.bytesRead;
    forth(textOf(size), options);
    check(same(await back(), textOf(size)), `${name}: a text of ${size} bytes, compressed or not, comes back`);
    return counted._socket.bytesRead - before;
  };
  checkEqual(await received(255), 255 + 4, `${name}: 255 bytes come as they are`);
  const bytes = [await received(256), await received(65_536), await received(65_536, { compress: false })];
  if (agreed) check(bytes[0] < 200 && bytes[1] < 4096 && bytes[2] < 4096, `${name}: 256 bytes and more come compressed`, bytes);
  else checkEqual(bytes, [256 + 4, 65_536 + 10, 65_536 + 10], `${name}: nothing comes compressed`);

  const bad = await open("/echo");
  bad.send(Buffer.from("tea \xff", "latin1"), { binary: false });
  const [code, reason] = await bad.closed();
  check(code === 1007 && reason !== "", `${name}: a text that is not UTF-8 is closed with 1007 and a reason`, `${code} ${reason}`);
}

/** SIGTERM, with one open WebSocket of each client. */
async function ending({ server }, opens) {
  const clients = await Promise.all(opens.map((open) => open("/channel/x")));
  const stopped = server.stop();
  for (const client of clients) {
    checkEqual(await client.closed(), [1001, "the server is ending", true], `${client.name}: SIGTERM closes with 1001 and says why`);
  }
  checkEqual(await stopped, 0, `${clients[0].name}: and the server ends with 0`);
}

/** All on one channel: what one publishes, however it was sent, is what everyone gets. */
async function together({ server, url, page }, python) {
  const to = `${url}/channel/x`;
  const clients = await Promise.all([
    openWs("ws with compression", to),
    openWs("ws with a small window", to, { deflate: { serverMaxWindowBits: 12 } }),
    openWs("ws without compression", to, { deflate: false }),
    openWs("ws with redpoll.v1", to, { protocols: ["redpoll.v1"] }).then((client) => speakRedpoll(client, "x")),
    openChromium("chromium", to, page),
    openPython("websockets with compression", to, python, true),
    openPython("websockets without compression", to, python, false),
  ]);
  const compressed = clients.filter(({ extensions }) => extensions !== "").map(({ name }) => name);
  checkEqual(compressed, clients.map(({ name }) => name).filter((name) => !name.includes("without")), "together: compression is agreed with who offers it");
  checkEqual(parameters(clients[1].extensions), [...noContext, "server_max_window_bits=9"].sort(), "together: a window of 12 bits is answered with 9");
  const post = (message) => fetch(`${server.origin}/channel/x`, {
    method: "POST", body: message, headers: { "Content-Type": typeof message === "string" ? "text/plain" : "application/octet-stream" },
  });
  for (const publisher of [...clients, { name: "a POST", send: post }]) {
    for (const message of ["", textOf(255), textOf(256), textOf(70_000), binaryOf(70_000)]) {
      await publisher.send(message);
      const got = await Promise.all(clients.map(({ receive }) => receive()));
      const wrong = clients.filter((_, at) => !same(got[at], message)).map(({ name }) => name);
      checkEqual(wrong, [], `together: a ${typeof message === "string" ? "text" : "binary"} of ${Buffer.byteLength(message)} bytes from ${publisher.name} reaches everyone`);
    }
  }
  for (const client of clients.filter(({ name }) => name.startsWith("websockets"))) {
    client.close();
    checkEqual(await client.closed(), 0, `together: ${client.name} ends well`);
  }
}

async function keepalive({ url, page }) {
  const client = await openWs("ws", `${url}/echo`);
  const quiet = await openChromium("chromium", `${url}/echo`, page);
  const silent = await openWs("ws", `${url}/echo`, { autoPong: false });
  const payloads = [];
  for (let count = 0; count < 4; count++) payloads.push((await within(once(client.socket, "ping"), "a ping"))[0].toString());
  checkEqual(payloads, Array(4).fill("redpoll"), "ws: the server's pings have a payload");
  checkEqual((await silent.closed())[0], 1006, "ws: who answers no ping is dropped");
  await sleep(500);
  await quiet.send("tea");
  checkEqual(await quiet.receive(), "tea", "chromium: who answers pings stays");
}
