/**
 * Pages in the visitor's language. Each page has a table of its own; what stands in the page itself needs no English:
 *
 *     import { speak } from "/texts.js";
 *     export const { say, translate } = speak({
 *       title: [, "实验室"],
 *       found: [{ one: "{0} channel of {1}", other: "{0} channels of {1}" }, "{1} 的 {0} 个频道"],
 *     });
 *     translate();
 *     say("found", 1, "Ann");
 *
 * `{0}` is the first value, and the one that decides between singular and plural. Numbers are written as the language
 * writes them; text is left as it is.
 */

/** For dates and numbers: the visitor's English may be that of any country. */
export const locale = navigator.languages?.find((name) => /^(en|zh)\b/i.test(name)) ?? "en";

export const language = locale.slice(0, 2).toLowerCase();

const column = language === "zh" ? 1 : 0;
const plurals = new Intl.PluralRules(locale);
const numbers = new Intl.NumberFormat(locale);
export const number = (value) => numbers.format(value);

/** Attributes with words in them; `data-aria-label="key"` is to an attribute what `data-text="key"` is to the content. */
const attributes = ["aria-label", "placeholder", "title"];

export function speak(texts) {
  /** A text in the visitor's language. */
  const say = (key, ...values) => {
    const forms = texts[key]?.[column] ?? "";
    const text = typeof forms === "string" ? forms : forms[plurals.select(values[0])] ?? forms.other;
    return text.replace(/\{(\d)\}/g, (_, index) => (typeof values[index] === "number" ? number(values[index]) : values[index]));
  };
  /** Puts what is in the page already into the visitor's language. */
  const translate = () => {
    if (column === 0) return;
    document.documentElement.lang = "zh-CN";
    for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
    for (const name of attributes) {
      for (const element of document.querySelectorAll(`[data-${name}]`)) element.setAttribute(name, say(element.getAttribute(`data-${name}`)));
    }
    if (texts.title) document.title = `${say("title")} · Redpoll`;
  };
  return { say, translate };
}

/** Milliseconds, in a unit that is easily read. */
export function time(ms) {
  if (ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
}

export function size(bytes) {
  if (bytes === undefined || Number.isNaN(bytes)) return "–";
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  if (bytes < 999_500) return `${(bytes / 1000).toFixed(bytes < 9950 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
