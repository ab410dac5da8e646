/**
 * The clients behind the same few words. Each `open...` gives `{ name, extensions, send, receive, close, closed }`:
 * `receive` waits for the next message, a string or a Buffer; `closed` for `[code, reason, clean]`.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";

const limitMs = 20_000;

/** What `promise` gives, or an error when that takes too long. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing in ${limitMs} ms`)), limitMs); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Messages that have come and are not taken yet. */
function inbox(name) {
  const messages = [];
  let arrived = () => {};
  return {
    push(message) { messages.push(message); arrived(); },
    async take() {
      while (messages.length === 0) await within(new Promise((resolve) => { arrived = resolve; }), `${name} waits for a message`);
      return messages.shift();
    },
  };
}

/** Node's `ws`. `socket` is its own object, for what only it can do. */
export async function openWs(name, url, { deflate = true, protocols = [], ...options } = {}) {
  const perMessageDeflate = deflate && { threshold: 0, ...(deflate === true ? {} : deflate) };
  const socket = new WebSocket(url, protocols, { perMessageDeflate, maxPayload: 0, ...options });
  const messages = inbox(name);
  let extensions = "";
  socket.on("upgrade", (response) => { extensions = response.headers["sec-websocket-extensions"] ?? ""; });
  socket.on("message", (data, binary) => messages.push(binary ? data : data.toString()));
  const closed = new Promise((resolve) => socket.on("close", (code, reason) => resolve([code, reason.toString(), code !== 1006])));
  await within(once(socket, "open"), `${name} opens`);
  socket.on("error", () => {});
  return {
    name, extensions, socket, receive: messages.take,
    send: (message, options) => socket.send(message, options),
    close: (...codeAndReason) => socket.close(...codeAndReason),
    closed: () => within(closed, `${name} closes`),
  };
}

/** Chromium's own, in a page of the same origin. Binary data goes in and out of the page as Latin-1. */
export async function openChromium(name, url, page, { protocols = [] } = {}) {
  const at = await page.evaluate(async ([url, protocols]) => {
    const socket = new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    const one = { socket, messages: [], arrived: () => {} };
    socket.onmessage = ({ data }) => {
      const latin1 = (buffer) => Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
      one.messages.push(typeof data === "string" ? { text: data } : { latin1: latin1(data) });
      one.arrived();
    };
    one.closed = new Promise((resolve) => { socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]); });
    await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = () => reject(new Error("refused")); });
    return (window.sockets ??= []).push(one) - 1;
  }, [url, protocols]);
  const extensions = await page.evaluate((at) => window.sockets[at].socket.extensions, at);
  return {
    name, extensions,
    send: (message) => page.evaluate(([at, text, latin1]) => {
      window.sockets[at].socket.send(text ?? Uint8Array.from(latin1, (character) => character.charCodeAt(0)));
    }, typeof message === "string" ? [at, message] : [at, null, message.toString("latin1")]),
    receive: async () => {
      const { text, latin1 } = await within(page.evaluate(async (at) => {
        const one = window.sockets[at];
        while (one.messages.length === 0) await new Promise((resolve) => { one.arrived = resolve; });
        return one.messages.shift();
      }, at), `${name} waits for a message`);
      return text ?? Buffer.from(latin1, "latin1");
    },
    close: (...codeAndReason) => page.evaluate(([at, codeAndReason]) => window.sockets[at].socket.close(...codeAndReason), [at, codeAndReason]),
    closed: () => within(page.evaluate((at) => window.sockets[at].closed, at), `${name} closes`),
  };
}

/** Python's `websockets`, as a process of its own; see `clients.py`. */
export async function openPython(name, url, python, deflate) {
  const script = fileURLToPath(new URL("clients.py", import.meta.url));
  const child = spawn(python, [script, "--peer", url, deflate ? "on" : "off"], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = inbox(name);
  createInterface({ input: child.stdout }).on("line", lines.push);
  const extensions = await lines.take() === "1" ? "permessage-deflate" : "";
  return {
    name, extensions,
    send: (message) => child.stdin.write(`${typeof message === "string" ? "T" : "B"}${Buffer.from(message).toString("base64")}\n`),
    receive: async () => {
      const line = await lines.take();
      const data = Buffer.from(line.slice(1), "base64");
      return line[0] === "T" ? data.toString() : data;
    },
    close: () => child.stdin.end(),
    closed: () => within(once(child, "exit").then(([status]) => status), `${name} ends`),
  };
}

/** A client that speaks `redpoll.v1` on one channel, used like one that does not. */
export async function speakRedpoll(client, channel) {
  const subscribed = JSON.parse(await client.receive()).subscribed;
  return {
    ...client, subscribed,
    send: (message) => client.send(JSON.stringify({
      publish: channel, ...(typeof message === "string" ? { data: message } : { base64: message.toString("base64") }),
    })),
    receive: async () => {
      const { data, base64 } = JSON.parse(await client.receive());
      return data ?? Buffer.from(base64 ?? "", "base64");
    },
  };
}
