// The page as a whole: who is signed in, which tab is open, whether the broker answers. Of what is not shown, only counters
// are asked for, and nothing at all while the page is hidden.

import { ask, request, whenSignedOut } from "./api.js";
import { byId, element, formed, prepareDialogs, say, setText } from "./dom.js";
import { clock, titled } from "./format.js";
import { clients, queues, retained } from "./lists.js";
import { Live } from "./live.js";
import { add } from "./metrics.js";
import { health, overview } from "./overview.js";
import { topics } from "./topics.js";
import { trial } from "./try.js";

/** Counters are read each beat, lists and problems after so many. */
const BEAT_MS = 1_000;
const LIST_BEATS = 2;
const PROBLEM_BEATS = 5;
const LONGEST_WAIT_MS = 15_000;

/** Each may have `show()` and `hide()`, `refresh()` and `draw(samples, now_ms)`. */
const tabs = {
  overview: overview(), clients: clients(), topics: topics(), queues: queues(), retained: retained(), try: {}, health: health(),
};
const names = Object.keys(tabs);
const [tabOf, panelOf] = [(name) => byId(`tab-${name}`), (name) => byId(`panel-${name}`)];
const samples = [];
let [tab, isSignedIn, isAwake] = ["", false, false];
let [beats, failures, timer, away, answer_s] = [0, 0, 0, "", null];

const live = new Live({ ...trial((frame) => live.tell(frame)), probe: (_, { us }) => { answer_s = us / 1e6; } });

function state(text, kind = "") {
  setText(byId("state"), text);
  byId("state").className = kind;
}

function draw() {
  if (samples.length > 0) tabs[tab].draw?.(samples, performance.now());
}

async function counters() {
  live.tell({ probe: beats });
  const answer = await request("GET", "metrics");
  add(samples, await answer.text(), performance.now(), answer_s);
  answer_s = null;
  draw();
}

async function problems() {
  const { version, problems: [...words] } = await ask("GET", ["broker"]);
  const kind = words.length === 0 ? "good" : "bad";
  setText(byId("version"), version);
  state(words.length > 1 ? `${words.length} problems` : words[0] ?? "ready", kind);
  if (words.length === 0) words.push("Ready: clients are let in, and their messages are taken and kept.");
  byId("health-problems").replaceChildren(...words.map((word) => element("li", { class: kind }, word)));
}

/** Asks for what is shown, later each time while there is no answer. */
async function beat() {
  const started_ms = performance.now();
  try {
    await counters();
    if (away || beats % PROBLEM_BEATS === 0) await problems();
    // Who looks through retained messages asks when he likes.
    if (beats % LIST_BEATS === 0 && tab !== "retained") await tabs[tab].refresh?.();
    [failures, away] = [0, ""];
    beats += 1;
  } catch ({ status, message }) {
    failures += 1;
    away ||= clock();
    if (isSignedIn) state(status ? message : `away since ${away}`, "bad");
  }
  const wait_ms = Math.min(BEAT_MS * 2 ** failures, LONGEST_WAIT_MS);
  // Another beat may have begun meanwhile.
  clearTimeout(timer);
  if (isAwake) timer = setTimeout(beat, Math.max(0, started_ms + wait_ms - performance.now()));
}

/** Asks as long as somebody looks. */
function wake() {
  if (isAwake === (isSignedIn && !document.hidden)) return;
  isAwake = !isAwake;
  clearTimeout(timer);
  if (isAwake) {
    live.want();
    tabs[tab].show?.();
    [beats, failures] = [0, 0];
    beat();
  } else {
    live.leave();
    tabs[tab].hide?.();
  }
}

/** Opens the tab of that name, the first one if there is none. */
function open(name) {
  const wanted = names.includes(name) ? name : names[0];
  if (location.hash !== `#${wanted}`) history.replaceState(null, "", `#${wanted}`);
  if (wanted === tab) return;
  tabs[tab]?.hide?.();
  tab = wanted;
  for (const other of names) {
    panelOf(other).hidden = other !== tab;
    tabOf(other).ariaSelected = other === tab;
    tabOf(other).tabIndex = other === tab ? 0 : -1;
  }
  document.title = `${tabOf(tab).textContent} – Noctule`;
  tabOf(tab).scrollIntoView({ block: "nearest" });
  if (!isAwake) return;
  tabs[tab].show?.();
  tabs[tab].refresh?.();
  draw();
}

function show(isIn, user) {
  isSignedIn = isIn;
  byId("login").hidden = isIn;
  byId("tabs").hidden = !isIn;
  byId("who").hidden = !user;
  setText(byId("user"), user ?? "");
  if (isIn) open(location.hash.slice(1));
  wake();
}

function signOut(why) {
  show(false);
  if (tab) panelOf(tab).hidden = true;
  tab = "";
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  setText(byId("login-problem"), why);
  state("not signed in");
  byId("login-user").focus();
}

async function begin() {
  try {
    const { user, required } = await ask("GET", ["session"]);
    if (required && !user) signOut("");
    else show(true, user);
  } catch ({ message }) {
    state(message, "bad");
    setTimeout(begin, 2 * BEAT_MS);
  }
}

for (const form of document.forms) form.autocapitalize = "none";
for (const name of names) {
  const [id, panel] = [`tab-${name}`, panelOf(name)];
  byId("tabs").append(element("a", { id, href: `#${name}`, role: "tab", "aria-controls": panel.id }, name === "health" ? "Store and health" : titled(name)));
  Object.assign(panel, { role: "tabpanel", tabIndex: 0 }).setAttribute("aria-labelledby", id);
}
byId("tabs").onkeydown = (event) => {
  const at = names.indexOf(tab);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1, " ": at }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  open(names.at(to % names.length));
  tabOf(tab).focus();
};
// No form goes anywhere by itself, but for the one that closes its dialog.
document.addEventListener("submit", (event) => event.target.method === "dialog" || event.preventDefault());
byId("login").onsubmit = async () => {
  const body = formed(byId("login"));
  try {
    await ask("POST", ["session"], { body });
    byId("login").reset();
    show(true, body.user);
  } catch ({ message }) {
    setText(byId("login-problem"), message);
    byId("login-password").select();
  }
};
byId("sign-out").onclick = () => ask("DELETE", ["session"]).then(() => signOut(""), ({ message }) => say(message, true));
whenSignedOut((why) => isSignedIn && signOut(why));
window.addEventListener("hashchange", () => isSignedIn && open(location.hash.slice(1)));
document.addEventListener("visibilitychange", wake);
prepareDialogs();
begin();
