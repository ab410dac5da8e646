/**
 * Who is in the room, as the server tells it: the list of members, and then who comes and goes.
 *
 * The list is asked for with each connection, and when so many have come or gone that the server tells only their number.
 */

/** As the server calls them. It cannot tell a long poll from a short one. */
const transports = { ws: "websocket", sse: "sse", poll: "polling" };

/** The list is not asked for more often than this, and later the longer it is: all who are here ask at the same time. */
const againMs = 2_000;
const eachMs = 20;

/** More is waited where it could not be had. */
const retryMs = 10_000;

const collator = new Intl.Collator(undefined, { numeric: true });

export class Members {
  /** How many there are; the list may not have them all yet. */
  count = 0;
  /** Transports by name. @type {Map<string, string>} */
  #list = new Map();
  #ask;
  #show;
  #timer;
  #dueMs = Infinity;
  #askedMs = -Infinity;
  /** What is told while an answer is on its way, which may or may not know of it. */
  #told;

  /**
   * @param {() => Promise<{name: string, transport: string}[]>} ask  for the list
   * @param {() => void} show  is called when something has changed
   */
  constructor(ask, show) {
    this.#ask = ask;
    this.#show = show;
  }

  /** What the subscription tells. */
  note(presence) {
    if (presence.type === "members") {
      this.count = presence.count;
      this.ask();
    } else {
      this.#told?.push(presence);
      this.#apply(presence);
      const isWhole = this.#dueMs === Infinity && !this.#told;
      this.count = isWhole ? this.#list.size : this.count + (presence.type === "join" ? 1 : -1);
    }
    this.#show();
  }

  /** Asks for the list, soon. */
  ask() {
    this.#askBy(Math.max(Date.now() + Math.random() * this.count * eachMs, this.#askedMs + againMs));
  }

  /** There is nobody left to ask. */
  stop() {
    clearTimeout(this.#timer);
    this.#list.clear();
    this.#ask = async () => [];
    this.count = 0;
  }

  /** Up to `most` of them in the order of their names, but `name` before all others if it is there. */
  first(most, name) {
    const names = [...this.#list.keys()].sort((a, b) => (b === name) - (a === name) || collator.compare(a, b));
    return names.slice(0, most).map((name) => ({ name, transport: this.#list.get(name) }));
  }

  /** How many of those on the list came over a transport. */
  by(transport) {
    return [...this.#list.values()].filter((other) => other === transport).length;
  }

  #askBy(dueMs) {
    if (dueMs >= this.#dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => this.#load(), dueMs - Date.now());
  }

  async #load() {
    this.#dueMs = Infinity;
    this.#askedMs = Date.now();
    const told = this.#told = [];
    try {
      const members = await this.#ask();
      // Asked again meanwhile, which tells more.
      if (told !== this.#told) return;
      this.#list = new Map(members.map(({ name, transport }) => [name, transports[transport]]));
      told.forEach((presence) => this.#apply(presence));
      this.count = this.#list.size;
    } catch {
      this.#askBy(Date.now() + retryMs);
    }
    if (told === this.#told) this.#told = undefined;
    this.#show();
  }

  #apply({ type, name, transport }) {
    if (type === "join") this.#list.set(name, transports[transport]);
    else this.#list.delete(name);
  }
}
