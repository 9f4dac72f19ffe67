// Lines over the last five minutes; what they show is told in words too.

import { element, setText } from "./dom.js";
import { SPAN_MS } from "./metrics.js";

const WIDTH = 300;

/** Samples farther apart are not joined: the page was hidden or the broker away. */
const GAP_MS = 3_500;

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The next round number of the unit that the value is shown in. */
function roundUp(value, step) {
  const unit = step ** Math.floor(Math.log(value) / Math.log(step));
  const power = unit * 10 ** Math.floor(Math.log10(value / unit));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((factor) => factor * power >= value * 0.999);
}

/** `lines(sample)` are pairs of a name and a function of a sample, `least` is the smallest scale. */
export class Chart {
  #legend = element("ul.legend");
  #scale = element("span.scale");
  #svg = shape("svg", { viewBox: `0 0 ${WIDTH} 100`, preserveAspectRatio: "none", role: "img" });

  constructor(place, title, format, lines, least = 1) {
    Object.assign(this, { title, format, lines, least });
    place.append(element("figure.card", element("figcaption", title), this.#legend,
      element("div.plot", this.#svg, this.#scale),
      element("p.times", element("span", "5 min ago"), element("span", "now"))));
  }

  draw(samples, now_ms) {
    const { title, format, lines, least } = this;
    const told = lines(samples.at(-1)).map(([name, of]) => ({ name, values: samples.map(of) }));
    const highest = roundUp(Math.max(least, ...told.flatMap(({ values }) => values)), format.step ?? 10);
    setText(this.#scale, format(highest));
    this.#svg.replaceChildren(
      ...[1, 50, 99].map((y) => shape("path", { class: "grid", d: `M0 ${y}H${WIDTH}` })),
      ...told.map(({ values }, at) => shape("path", { class: `c${at}`, d: path(samples, values, highest, now_ms) })));
    this.#legend.replaceChildren(...told.map(({ name, values }, at) =>
      element("li", element("i", { class: `c${at}` }), `${name} `, element("b", format(values.at(-1))))));
    const words = told.map(({ name, values }) => `${name} ${format(values.at(-1))}, highest ${format(Math.max(...values))}`);
    this.#svg.setAttribute("aria-label", `${title}, last 5 minutes: ${words.join("; ")}`);
  }
}

function path(samples, values, highest, now_ms) {
  let [drawn, before_ms] = ["", -Infinity];
  samples.forEach(({ at_ms }, at) => {
    if (values[at] === null) return;
    const x = WIDTH * (1 - (now_ms - at_ms) / SPAN_MS);
    const y = 99 - (98 * values[at]) / highest;
    drawn += `${at_ms - before_ms > GAP_MS ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    before_ms = at_ms;
  });
  return drawn && `${drawn}h.5`;
}
