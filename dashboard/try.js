// Publishing and subscribing by hand, over the live feed.

import { button, byId, element, say, setText } from "./dom.js";
import { bytes, clock, counted, payload } from "./format.js";

/** Messages in the log, characters of a payload. */
const MAX_SHOWN = 200;
const MAX_TEXT = 2_000;
const DRAW_MS = 250;

/** What to do with what the broker says. */
export function trial(tell) {
  const [log, filters] = [byId("try-log"), new Set()];
  let [coming, timer] = [[], 0];

  function draw() {
    timer = 0;
    log.prepend(...coming);
    coming = [];
    while (log.children.length > MAX_SHOWN) log.lastChild.remove();
  }

  function add(...content) {
    coming.unshift(element("li", element("time.muted", clock()), ...content));
    coming.length = Math.min(coming.length, MAX_SHOWN);
    timer ||= setTimeout(draw, DRAW_MS);
  }

  const said = (text) => setText(byId("try-said"), text);

  byId("try-subscribe").onsubmit = () => {
    const filter = byId("try-filter").value;
    byId("try-filter").value = "";
    if (filters.has(filter)) return;
    filters.add(filter);
    const item = element("li", button(`${filter} ×`, () => {
      filters.delete(filter);
      item.remove();
      tell({ unsubscribe: filter });
      byId("try-filter").focus();
    }, "raw"));
    item.firstChild.setAttribute("aria-label", `Unsubscribe from ${filter}`);
    byId("try-filters").append(item);
    said(tell({ subscribe: filter }) ? "" : "Subscribed once connected.");
  };
  byId("try-publish").onsubmit = () => {
    const [topic, text, qos] = ["topic", "text", "qos"].map((name) => byId(`try-${name}`).value);
    const publish = { topic, text, qos: Number(qos), retain: byId("try-retain").checked };
    setText(byId("try-published"), tell({ publish }) ? "" : "Not published: disconnected.");
  };
  byId("try-clear").onclick = () => {
    coming = [];
    log.replaceChildren();
  };

  return {
    open: () => filters.forEach((filter) => tell({ subscribe: filter })),
    closed: () => filters.size > 0 && add("Disconnected: what comes meanwhile is not shown."),
    subscribed: (filter) => said(`Subscribed to ${filter}`),
    published: () => setText(byId("try-published"), `Published at ${clock()}`),
    problem: (text) => say(text, true),
    missed: (messages) => add(`${counted(messages, "message")} left out: the page did not keep up.`),
    message(message) {
      const about = [`QoS ${message.qos}`, message.retain && "retained", message.base64 && "hexadecimal", bytes(message.size)];
      add(element("b.raw", message.topic), element("span.muted", about.filter(Boolean).join(", ")),
        element("pre.raw", payload(message, MAX_TEXT)));
    },
  };
}
