/** What the pages have in common besides their words (`texts.js`). */

/** That the page was opened with. There is no other way for it to come, but the cookie, which the browser sends by itself. */
export const token = new URLSearchParams(location.search).get("token") ?? undefined;

/** An address of this server, with that token. */
export function address(path, fields = {}) {
  const url = new URL(path, location.href);
  for (const [name, value] of Object.entries({ ...fields, ...(token && { token }) })) url.searchParams.set(name, value);
  return url;
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
