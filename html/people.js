/**
 * Who is here. Until the server itself knows, it is what windows say on a channel for this alone:
 *
 *     {"from": "a2f…", "time": 1732000000001, "name": "Ann", "transport": "sse", "presence": "here"}
 *
 * They say "here" when something is new, again now and then, and soon after a newcomer, who may have found no history.
 * They say "gone" when they are left; one that crashed does not, and is forgotten when it has been silent.
 */

/** "here" is said again this often, more or less; whoever has missed three of them is gone. */
const repeatMs = 5 * 60_000;
const lifetimeMs = 3 * repeatMs + 60_000;

/** Newcomers are answered within this long for each person here, so that a crowd does not speak all at once. */
const answerMs = 300;

/** Anyone can make up people. */
const peopleMax = 200;

export class People {
  /** By window, whoever was heard last at the end. @type {Map<string, {name: string, transport: string, time: number, heardMs: number, gone: boolean}>} */
  #people = new Map();
  #me;
  #say;
  /** What was last said about oneself. */
  #said = "";
  #timer;
  #dueMs = Infinity;

  /**
   * @param {string} me  this window
   * @param {(presence: "here" | "gone") => Promise} say  tells the others
   */
  constructor(me, say) {
    this.#me = me;
    this.#say = say;
  }

  /** Tells the others who this is and how they are connected, unless they know. */
  announce(name, transport) {
    const saying = `${name} ${transport}`;
    if (!name || saying === this.#said) return;
    this.#said = saying;
    this.#sayHere();
  }

  /** The others may have lost it. */
  forgotten() {
    this.#said = "";
  }

  leave() {
    if (this.#said) this.#say("gone");
    this.#said = "";
    clearTimeout(this.#timer);
    this.#dueMs = Infinity;
  }

  /** Takes note of any message of another window. `isNew` is false for those that come with the history. */
  note({ from, name, transport, time = 0, presence }, isNew) {
    const known = this.#people.get(from);
    // Two channels, and the last words of a page, may come in any order.
    if (from === this.#me || time < (known?.time ?? 0)) return;
    this.#people.delete(from);
    const now = Date.now();
    const gone = presence === "gone";
    if (isNew && !known && !gone && this.#said) this.#sayBy(now + 500 + Math.random() * answerMs * this.#people.size);
    // Of clocks, only one's own is to be trusted.
    this.#people.set(from, { name, transport, time, heardMs: isNew ? now : Math.min(time, now), gone });
    if (this.#people.size > peopleMax) this.#people.delete(this.#people.keys().next().value);
  }

  /**
   * The others, by name; over one transport no more of them than there are connections to count, where they can be.
   * @param {(transport: string) => number | undefined} countOf
   */
  present(countOf) {
    const now = Date.now();
    const left = new Map();
    const here = [...this.#people.values()].reverse().filter(({ transport, heardMs, gone }) => {
      if (gone || now - heardMs > lifetimeMs) return false;
      const places = left.get(transport) ?? countOf(transport) ?? Infinity;
      left.set(transport, places - 1);
      return places > 0;
    });
    return here.sort((a, b) => a.name.localeCompare(b.name));
  }

  #sayHere() {
    clearTimeout(this.#timer);
    this.#dueMs = Infinity;
    this.#sayBy(Date.now() + repeatMs * (0.8 + Math.random() * 0.4));
    this.#say("here").catch(() => this.forgotten());
  }

  #sayBy(dueMs) {
    if (dueMs >= this.#dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => this.#sayHere(), dueMs - Date.now());
  }
}
