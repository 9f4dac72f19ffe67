// What the broker has counted in the last five minutes, from the text format of Prometheus.

export const SPAN_MS = 300_000;

/** Quantiles are of so many: a gateway may commit once a second. */
const QUANTILE_SAMPLES = 10;

const LINE = /^noctule_(\w+)(?:\{(.*)\})? (\S+)|^# HELP noctule_(\w+) (.*)/gm;
const LABEL = /(\w+)="([^"]*)"/g;

const number = (text) => Number(text.replace("Inf", "Infinity"));

/** What was counted at one moment. Names are without `noctule_`; `null` is what is not known. */
export class Sample {
  families = new Map();
  help = new Map();

  constructor(text, more) {
    Object.assign(this, more);
    for (const [, name, labels = "", value, helped, meaning] of text.matchAll(LINE)) {
      if (helped) {
        this.help.set(helped, meaning);
        continue;
      }
      if (!this.families.has(name)) this.families.set(name, []);
      this.families.get(name).push([new Map(Array.from(labels.matchAll(LABEL), ([, key, what]) => [key, what])), number(value)]);
    }
  }

  /** The sum of what has that name and, if one is given, that value of a label. */
  level(name, label) {
    const found = (this.families.get(name) ?? []).filter(([labels]) => !label || [...labels.values()].includes(label));
    return found.length === 0 ? null : found.reduce((sum, [, value]) => sum + value, 0);
  }

  /** What that has risen by per second, unless it has begun anew. */
  rate(name, label) {
    const now = this.level(name, label);
    const risen = now - this.before?.level(name, label);
    return now === null || !(risen >= 0) ? null : (risen * 1_000) / (this.at_ms - this.before.at_ms);
  }

  /** What a label says where most was counted. */
  most(name, label, many) {
    const keys = new Set(this.families.get(name)?.map(([labels]) => labels.get(label)));
    const sums = Array.from(keys, (key) => [this.level(name, key), key]).filter(([sum]) => sum > 0);
    return sums.sort(([a], [b]) => b - a).slice(0, many).map(([, key]) => key).sort();
  }

  /** Of what a histogram has taken of late, linear within a bucket. */
  quantile(name, share) {
    let then = this;
    for (let back = 0; back < QUANTILE_SAMPLES && then.before; back += 1) then = then.before;
    const buckets = (this.families.get(`${name}_bucket`) ?? []).map(([labels, value]) => {
      const le = labels.get("le");
      return [number(le), value - then.level(`${name}_bucket`, le)];
    });
    const wanted = share * buckets.at(-1)?.[1];
    let [low, below] = [0, 0];
    for (const [high, value] of wanted > 0 ? buckets : []) {
      if (value >= wanted) return high === Infinity ? low : low + ((high - low) * (wanted - below)) / (value - below);
      [low, below] = [high, value];
    }
    return null;
  }
}

export function add(samples, text, at_ms, answer_s) {
  samples.push(new Sample(text, { at_ms, answer_s, before: samples.at(-1) }));
  while (at_ms - samples[0].at_ms > SPAN_MS) samples.shift();
  samples[0].before = undefined;
}
