/** The lab's magnifying glass: the opening handshake, and frames byte by byte (RFC 6455), from the bytes themselves. */
import { say } from "/lab-texts.js";
import { number } from "/texts.js";

const element = (id) => document.getElementById(id);

/** What every server puts behind the key (§1.3). */
const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Payload bytes that are shown one by one. */
const cellsMax = 48;

/** The Accept of a key takes SHA-1, and `crypto.subtle` is missing where a page came over plain HTTP (RFC 3174). */
export function sha1(bytes) {
  const blocks = new Uint8Array((((bytes.length + 8) >> 6) + 1) * 64);
  blocks.set(bytes);
  blocks[bytes.length] = 0x80;
  const view = new DataView(blocks.buffer);
  view.setUint32(blocks.length - 4, bytes.length * 8);
  const hash = Uint32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  const words = new Uint32Array(80);
  const rotated = (x, by) => (x << by) | (x >>> (32 - by));
  for (let at = 0; at < blocks.length; at += 64) {
    for (let i = 0; i < 80; i++) {
      words[i] = i < 16 ? view.getUint32(at + 4 * i) : rotated(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    }
    let [a, b, c, d, e] = hash;
    for (let i = 0; i < 80; i++) {
      const [mix, constant] = [
        [(b & c) | (~b & d), 0x5a827999],
        [b ^ c ^ d, 0x6ed9eba1],
        [(b & c) | (b & d) | (c & d), 0x8f1bbcdc],
        [b ^ c ^ d, 0xca62c1d6],
      ][Math.floor(i / 20)];
      [a, b, c, d, e] = [(rotated(a, 5) + mix + e + constant + words[i]) | 0, a, rotated(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((value, index) => { hash[index] += value; });
  }
  const digest = new DataView(new ArrayBuffer(20));
  hash.forEach((value, index) => digest.setUint32(4 * index, value));
  return new Uint8Array(digest.buffer);
}

function fieldOf(head, name) {
  return new RegExp(`^${name}: *(.*?) *$`, "im").exec(head)?.[1] ?? "";
}

let shown = "";

/** Shows both heads, and how the answer to the key is made. */
export function showHandshake(request, response) {
  const key = fieldOf(request, "sec-websocket-key");
  // Where no WebSocket gets through, the client asks by a plain request why.
  if (shown === request + response || !key) return;
  shown = request + response;
  showHead("request-head", request, "sec-websocket-key");
  showHead("response-head", response, "sec-websocket-accept");
  const digest = sha1(new TextEncoder().encode(key + magic));
  const accept = btoa(String.fromCharCode(...digest));
  const verified = accept === fieldOf(response, "sec-websocket-accept");
  element("handshake").dataset.verified = verified;
  const steps = [
    [say("key"), key],
    [say("magic"), key + magic],
    [say("sha1"), hexOf(digest)],
    [say("base64"), accept],
    [`${say(verified ? "verified" : "differs")} ${say("proves")}`],
  ];
  element("steps").replaceChildren(...steps.map(([text, value]) => {
    const step = made("li", "", text);
    if (value) step.append(made("code", "", value));
    return step;
  }));
}

function showHead(id, head, name) {
  const lines = head.trimEnd().split("\r\n").map((line) => (
    made(line.toLowerCase().startsWith(`${name}:`) ? "mark" : "span", "", `${line}\n`)
  ));
  element(id).replaceChildren(...lines);
}

/** A frame's parts, as far as its bytes are there (§5.2). `total` is its whole length. */
export function parseFrame(bytes, total) {
  const [first, second] = bytes;
  const short = second & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const masked = second >> 7 === 1;
  const begin = 2 + extended + (masked ? 4 : 0);
  const key = masked ? bytes.subarray(2 + extended, begin) : undefined;
  const payload = bytes.subarray(begin);
  return {
    fin: first >> 7, rsv1: (first >> 6) & 1, opcode: first & 15, masked, short, extended, key, payload, header: begin,
    length: total - begin,
    unmasked: key ? payload.map((byte, index) => byte ^ key[index % 4]) : payload,
  };
}

/** One frame, each byte a cell that says what it is. */
function showFrame(root, title, { bytes, total, frames }) {
  const frame = parseFrame(bytes, total);
  const explanation = made("p", "explanation", say("hover"));
  const strip = made("div", "strip");
  strip.setAttribute("role", "toolbar");
  strip.setAttribute("aria-label", title);
  for (const { kind, name, cells, rest } of partsOf(frame, bytes)) {
    const row = made("div", "cells");
    row.append(...cells.map(({ text, below, byte }) => {
      const cell = made("button", "", hexOf([byte]));
      cell.type = "button";
      cell.tabIndex = -1;
      if (below !== undefined) cell.append(made("small", "", below));
      cell.append(made("span", "heard", text));
      return cell;
    }));
    if (rest > 0) row.append(made("span", "quiet", say("more", number(rest))));
    const part = made("div", `part ${kind}`);
    part.append(made("span", "name", name), row);
    strip.append(part);
  }
  const about = say("frameOf", number(total), number(frame.header), number(frame.length));
  const heading = made("h3", "", title);
  const summary = made("p", "quiet", frames > 1 ? `${about} ${say("fragments", number(frames))}` : about);
  root.replaceChildren(heading, summary, strip, explanation);
  explain(strip, explanation);
  if (frame.rsv1 && bytes.length === total) {
    inflated(frame.unmasked).then((text) => summary.append(` ${say("inflated", number(text.length), text)}`), () => {});
  }
}

/** A compressed message, to which its sender has not put the end that every one has (RFC 7692 §7.2.2), and a last block. */
async function inflated(payload) {
  const whole = new Blob([payload, Uint8Array.of(0, 0, 255, 255, 1, 0, 0, 255, 255)]);
  return new Response(whole.stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
}

/** Which bytes belong together, and what each of them says. */
function partsOf(frame, bytes) {
  const { fin, rsv1, opcode, masked, short, extended, key, header, length, payload, unmasked } = frame;
  const at = (from, count, cell) => Array.from(bytes.subarray(from, from + count), (byte, index) => ({ byte, ...cell(byte, index) }));
  const bits = (byte) => byte.toString(2).padStart(8, "0").replace(/(....)/, "$1 ");
  const flags = [say(`fin${fin}`), say(`rsv${rsv1}`), say("opcode", opcode, say(`op${opcode}`))].join("; ");
  const lengthText = say(short === 126 ? "long126" : short === 127 ? "long127" : "short", short);
  const count = Math.min(payload.length, cellsMax);
  const isText = opcode === 1 && rsv1 === 0;
  const seen = (byte) => (isText && byte >= 32 && byte < 127 ? (byte === 32 ? "␣" : String.fromCharCode(byte)) : hexOf([byte]));
  const payloadText = (byte, index) => (key
    ? say("maskedByte", index + 1, hexOf([byte]), hexOf([key[index % 4]]), (index % 4) + 1, seen(unmasked[index]))
    : say("payloadByte", index + 1, seen(byte)));
  return [
    { kind: "flags", name: say("partFlags"), cells: at(0, 1, (byte) => ({ text: flags, below: bits(byte) })) },
    {
      kind: "length", name: say("partLength"),
      cells: at(1, 1, (byte) => ({ text: `${say(`mask${Number(masked)}`)}; ${lengthText}`, below: bits(byte) })),
    },
    { kind: "extended", name: say("partExtended"), cells: at(2, extended, (byte, index) => ({ text: say("extended", index + 1, extended, number(length)) })) },
    { kind: "key", name: say("partKey"), cells: at(2 + extended, masked ? 4 : 0, (byte, index) => ({ text: say("keyByte", index + 1) })) },
    {
      kind: "payload", name: say(masked ? "partMasked" : "partPayload"), rest: length - count,
      cells: at(header, count, (byte, index) => ({ text: payloadText(byte, index), below: seen(unmasked[index]) })),
    },
  ].filter(({ cells }) => cells.length > 0);
}

/** A byte explains itself when it is pointed at or reached by the arrow keys. */
function explain(strip, explanation) {
  const cells = [...strip.querySelectorAll("button")];
  cells[0].tabIndex = 0;
  const show = ({ target }) => {
    const cell = target.closest("button");
    if (cell) explanation.textContent = `${cell.firstChild.textContent}: ${cell.lastChild.textContent}`;
  };
  strip.addEventListener("pointerover", show);
  strip.addEventListener("focusin", show);
  strip.addEventListener("keydown", (event) => {
    const now = cells.indexOf(document.activeElement);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: cells.length - 1 }[event.key];
    if (!cells[next]) return;
    event.preventDefault();
    cells[now].tabIndex = -1;
    cells[next].tabIndex = 0;
    cells[next].focus();
  });
}

/** A WebSocket of its own, whose messages are nothing but what was typed. */
export class Frames {
  #of;
  #socket;

  /** @param of  the channel's `name`, the `key` to see its bytes by, and how to ask */
  constructor(of) {
    this.#of = of;
    element("send").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(element("own").value);
    });
    const lengths = [5, 125, 126, 65535, 65536].map((length) => {
      const button = made("button", "other", number(length));
      button.type = "button";
      button.addEventListener("click", () => {
        element("own").value = filling(length);
        this.#send(filling(length));
      });
      return button;
    });
    element("lengths").append(...lengths);
    this.again();
  }

  /** Sends once more what was sent, over a new connection. */
  again() {
    this.#socket?.close();
    this.#socket = undefined;
    this.#send(element("own").value);
  }

  async #send(text) {
    const notice = element("frames-notice");
    notice.textContent = "";
    try {
      const socket = await this.#open();
      socket.send(text);
      await this.#answer(socket);
      const [tap] = await this.#of.readWire(this.#of.name, [this.#of.key]);
      if (!tap) throw new Error(say("unrecorded"));
      showFrame(element("frame-out"), say("sentFrame"), taken(tap.received));
      showFrame(element("frame-in"), say("receivedFrame"), taken(tap.sent));
    } catch (error) {
      notice.textContent = error.message;
    }
  }

  #open() {
    if (this.#socket?.readyState === WebSocket.OPEN) return this.#socket;
    const address = this.#of.watched(this.#of.name, this.#of.key);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      socket.onopen = () => resolve(socket);
      socket.onclose = () => reject(new Error(say("noSocket")));
    });
  }

  /** What was sent comes back from the channel. */
  #answer(socket) {
    return new Promise((resolve, reject) => {
      socket.onmessage = resolve;
      socket.onclose = ({ code, reason }) => reject(new Error(say("socketEnded", `${code} ${reason}`)));
    });
  }
}

function taken({ last, last_bytes: total, last_frames: frames }) {
  return { bytes: Uint8Array.from(atob(last), (character) => character.charCodeAt(0)), total, frames };
}

/** Text of so many bytes. */
function filling(length) {
  return "Hello, world. ".repeat(length / 14 + 1).slice(0, length);
}

function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

function made(tag, name, text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  return element;
}
