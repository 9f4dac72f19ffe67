// What the broker does at this moment, and what it did in the last five minutes.

import { Chart } from "./chart.js";
import { byId, element, facts, setText } from "./dom.js";
import { byteRate, bytes, count, duration, percent, rate, words } from "./format.js";

const MAX_LINES = 3;
const COMMITS = "store_commit_seconds";
const CPU = "worker_cpu_microseconds_total";
const DROPPED = "messages_dropped_total";
const BUDGET = "memory_budget_bytes";

const level = (title, name) => [title, (sample) => sample.level(name)];
const risen = (title, name, label) => [title, (sample) => sample.rate(name, label)];
const quantile = (title, share) => [title, (sample) => sample.quantile(COMMITS, share)];
const most = (last, name, label, title) => last.most(name, label, MAX_LINES).map((key) => risen(title(key), name, key));
const protocols = (name) => () => [risen("MQTT", name, "mqtt"), risen("STOMP", name, "stomp")];

const OVERVIEW = [
  ["Messages in", rate, protocols("messages_in_total")],
  ["Messages out", rate, protocols("messages_out_total")],
  ["Payload", byteRate, () => [risen("in", "payload_bytes_in_total"), risen("out", "payload_bytes_out_total")]],
  ["Messages dropped", rate, (last) => [risen("all", DROPPED), ...most(last, DROPPED, "reason", words)].slice(0, MAX_LINES)],
  ["Clients", count, () => [level("connected", "clients_connected"), level("sessions", "sessions")], 5],
  ["Messages that wait", count, () => [
    level("queued", "queued_messages"), level("in flight", "in_flight_messages"), level("lent", "lent_messages"),
  ], 5],
  // Of a second's microseconds.
  ["CPU of the workers", (us) => percent(us === null ? us : us / 10_000), (last) => most(last, CPU, "worker", (key) => `worker ${key}`), 50_000],
  ["Memory", bytes, (last) => [level("used", "memory_bytes"), ...(last.level(BUDGET) ? [level("budget", BUDGET)] : [])]],
  ["Answer time", duration, () => [["slowest worker", ({ answer_s }) => answer_s]], 0.001],
];

const STORE = [
  ["Duration of a commit", duration, () => [quantile("p50", 0.5), quantile("p99", 0.99)], 0.001],
  ["Written to the store", byteRate, () => [risen("bytes", "store_bytes_written_total")]],
  ["Size of the store", bytes, () => [level("file", "store_file_bytes"), level("messages waited for", "store_live_bytes")]],
];

const told = (name, format) => (last) => format(last.level(name));
const counter = (title, name) => [title, (last) => rate(last.rate(name)), told(name, (all) => `${count(all)} in all`)];

/** Title, value and note. */
const TILES = [
  ["Clients", told("clients_connected", count), told("sessions", (all) => `${count(all)} sessions`)],
  counter("Messages in", "messages_in_total"),
  counter("Messages out", "messages_out_total"),
  counter("Dropped", DROPPED),
  ["Waiting", told("queued_messages", count), told("in_flight_messages", (all) => `${count(all)} in flight`)],
  ["Memory", told("memory_bytes", bytes), told(BUDGET, (budget) => (budget ? `of ${bytes(budget)}` : "no budget"))],
  ["Store", told("store_healthy", (is) => ["in trouble", "healthy"][is] ?? "none"), (last) => `p99 ${duration(last.quantile(COMMITS, 0.99))}`],
  ["Answer time", ({ answer_s }) => duration(answer_s), () => "slowest worker"],
];

function charts(place, specs) {
  const made = specs.map((spec) => new Chart(place, ...spec));
  return (samples, now_ms) => made.forEach((chart) => chart.draw(samples, now_ms));
}

export function overview() {
  const drawCharts = charts(byId("charts"), OVERVIEW);
  const tiles = TILES.map(([title, ...texts]) => {
    const shown = [element("dd.value", "–"), element("dd.muted", "–")];
    byId("tiles").append(element("div", element("dt", title), ...shown));
    return (last) => texts.forEach((text, at) => setText(shown[at], text(last)));
  });
  return {
    draw(samples, now_ms) {
      for (const tile of tiles) tile(samples.at(-1));
      drawCharts(samples, now_ms);
    },
  };
}

/** The store's charts, and every figure that there is, with its meaning. */
export function health() {
  const drawCharts = charts(byId("health-charts"), STORE);
  return {
    draw(samples, now_ms) {
      drawCharts(samples, now_ms);
      const last = samples.at(-1);
      const figures = { store: [], broker: [] };
      for (const [name, values] of last.families) {
        // Parts of a histogram have none.
        if (!last.help.has(name)) continue;
        const format = name.includes("bytes") ? bytes : name === CPU ? (us) => duration(us / 1e6) : count;
        const parts = values.filter(([, value]) => value > 0 && values.length > 1)
          .map(([labels, value]) => `${words([...labels.values()].join(" "))}: ${format(value)}`);
        figures[name.startsWith("store_") ? "store" : "broker"]
          .push([last.help.get(name), [format(last.level(name)), ...parts].join("; ")]);
      }
      for (const [place, pairs] of Object.entries(figures)) facts(byId(`health-${place}`), pairs.sort());
    },
  };
}
