// The topic tree: what a filter brings, live, the last message of each topic.

import { ask } from "./api.js";
import { byId, element, MAX_LIMIT, openDrawer, setText } from "./dom.js";
import { age, count, counted, payload } from "./format.js";
import { showMessage } from "./lists.js";
import { Live } from "./live.js";

/** Messages of more topics are counted and left out; a topic may have many levels. */
const MAX_TOPICS = 2_000;
const MAX_LEVELS = 8_000;
/** Up to so many topics are shown unfolded. */
const UNFOLDED = 40;
const MAX_TEXT = 160;
const DRAW_MS = 250;

const byName = new Intl.Collator("en", { numeric: true }).compare;
let made = 0;

/** What is below a level, and the last message of the topic that ends here. */
class Level {
  below = new Map();
  names = [];
  topics = 0;
  messages = 0;
  last = null;
  at_ms = null;
  group = element("ul", { role: "group", hidden: "" });

  constructor(name, above) {
    const id = `level-${made += 1}`;
    Object.assign(this, { above, depth: above ? above.depth + 1 : -1 });
    [this.value, this.count, this.age] = ["last raw", "number", "number"].map((kind) => element("span", { class: kind }));
    const title = element("span.level", element("i.twisty"), element("span.raw", { id }, name || "(empty)"));
    const row = element("div.row", title, this.value, this.count, this.age);
    row.style.setProperty("--depth", Math.min(this.depth, 12));
    this.item = element("li", { role: "treeitem", "aria-labelledby": id, tabindex: -1 }, row, this.group);
  }

  add(name) {
    const level = new Level(name, this);
    const at = this.names.findLastIndex((other) => byName(other, name) <= 0) + 1;
    this.names.splice(at, 0, name);
    this.below.set(name, level);
    this.group.insertBefore(level.item, this.group.children[at] ?? null);
    return level;
  }

  get isOpen() {
    return !this.group.hidden;
  }

  unfold(isOpen) {
    if (this.names.length === 0) return;
    this.group.hidden = !isOpen;
    this.item.setAttribute("aria-expanded", isOpen);
  }

  draw() {
    setText(this.value, this.last ? payload(this.last, MAX_TEXT) : counted(this.topics, "topic"));
    this.value.classList.toggle("muted", !this.last);
    setText(this.count, count(this.messages));
  }
}

class Tree {
  constructor(place, view) {
    Object.assign(this, { place, view });
    place.onkeydown = (event) => this.#key(event);
    place.onclick = ({ target }) => {
      const level = this.ofItem.get(target.closest("[role=treeitem]"));
      if (!level) return;
      this.#focus(level);
      if (target.closest(".twisty") || !level.last) level.unfold(!level.isOpen);
      else view(level);
    };
    this.clear();
  }

  clear() {
    const top = Object.assign(new Level("", null), { group: this.place });
    this.place.replaceChildren();
    Object.assign(this, { top, ofItem: new Map(), stale: new Set(), focused: null, leftOut: 0 });
  }

  /** A message without a time was retained before, and counts only where there is none. */
  take(message, now_ms = null) {
    const names = message.topic.split("/");
    let level = names.reduce((above, name) => above?.below.get(name), this.top);
    if (level?.last && now_ms === null) return;
    if (!level?.last) {
      // Not all of these levels are new.
      if (this.top.topics >= MAX_TOPICS || this.ofItem.size + names.length > MAX_LEVELS) return this.leftOut += 1;
      level = names.reduce((above, name) => above.below.get(name) ?? this.#add(above, name), this.top);
      for (let up = level; up; up = up.above) up.topics += 1;
    }
    [level.last, level.at_ms] = [message, now_ms];
    for (let up = level; up; up = up.above) {
      if (now_ms !== null) up.messages += 1;
      this.stale.add(up);
    }
  }

  draw(now_ms) {
    for (const level of this.stale) level.draw();
    this.stale.clear();
    for (const { last, at_ms, age: shown, above } of this.ofItem.values()) {
      if (last && above.isOpen) setText(shown, at_ms === null ? "–" : age(now_ms - at_ms));
    }
  }

  unfoldAll(isOpen) {
    for (const level of this.ofItem.values()) level.unfold(isOpen);
    while (!isOpen && this.focused?.depth > 0) this.#focus(this.focused.above, false);
  }

  #add(above, name) {
    const level = above.add(name);
    this.ofItem.set(level.item, level);
    if (above !== this.top && above.names.length === 1) above.unfold(this.top.topics < UNFOLDED);
    if (!this.focused) this.#focus(level, false);
    return level;
  }

  #focus(level, isSeen = true) {
    this.focused?.item.setAttribute("tabindex", -1);
    level.item.setAttribute("tabindex", 0);
    this.focused = level;
    if (isSeen) level.item.focus();
  }

  #key(event) {
    const level = this.focused;
    const shown = [...this.place.querySelectorAll("[role=treeitem]:not([hidden] *)")];
    const at = shown.indexOf(level?.item);
    const go = (to) => shown[to] && this.#focus(this.ofItem.get(shown[to]));
    const act = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      Home: () => go(0),
      End: () => go(shown.length - 1),
      ArrowRight: () => (level.isOpen ? go(at + 1) : level.unfold(true)),
      ArrowLeft: () => (level.isOpen ? level.unfold(false) : level.depth > 0 && this.#focus(level.above)),
      Enter: () => (level.last ? this.view(level) : level.unfold(!level.isOpen)),
      " ": () => level.unfold(!level.isOpen),
    }[event.key];
    if (at < 0 || !act) return;
    event.preventDefault();
    act();
  }
}

export function topics() {
  const field = byId("topics-filter");
  const said = (text) => setText(byId("topics-said"), text);
  const tree = new Tree(byId("topics-tree"), ({ last }) => openDrawer(last.topic, showMessage(last)));
  let [filter, missed, timer] = [field.value, 0, 0];
  const live = new Live({
    open: () => live.tell({ subscribe: filter }),
    closed: () => said("Disconnected."),
    async subscribed(filter) {
      said(`Watching ${filter}:`);
      const { items } = await ask("GET", ["retained"], { query: { filter, limit: MAX_LIMIT } });
      for (const message of items) tree.take(message);
    },
    message: (message) => tree.take(message, performance.now()),
    missed: (messages) => { missed += messages; },
    problem: said,
  });

  function draw() {
    tree.draw(performance.now());
    byId("topics-empty").hidden = tree.top.topics > 0;
    const parts = [counted(tree.top.topics, "topic"), counted(tree.top.messages, "message")];
    if (tree.leftOut) parts.push(`${counted(tree.leftOut, "message")} of more topics left out: watch a narrower filter`);
    if (missed) parts.push(`${counted(missed, "message")} left out: the page did not keep up`);
    setText(byId("topics-count"), parts.join(", "));
  }

  byId("topics-form").onsubmit = () => {
    live.tell({ unsubscribe: filter });
    [filter, missed] = [field.value, 0];
    tree.clear();
    live.tell({ subscribe: filter });
  };
  byId("topics-expand").onclick = () => tree.unfoldAll(true);
  byId("topics-collapse").onclick = () => tree.unfoldAll(false);

  return {
    show() {
      live.want();
      timer ||= setInterval(draw, DRAW_MS);
    },
    hide() {
      live.leave();
      timer = clearInterval(timer);
    },
  };
}
