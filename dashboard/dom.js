// Elements of the page. What clients say (identifiers, topics, payloads) gets in here, as text and nothing else.

import { ask } from "./api.js";
import { bytes, count, counted, duration, titled, words } from "./format.js";

/** How many more rows there are each time, and most that the API tells at once. */
export const STEP = 100;
export const MAX_LIMIT = 1_000;
const SAID_MS = 8_000;

export const byId = (id) => document.getElementById(id);

/** An element of a name and classes (`p.note`), with attributes and listeners (`onclick`), elements and texts. */
export function element(selector, ...content) {
  const [name, ...classes] = selector.split(".");
  const made = document.createElement(name);
  made.className = classes.join(" ");
  for (const part of content) {
    if (typeof part === "string" || part instanceof Node) made.append(part);
    else for (const [key, value] of Object.entries(part)) key.startsWith("on") ? made[key] = value : made.setAttribute(key, value);
  }
  return made;
}

export const button = (label, onclick, kind = "") => element("button", { type: "button", class: kind, onclick }, label);

/** What a form says, by the names of its fields. */
export const formed = (form) => Object.fromEntries(new FormData(form));

/** Leaves a text that is the same: a selection in it stays. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function facts(list, pairs) {
  pairs.forEach((pair, at) => {
    const { children } = list.children[at] ?? list.appendChild(element("div", element("dt"), element("dd")));
    pair.forEach((text, side) => setText(children[side], text));
  });
  while (list.children.length > pairs.length) list.lastChild.remove();
}

const UNITS = [[/_ms$/, (ms) => duration(ms / 1_000)], [/_s$/, duration], [/_bytes$|^size$/, bytes], [/$/, count]];
const WORDS = new Map([[true, "yes"], [false, "no"], [null, "no end"]]);

/** What the API tells of something. Keys name their units; `null` is no bound. */
export function described(object) {
  const list = element("dl.facts");
  facts(list, Object.entries(object).map(([key, value]) => {
    const [, format] = UNITS.find(([unit]) => unit.test(key));
    const name = titled(words(key.replace(/_m?s$/, ""))).replace("Qos", "QoS");
    return [name, typeof value === "number" ? format(value) : WORDS.get(value) ?? value];
  }));
  return list;
}

/**
 * A list of the API in a table, which on a narrow screen is cards. A row is known by its key and changed in place, so that
 * focus and selection stay. `path` and `query()` are asked; `columns` are `[title, text(item), class, open(item)]`, where
 * what can be opened is a button; `actions` are `[label, run(item), class, isFor(item)]`.
 */
export class Listing {
  #spec;
  #most = STEP;
  #asked = 0;
  #rows = new Map();
  #note = element("p.note", { role: "status" }, "Asking …");
  #body = element("tbody");
  #empty;
  #more;

  constructor(place, spec) {
    this.#spec = { query: () => ({}), actions: [], ...spec };
    const heads = spec.columns.map(([title, , kind = ""]) => element("th", { class: kind.replace("raw", "") }, title));
    if (spec.actions) heads.push(element("td"));
    const table = element("table", { "aria-label": `${titled(spec.noun)}s` }, element("thead", element("tr", ...heads)), this.#body);
    this.#empty = element("p.empty", spec.empty);
    this.#more = button("More", () => this.refresh(this.#most + STEP));
    this.#empty.hidden = this.#more.hidden = true;
    place.append(this.#note, element("div.card.table", table, this.#empty), this.#more);
  }

  async refresh(most = this.#most) {
    this.#most = most;
    const asked = this.#asked += 1;
    const items = [];
    let cursor;
    try {
      do {
        const query = { ...this.#spec.query(), limit: Math.min(this.#most - items.length, MAX_LIMIT), cursor };
        const part = await ask("GET", this.#spec.path, { query });
        items.push(...part.items);
        cursor = part.next;
      } while (cursor && items.length < this.#most);
    } catch ({ message }) {
      return setText(this.#note, message);
    }
    // What was asked later may have been answered sooner.
    if (asked === this.#asked) this.#show(items, Boolean(cursor));
  }

  #show(items, hasMore) {
    const keys = items.map(this.#spec.key);
    const kept = new Set(keys);
    for (const [key, { line }] of this.#rows) {
      if (kept.has(key)) continue;
      line.remove();
      this.#rows.delete(key);
    }
    items.forEach((item, at) => {
      if (!this.#rows.has(keys[at])) this.#rows.set(keys[at], this.#row());
      const { line, update } = this.#rows.get(keys[at]);
      update(item);
      const there = this.#body.children[at];
      if (there !== line) this.#body.insertBefore(line, there ?? null);
    });
    this.#empty.hidden = items.length > 0;
    this.#more.hidden = !hasMore;
    setText(this.#note, `${counted(items.length, this.#spec.noun)}${hasMore ? ", and there are more" : ""}`);
  }

  #row() {
    let item;
    const { columns, actions } = this.#spec;
    const texts = columns.map(([, , , open]) => (open ? button("", () => open(item), "link raw") : element("span")));
    const buttons = actions.map(([label, run, kind]) => button(label, () => run(item), kind));
    const cells = columns.map(([title, , kind = ""], at) => element("td", { class: kind, "data-title": title }, texts[at]));
    if (buttons.length > 0) cells.push(element("td.does", ...buttons));
    const update = (now) => {
      item = now;
      columns.forEach(([, text], at) => setText(texts[at], text(item)));
      actions.forEach(([label, , , isFor = () => true], at) => {
        buttons[at].hidden = !isFor(item);
        buttons[at].setAttribute("aria-label", `${label} ${texts[0].textContent}`);
      });
    };
    return { line: element("tr", ...cells), update };
  }
}

let silence = 0;

/** What went wrong stays until it is closed. */
export function say(text, isBad = false) {
  clearTimeout(silence);
  setText(byId("said-text"), text);
  byId("said").className = text && `shown ${isBad ? "bad" : ""}`;
  if (!isBad) silence = setTimeout(say, SAID_MS, "");
}

/** Asks whether to do something and, with `label`, for a text; does it then, and says what came of it. */
export async function offer({ title, name, text = "", action, label = "", value = "" }, deed) {
  const [dialog, input] = [byId("confirm"), byId("confirm-input")];
  for (const [part, said] of Object.entries({ title, name, text, label, do: action })) setText(byId(`confirm-${part}`), said);
  byId("confirm-do").className = label ? "primary" : "solid";
  byId("confirm-field").hidden = input.disabled = !label;
  [input.value, dialog.returnValue] = [value, ""];
  dialog.showModal();
  // What can't be undone is not done by a slip.
  (label ? input : byId("confirm-cancel")).focus();
  await new Promise((closed) => { dialog.onclose = closed; });
  if (dialog.returnValue !== "do") return;
  byId("drawer").close();
  await deed(input.value).then(say, ({ message }) => say(message, true));
}

export function openDrawer(title, ...content) {
  say("");
  setText(byId("drawer-title"), title);
  byId("drawer-body").replaceChildren(...content);
  byId("drawer").showModal();
}

export function prepareDialogs() {
  byId("said-close").onclick = () => say("");
  byId("confirm-cancel").onclick = () => byId("confirm").close();
  byId("drawer-close").onclick = () => byId("drawer").close();
  // Its inside covers it: what is clicked on itself is what is behind it.
  byId("drawer").onclick = ({ target, currentTarget }) => target === currentTarget && currentTarget.close();
}
