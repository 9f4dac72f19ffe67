// Clients, queues and retained messages, and what may be done to them.

import { ask } from "./api.js";
import { button, byId, described, element, formed, Listing, offer, openDrawer, STEP } from "./dom.js";
import { bytes, count, counted, duration, payload, words } from "./format.js";

const MAX_TEXT = 200;

/** How queues of dead letters are called, unless `queues.dead_letter_prefix` says otherwise. */
const DEAD_LETTERS = /^DLQ\.(.*)/;

const figure = (title, key, format = count) => [title, (item) => format(item[key]), "number"];
const text = (title, key, kind = "raw", open = null) => [title, (item) => item[key] ?? "–", kind, open];

const MESSAGE = [
  ["Payload", (message) => payload(message, MAX_TEXT), "raw"],
  figure("QoS", "qos"), figure("Size", "size", bytes), figure("Expires in", "expires_in_s", duration),
];

export function clients() {
  const form = byId("clients-form");
  const list = new Listing(byId("panel-clients"), {
    noun: "client", empty: "There is no such client.", path: ["clients"],
    query: () => formed(form),
    key: ({ client_id }) => client_id,
    columns: [
      text("Client ID", "client_id", "name", inspect), text("User", "user"), ["Protocol", ({ protocol }) => protocol ?? "away"],
      text("Address", "address"), figure("Subscriptions", "subscriptions"), figure("Waiting", "queued_messages"), figure("In flight", "in_flight"),
    ],
    actions: [["Disconnect", disconnect, "danger", ({ connected }) => connected]],
  });
  form.oninput = () => list.refresh(STEP);

  function disconnect({ client_id: name }) {
    const text = "It may come back at once; its session stays.";
    return offer({ title: "Disconnect this client?", name, text, action: "Disconnect" }, async () => {
      await ask("DELETE", ["clients", name]);
      list.refresh();
      return `Disconnected ${name}`;
    });
  }

  async function inspect(listed) {
    const path = ["clients", listed.client_id];
    // It may have gone meanwhile.
    const { client_id: name, ...about } = await ask("GET", path).catch(() => listed);
    const place = element("div");
    const subscriptions = new Listing(place, {
      noun: "subscription", empty: "It has none.", path: [...path, "subscriptions"],
      key: ({ share, filter }) => JSON.stringify([share, filter]),
      columns: [
        ["Filter", ({ share, filter }) => (share === undefined ? filter : `$share/${share}/${filter}`), "name raw"],
        figure("QoS", "qos"),
        ["Options", (one) => words(Object.keys(one).filter((key) => one[key] === true).join(", ")) || "–"],
      ],
    });
    openDrawer(name, described(about), place, ...(about.connected ? [button("Disconnect", () => disconnect(listed), "danger")] : []));
    subscriptions.refresh();
  }

  return list;
}

export function queues() {
  const isQueue = ({ kind }) => kind === "queue";
  const list = new Listing(byId("panel-queues"), {
    noun: "group", empty: "There are none.", path: ["groups"],
    key: ({ kind, name, filter, worker }) => JSON.stringify([kind, name, filter, worker]),
    columns: [
      text("Name", "name", "name raw"), ["Kind", ({ kind, stored }) => `${kind}${stored ? ", stored" : ""}`], text("Filter", "filter"),
      ["Messages", ({ messages, max_messages: most }) => `${count(messages)} of ${count(most)}`, "number"],
      ["Bytes", (group) => `${bytes(group.bytes)} of ${bytes(group.max_bytes)}`, "number"],
      figure("Lent", "lent"), figure("Consumers", "consumers"),
    ],
    actions: [["Peek", peek, "", isQueue], ["Move", move, "", isQueue], ["Purge", purge, "danger", isQueue]],
  });

  function peek({ name }) {
    const place = element("div");
    const messages = new Listing(place, {
      noun: "message", empty: "Nothing waits here.", path: ["queues", name, "messages"],
      key: (_, at) => at,
      columns: [...MESSAGE, text("Topic", "topic")],
    });
    const note = element("p.muted", "The first leaves next. Looking takes nothing away.");
    openDrawer(name, note, place);
    messages.refresh();
  }

  function move({ name, messages }) {
    const [, value] = DEAD_LETTERS.exec(name) ?? [];
    const title = `Move ${counted(messages, "message")} out of this queue?`;
    return offer({ title, name, action: "Move", label: "To the queue", value }, async (to) => {
      const moved = await ask("POST", ["queues", name, "move"], { body: { to } });
      list.refresh();
      return `Moved ${counted(moved.messages, "message")} from ${name} to ${to}`;
    });
  }

  function purge({ name, messages }) {
    const title = `Drop ${counted(messages, "message")} of this queue?`;
    return offer({ title, name, text: "They can't be had back.", action: "Purge" }, async () => {
      const purged = await ask("DELETE", ["queues", name]);
      list.refresh();
      return `Dropped ${counted(purged.messages, "message")} of ${name}`;
    });
  }

  return list;
}

export function retained() {
  const [form, field] = [byId("retained-form"), byId("retained-filter")];
  let filter = field.value;
  const list = new Listing(byId("panel-retained"), {
    noun: "retained message", empty: "Nothing is retained there.", path: ["retained"],
    query: () => ({ filter }),
    key: ({ topic }) => topic,
    columns: [text("Topic", "topic", "name", view), ...MESSAGE],
    actions: [["Delete", ({ topic }) => forget(topic), "danger"]],
  });
  form.onsubmit = () => {
    filter = field.value;
    list.refresh(STEP);
  };
  byId("retained-delete").onclick = () => form.reportValidity() && forget(field.value);

  async function view({ topic }) {
    const whole = await ask("GET", ["retained", topic]).then(showMessage, ({ message }) => message);
    openDrawer(topic, whole, button("Delete", () => forget(topic), "danger"));
  }

  /** A topic is a filter too. */
  function forget(name) {
    const title = /[+#]/.test(name) ? "Delete every retained message that matches?" : "Delete this retained message?";
    return offer({ title, name, text: "It can't be had back.", action: "Delete" }, async () => {
      const { messages } = await ask("DELETE", ["retained"], { query: { filter: name } });
      list.refresh();
      return `Deleted ${counted(messages, "retained message")}`;
    });
  }

  return list;
}

export function showMessage({ topic, text, base64, ...about }) {
  const block = element("pre.raw.card", { tabindex: 0, "aria-label": "Payload" }, payload({ text, base64, ...about }));
  return element("div.stack", described({ ...about, shown_as: base64 ? "hexadecimal" : "text" }), block);
}
