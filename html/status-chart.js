/** A chart of values that change: lines over time, or areas that stand on each other. */
import { say } from "/status-texts.js";

export const chartMs = 5 * 60_000;

/** What is shown while there is no more. */
const firstMs = 60_000;

const left = 2;
const bottom = 16;
const top = 14;
/** Where samples are further apart than this there is a hole. */
const holeMs = 5_000;

export class Chart {
  #context;
  #card;
  #format;
  #stacked;
  /** Where values differ by powers of ten, those that have a line; each is as high above the last. */
  #decades;
  /** What each series is called, and how its value is found. */
  #series;
  #values;
  /** What the series read in each sample that is still shown: once is enough. */
  #read = new WeakMap();
  /** Where there is a limit, the value that it has. */
  #limit;

  constructor({ key, series, format, stacked = 0, decades, limit = () => undefined }) {
    const card = document.getElementById("card").content.cloneNode(true).firstElementChild;
    card.dataset.chart = key;
    card.querySelector("h2").textContent = say(key);
    this.#values = series.map(([name]) => {
      const [pair, term, value] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = say(name);
      pair.append(term, value);
      card.querySelector("dl").append(pair);
      value.dataset.value = name;
      return value;
    });
    [this.#card, this.#series, this.#format] = [card, series, format];
    [this.#stacked, this.#decades, this.#limit] = [stacked, decades, limit];
    this.canvas = card.querySelector("canvas");
    this.#context = this.canvas.getContext("2d");
    document.getElementById("charts").append(card);
  }

  /** @param samples  each with `ms`, when it was, and what the series read */
  show(samples) {
    const rows = samples.map((sample) => {
      if (!this.#read.has(sample)) this.#read.set(sample, { ms: sample.ms, values: this.#series.map(([, read]) => read(sample)) });
      return this.#read.get(sample);
    });
    const last = rows.at(-1)?.values ?? [];
    this.#values.forEach((value, index) => { value.textContent = last[index] === undefined ? "–" : this.#format(last[index]); });
    const limit = samples.length ? this.#limit(samples.at(-1)) : undefined;
    this.#draw(rows, limit);
    const said = this.#series.map(([name], index) => `${say(name)} ${this.#values[index].textContent}`);
    this.canvas.setAttribute("aria-label", say("chart", this.#card.querySelector("h2").textContent, said.join(", ")));
  }

  #draw(rows, limit) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = devicePixelRatio;
    [this.canvas.width, this.canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    const context = this.#context;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(this.canvas);
    const colours = ["--link", "--second", "--third", "--fourth", "--quiet", "--line"].map((name) => style.getPropertyValue(name));

    const tops = rows.map(({ values }) => this.#tops(values));
    const highest = this.#decades?.at(-1) ?? niceCeiling(Math.max(limit ?? 0, ...tops.flat().map((value) => value ?? 0)));
    const now = rows.at(-1)?.ms ?? 0;
    const windowMs = now - (rows[0]?.ms ?? 0) > firstMs ? chartMs : firstMs;
    const across = (ms) => left + (width - left - 4) * (1 - (now - ms) / windowMs);
    const above = (value) => height - bottom - (height - bottom - top) * this.#share(value, highest);

    context.font = "11px system-ui, sans-serif";
    context.fillStyle = colours[5];
    for (const value of this.#decades ?? [0, highest / 2, highest]) context.fillRect(0, Math.round(above(value)), width, 1);
    this.#series.forEach((_, index) => {
      // From the highest down, so that each area is seen above the one below.
      const series = index < this.#stacked ? this.#stacked - 1 - index : index;
      const points = rows.map(({ ms }, at) => ({ ms, x: across(ms), value: tops[at][series] }));
      for (const run of runs(points)) {
        context.beginPath();
        run.forEach(({ x, value }) => context.lineTo(x, above(value)));
        [context.strokeStyle, context.fillStyle, context.lineWidth, context.lineJoin] = [colours[series], colours[series], 1.6, "round"];
        context.stroke();
        if (series >= this.#stacked) continue;
        context.lineTo(run.at(-1).x, above(0));
        context.lineTo(run[0].x, above(0));
        context.globalAlpha = 0.3;
        context.fill();
        context.globalAlpha = 1;
      }
    });
    if (limit !== undefined) {
      context.setLineDash([5, 4]);
      context.strokeStyle = style.getPropertyValue("--cap");
      context.beginPath();
      context.moveTo(0, above(limit));
      context.lineTo(width, above(limit));
      context.stroke();
      context.setLineDash([]);
    }
    context.fillStyle = colours[4];
    for (const value of this.#decades ? [1, highest] : [highest]) context.fillText(this.#format(value), 2, above(value) - 3);
    context.fillText(say("earlier", windowMs / 60_000), 2, height - 3);
    context.textAlign = "right";
    context.fillText(say("now"), width - 2, height - 3);
    context.textAlign = "left";
  }

  /** How far up a value is, from 0 to 1. */
  #share(value, highest) {
    if (!this.#decades) return value / highest;
    const [lowest] = this.#decades;
    return Math.min(1, Math.max(0, Math.log10(value / lowest) / Math.log10(highest / lowest)));
  }

  /** How high each series reaches: those that are stacked stand on the ones before. */
  #tops(values) {
    let sum = 0;
    return values.map((value, index) => (index < this.#stacked ? (sum += value ?? 0) : value));
  }
}

/** The parts of a line between its holes. */
function runs(points) {
  const all = [];
  let before;
  for (const point of points) {
    if (point.value === undefined) {
      before = undefined;
      continue;
    }
    if (!before || point.ms - before.ms > holeMs) all.push([]);
    all.at(-1).push(point);
    before = point;
  }
  return all;
}

/** The next of 1, 2 or 5 times a power of ten. */
function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value * 1.02) * power || 10 * power;
}
