// How figures and payloads read.

const [whole, tenths] = [0, 1].map((digits) => new Intl.NumberFormat("en", { maximumFractionDigits: digits }));
const known = (format) => (value) => (Number.isFinite(value) ? format(value) : "–");
const figure = (value) => (value < 100 ? tenths : whole).format(value);

export const count = known((value) => whole.format(value));
export const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
export const rate = known((value) => `${figure(value)}/s`);
export const percent = known((value) => `${figure(value)} %`);
export const bytes = known((value) => {
  let at = 0;
  for (; value >= 1024 && at < 4; at += 1) value /= 1024;
  return `${figure(value)} ${["B", "KiB", "MiB", "GiB", "TiB"][at]}`;
});
export const byteRate = known((value) => `${bytes(value)}/s`);
bytes.step = byteRate.step = 1_024;

export const duration = known((seconds) => {
  if (seconds > 0 && seconds < 0.001) return `${whole.format(seconds * 1e6)} µs`;
  if (seconds > 0 && seconds < 1) return `${figure(seconds * 1e3)} ms`;
  if (seconds < 120) return `${figure(seconds)} s`;
  const [unit, length] = seconds < 7_200 ? ["min", 60] : seconds < 172_800 ? ["h", 3_600] : ["d", 86_400];
  return `${count(Math.floor(seconds / length))} ${unit}`;
});

export const age = (ms) => (ms < 1_000 ? "now" : duration(Math.floor(ms / 1_000)));
export const clock = () => new Date().toLocaleTimeString("en-GB");
export const words = (key) => key.replaceAll("_", " ");
export const titled = (text) => text.replace(/^./, (first) => first.toUpperCase());

/** Text as it is, bytes in hexadecimal; at most so many characters. */
export function payload({ text, base64, size, truncated }, most = Infinity) {
  if (size === 0) return "(empty)";
  const all = text ?? Array.from(atob(base64), (octet) => octet.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
  return all.length > most || truncated ? `${all.slice(0, most)} …` : all;
}
