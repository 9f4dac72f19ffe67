// The dashboard in headless Chromium, by playwright-core: node dashboard.js. Says "ok" and the name of each flow that is
// done, "failed", its name and why for the others, and ends with 1 if there were any.
//
// DASHBOARD_URL is where the page is, MQTT_PORT a port of the same broker on the loopback that takes MQTT without TLS,
// CLIENTS (names, by commas) who else is connected there by `noctule sub`; DASHBOARD_USER and DASHBOARD_PASSWORD, if users
// are asked, who may do everything. Screenshots go to the directory SCREENSHOTS. With DASHBOARD_FILES, a directory, the
// page's files are taken from there and not from the broker: for work on the page only.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require(`${process.env.NOCTULE_NODE_MODULES}/playwright-core`);
const { SIZES, TABS, looks } = require("./dashboard/looks.js");
const { Mqtt } = require("./dashboard/mqtt.js");
const { WAIT_MS, drawn, until } = require("./dashboard/wait.js");

const { DASHBOARD_URL, DASHBOARD_USER, DASHBOARD_PASSWORD, SCREENSHOTS, DASHBOARD_FILES } = process.env;
const CLIENTS = (process.env.CLIENTS ?? "").split(",").filter(Boolean);
const ORIGIN = new URL(DASHBOARD_URL).origin;
const MAX_ASSET_BYTES = 150_000;
const HOSTILE = "<img src=x onerror=alert(1)>";
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'";
const KINDS = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

let failures = 0;
/** What makes ready for the next flow after one that has failed. */
let recover;

async function flow(name, act) {
  try {
    await act();
    console.log(`ok ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`failed ${name}: ${error.stack.split("\n").slice(0, 6).join(" | ")}`);
    await recover().catch(() => {});
  }
}

async function main() {
  // Of a page that the test gives it, Chromium does not know that it is on this machine and may ask there.
  const development = DASHBOARD_FILES ? ["--disable-features=LocalNetworkAccessChecks"] : [];
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", ...development] });
  const context = await browser.newContext({ viewport: SIZES[0], reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);

  const [assets, strangers, complaints, dialogs] = [new Map(), [], [], []];
  let areErrorsExpected = false;
  const [requested, open] = [[], new Set()];
  const leads = (url) => {
    const { origin, protocol } = new URL(url);
    if (protocol !== "data:" && origin.replace(/^ws/, "http") !== ORIGIN) strangers.push(url);
  };
  context.on("request", (request) => {
    leads(request.url());
    requested.push(request.url());
  });
  // Of this page alone: another that is closed is not heard of again.
  page.on("request", (request) => open.add(request));
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => open.delete(request));
  context.on("response", async (response) => {
    const { pathname } = new URL(response.url());
    if (/^\/(api|metrics|readyz)/.test(pathname)) return;
    assets.set(pathname, (await response.body().catch(() => "")).length);
  });
  page.on("websocket", (socket) => leads(socket.url()));
  page.on("console", (message) => {
    // A page that is left while its feed begins: the browser says so, and it is no fault of the page's.
    if (message.text().includes("closed before the connection is established")) return;
    if (["error", "warning"].includes(message.type()) && !areErrorsExpected) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    dialog.dismiss();
  });
  if (DASHBOARD_FILES) {
    await page.route(/^[^?#]*\/([\w-]+\.(html|js|css|svg))?$/, (route) => {
      const name = path.basename(new URL(route.request().url()).pathname) || "index.html";
      const body = fs.readFileSync(path.join(DASHBOARD_FILES, name));
      route.fulfill({ body, headers: { "content-type": KINDS[path.extname(name)], "content-security-policy": POLICY } });
    });
  }

  const shown = (id) => page.locator(`#${id}`);
  const go = async (tab) => {
    await shown(`tab-${tab}`).click();
    await shown(`panel-${tab}`).waitFor();
  };
  const tile = async (title, part) => (await page.locator("#tiles div", { hasText: title }).locator(`.${part}`).textContent());
  const figure = async (title, part) => Number((await tile(title, part)).replace(/[^\d]/g, "") || Number.NaN);
  const said = (pattern) => until(`the page says ${pattern}`, async () => pattern.test(await shown("said-text").textContent()));
  const row = (list, words) => page.locator(`#${list} tbody tr`, { hasText: words });
  const publish = async (topic, payload, { retain = false, qos = "0" } = {}) => {
    await go("try");
    await shown("try-topic").fill(topic);
    await shown("try-text").fill(payload);
    await shown("try-qos").selectOption(qos);
    await shown("try-retain").setChecked(retain);
    await shown("try-published").evaluate((node) => { node.textContent = ""; });
    await page.locator("#try-publish button.primary").click();
    await until("published", async () => /^Published/.test(await shown("try-published").textContent()));
  };
  const watch = async (filter) => {
    await go("topics");
    await shown("topics-filter").fill(filter);
    await page.getByRole("button", { name: "Watch" }).click();
    await until(`watching ${filter}`, async () => (await shown("topics-said").textContent()) === `Watching ${filter}:`);
  };
  const nothingInjected = async () => {
    assert.equal(await page.locator("main img, dialog img, main script, dialog script").count(), 0, "an element of a client's");
    assert.deepEqual(dialogs, []);
  };
  const tabTo = async (locator) => {
    for (let presses = 0; presses < 80; presses += 1) {
      if (await locator.evaluate((node) => node === document.activeElement)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`Tab does not lead to ${locator}`);
  };
  const shot = async (name) => {
    if (SCREENSHOTS) await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), fullPage: true });
  };
  /** In both sizes and by day and night. */
  const shots = async (name) => {
    for (const size of SIZES) {
      for (const colorScheme of ["light", "dark"]) {
        await page.setViewportSize(size);
        await page.emulateMedia({ colorScheme });
        await drawn(page);
        await shot(`${name}-${size.width}-${colorScheme}`);
      }
    }
    await page.setViewportSize(SIZES[0]);
    await page.emulateMedia({ colorScheme: "light" });
  };
  recover = async () => {
    areErrorsExpected = false;
    await page.setViewportSize(SIZES[0]);
    await page.goto("about:blank");
    await page.goto(DASHBOARD_URL);
  };
  if (SCREENSHOTS) fs.mkdirSync(SCREENSHOTS, { recursive: true });

  await page.goto(DASHBOARD_URL);
  // Without a page there is no flow.
  await page.locator("#login:visible, #panel-overview:visible").waitFor().catch(() => { throw new Error(`no page: ${complaints}`); });
  if (DASHBOARD_USER) {
    await flow("signing in", async () => {
      await shown("login").waitFor();
      await shots("login");
      areErrorsExpected = true;
      await shown("login-user").fill(DASHBOARD_USER);
      await shown("login-password").fill(`${DASHBOARD_PASSWORD} not`);
      await page.keyboard.press("Enter");
      await until("a problem", async () => (await shown("login-problem").textContent()) !== "");
      areErrorsExpected = false;
      await shown("login-password").fill(DASHBOARD_PASSWORD);
      await page.keyboard.press("Enter");
      await shown("panel-overview").waitFor();
      assert.equal(await shown("user").textContent(), DASHBOARD_USER);
    });
  }
  const subscriber = await Mqtt.connect("dashboard-subscriber");
  subscriber.subscribe("#");
  const publisher = await Mqtt.connect("dashboard-publisher");

  await flow("overview", async () => {
    await until("ready", async () => (await shown("state").textContent()) === "ready");
    assert.match(await shown("version").textContent(), /^\d+\.\d+\.\d+/);
    const before = await until("a counter", async () => ((await figure("Messages out", "muted")) >= 0 ? [await figure("Messages out", "muted")] : null));
    for (const payload of ["1", "2", "3"]) await publish("dashboard/overview", payload, { qos: "1" });
    await go("overview");
    await until("more messages out", async () => (await figure("Messages out", "muted")) >= before[0] + 3);
    assert.ok((await figure("Clients", "value")) >= 2, "clients");
    await until("the answer time", async () => /\d/.test(await tile("Answer time", "value")));
    assert.equal(await page.locator("#charts svg").count(), 9);
    assert.match(await page.locator("#charts svg").nth(1).getAttribute("aria-label"), /^Messages out, last 5 minutes: MQTT .*highest/);
    await until("a line", async () => (await page.locator("#charts svg .c0").nth(1).getAttribute("d")).includes("L"));
  });

  await flow("clients", async () => {
    await go("clients");
    const wanted = CLIENTS[0] ?? "dashboard-subscriber";
    await page.locator("[name=client_id]").fill("no such client");
    await page.locator("#panel-clients .empty").waitFor();
    await page.locator("[name=client_id]").fill(wanted);
    const found = row("panel-clients", wanted);
    await until("one row", async () => (await page.locator("#panel-clients tbody tr").count()) >= 1);
    const address = await found.first().textContent();
    await found.first().getByRole("button", { name: wanted, exact: true }).click();
    await shown("drawer").waitFor();
    assert.equal(await shown("drawer-title").textContent(), wanted);
    await page.locator("#drawer tbody tr").first().waitFor();
    await shots("client");
    await shown("drawer").getByRole("button", { name: "Disconnect" }).click();
    await shown("confirm").waitFor();
    await shots("confirm");
    await shown("confirm-cancel").click();
    assert.equal(await shown("drawer").isVisible(), true);
    await shown("drawer").getByRole("button", { name: "Disconnect" }).click();
    await shown("confirm-do").click();
    await said(new RegExp(`^Disconnected ${wanted}$`));
    // `noctule sub` comes back, from another port.
    await until("another connection", async () => (await found.count()) === 0 || (await found.first().textContent()) !== address);
    await page.locator("[name=client_id]").fill("");
  });
  // The flow may have ended it.
  const second = await Mqtt.connect("dashboard-second");
  second.subscribe("#");

  await flow("topics", async () => {
    await watch("dashboard/#");
    publisher.publish("dashboard/tree/value", "21.5");
    publisher.publish("dashboard/tree/value", "21.6");
    const item = page.locator("[role=treeitem]", { has: page.getByText("value", { exact: true }) }).last();
    await item.waitFor();
    await until("the last value", async () => /21\.6/.test(await item.textContent()));
    assert.equal(await item.getAttribute("aria-expanded"), null);
    await page.getByRole("button", { name: "Collapse" }).click();
    assert.equal(await item.isVisible(), false);
    await page.getByRole("button", { name: "Expand" }).click();
    await item.click();
    await shown("drawer").waitFor();
    assert.equal(await page.locator("#drawer pre").textContent(), "21.6");
    await shown("drawer-close").click();
  });

  await flow("hostile text", async () => {
    await go("try");
    await shown("try-filter").fill("#");
    await page.keyboard.press("Enter");
    await watch("#");
    publisher.publish(`hostile/${HOSTILE}`, HOSTILE, { retain: true });
    publisher.publish(`hostile/${"w".repeat(300)}`, "W".repeat(3_000), { retain: true });
    const item = page.locator("[role=treeitem]", { hasText: HOSTILE }).last();
    await page.getByRole("button", { name: "Expand" }).click();
    await item.waitFor();
    await until("its text", async () => (await item.textContent()).startsWith(`${HOSTILE}${HOSTILE}`));
    await nothingInjected();
    await item.click();
    assert.equal(await page.locator("#drawer pre").textContent(), HOSTILE);
    await nothingInjected();
    await shown("drawer-close").click();
    await go("retained");
    await row("panel-retained", HOSTILE).waitFor();
    await nothingInjected();
    await go("try");
    await page.locator("#try-log li", { hasText: HOSTILE }).first().waitFor();
    await nothingInjected();
    const hostileClient = await Mqtt.connect(HOSTILE);
    hostileClient.subscribe(HOSTILE);
    await go("clients");
    await row("panel-clients", HOSTILE).getByRole("button", { name: HOSTILE, exact: true }).click();
    await page.locator("#drawer tbody tr", { hasText: HOSTILE }).waitFor();
    await nothingInjected();
    await shown("drawer").getByRole("button", { name: "Disconnect" }).click();
    assert.match(await shown("confirm-name").textContent(), /^<img/);
    await nothingInjected();
    await shown("confirm-do").click();
    await said(/^Disconnected <img/);
    await nothingInjected();
    await page.getByRole("button", { name: "Close the notice" }).click();
  });

  await flow("queues", async () => {
    for (const payload of ["first", "second", HOSTILE]) await publish("$queue/dashboard-jobs", payload, { qos: "1" });
    await publish("$queue/DLQ.dashboard-jobs", "dead", { qos: "1" });
    await go("queues");
    const [jobs, dead] = [row("panel-queues", /^dashboard-jobs/), row("panel-queues", /^DLQ\.dashboard-jobs/)];
    const waiting = async () => (await jobs.count()) && Number.parseInt(await jobs.locator("td").nth(3).textContent(), 10);
    await until("3 messages", async () => (await waiting()) === 3);
    await jobs.getByRole("button", { name: "Peek" }).click();
    await page.locator("#drawer tbody tr", { hasText: HOSTILE }).waitFor();
    assert.match(await page.locator("#drawer tbody tr").first().textContent(), /^first/);
    await nothingInjected();
    await shots("peek");
    await shown("drawer-close").click();
    await dead.getByRole("button", { name: "Move" }).click();
    assert.equal(await shown("confirm-input").inputValue(), "dashboard-jobs");
    await shots("move");
    await shown("confirm-do").click();
    await said(/^Moved 1 message from DLQ\.dashboard-jobs to dashboard-jobs$/);
    await until("4 messages", async () => (await waiting()) === 4);
    await jobs.getByRole("button", { name: "Purge" }).click();
    await shown("confirm-do").click();
    await said(/^Dropped 4 messages of dashboard-jobs$/);
    await until("an empty queue", async () => (await waiting()) === 0);
  });

  await flow("retained", async () => {
    await publish("dashboard/kept/one", "kept one", { retain: true, qos: "1" });
    await publish("dashboard/kept/two", "kept two", { retain: true });
    await go("retained");
    await shown("retained-filter").fill("dashboard/kept/#");
    await page.keyboard.press("Enter");
    await row("panel-retained", "kept two").waitFor();
    await row("panel-retained", "kept one").getByRole("button", { name: "dashboard/kept/one", exact: true }).click();
    await until("the payload", async () => (await page.locator("#drawer pre").textContent()) === "kept one");
    await shots("retained-message");
    await shown("drawer-close").click();
    await page.getByRole("button", { name: "Delete all that match" }).click();
    await shown("confirm-do").click();
    await said(/^Deleted 2 retained messages$/);
    await until("nothing retained", async () => (await page.locator("#panel-retained tbody tr").count()) === 0);
  });

  await flow("try", async () => {
    await go("try");
    await shown("try-clear").click();
    await shown("try-filter").fill("dashboard/try/+");
    await page.locator("#try-subscribe button.primary").click();
    await until("subscribed", async () => (await shown("try-said").textContent()) === "Subscribed to dashboard/try/+");
    // What is subscribed to twice may come twice.
    await page.getByRole("button", { name: "Unsubscribe from #", exact: true }).click();
    await publish("dashboard/try/here", "Größe ☃", { qos: "2" });
    const entry = page.locator("#try-log li", { hasText: "dashboard/try/here" });
    await entry.first().waitFor();
    assert.match(await entry.first().textContent(), /QoS 2.*Größe ☃/);
    publisher.publish("dashboard/try/bytes", Buffer.from([0, 255, 16]));
    await page.locator("#try-log li", { hasText: "00 ff 10" }).waitFor();
    for (let at = 0; at < 250; at += 1) publisher.publish("dashboard/try/many", String(at));
    await page.locator("#try-log li", { hasText: "249" }).waitFor();
    assert.equal(await page.locator("#try-log li").count(), 200);
    await page.getByRole("button", { name: "Unsubscribe from dashboard/try/+" }).click();
    await until("unsubscribed", async () => (await page.locator("#try-filters li").count()) === 0);
  });

  await flow("keyboard", async () => {
    await publish("dashboard/keys/here", "by keyboard", { retain: true });
    await shown("tab-try").focus();
    await page.keyboard.press("Home");
    for (const tab of TABS) {
      await until(`the tab ${tab}`, async () => (await shown(`tab-${tab}`).getAttribute("aria-selected")) === "true");
      assert.equal(await shown(`panel-${tab}`).isVisible(), true);
      assert.equal(await page.evaluate(() => document.activeElement.id), `tab-${tab}`);
      assert.equal(new URL(page.url()).hash, `#${tab}`);
      await page.keyboard.press("ArrowRight");
    }
    assert.equal(await page.evaluate(() => document.activeElement.id), "tab-overview");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await page.evaluate(() => document.activeElement.id), "tab-health");
    // A tree by arrows, a message by Enter.
    await watch("dashboard/keys/#");
    await page.locator("[role=treeitem]", { hasText: "here" }).last().waitFor();
    await tabTo(page.locator("[role=treeitem][tabindex='0']"));
    const focused = () => page.evaluate(() => document.activeElement.querySelector(".level .raw").textContent);
    await page.keyboard.press("ArrowDown");
    assert.equal(await focused(), "keys");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-expanded")), "false");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("End");
    assert.equal(await focused(), "here");
    await page.keyboard.press("Enter");
    await shown("drawer").waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await focused(), "here");
    // A deletion, from the tab on.
    await shown("tab-retained").focus();
    await page.keyboard.press("Enter");
    await tabTo(shown("retained-filter"));
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("dashboard/keys/#");
    await page.keyboard.press("Enter");
    await row("panel-retained", "by keyboard").waitFor();
    await tabTo(page.getByRole("button", { name: "Delete dashboard/keys/here" }));
    await page.keyboard.press("Enter");
    await shown("confirm").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "confirm-cancel");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await said(/^Deleted 1 retained message$/);
  });

  await flow("a tree with bounds", async () => {
    await watch("flood/#");
    const counted = async (start) => (await shown("topics-count").textContent()).startsWith(start);
    for (let at = 1; at <= 2_100; at += 1) {
      publisher.publish(`flood/${at % 50}/${at}`, String(at));
      // The page is not to miss any.
      if (at % 250 === 0) await until(`${at} topics`, () => counted(`${at.toLocaleString("en")} topics, `));
    }
    await until("a full tree", async () => /^2,000 topics, 2,000 messages, 100 messages of more topics left out/.test(await shown("topics-count").textContent()));
    await watch("#");
  });

  await flow("deep links", async () => {
    const other = await context.newPage();
    if (DASHBOARD_FILES) {
      await other.route(/^[^?#]*\/([\w-]+\.(html|js|css|svg))?$/, (route) => {
        const name = path.basename(new URL(route.request().url()).pathname) || "index.html";
        route.fulfill({ path: path.join(DASHBOARD_FILES, name), contentType: KINDS[path.extname(name)] });
      });
    }
    await other.goto(`${DASHBOARD_URL}#queues`);
    await other.locator("#panel-queues").waitFor();
    assert.equal(await other.locator("#panel-overview").isVisible(), false);
    await other.close();
  });

  await flow("nothing is asked while hidden", async () => {
    const hide = (hidden) => page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await go("clients");
    await hide(true);
    // What was begun may go on with a second question and a third, each of them late if this machine is busy.
    let [quietSince, asked] = [Date.now(), requested.length];
    await until("nothing under way", () => {
      if (open.size > 0 || requested.length > asked) [quietSince, asked] = [Date.now(), requested.length];
      return Date.now() - quietSince > 2_000;
    });
    const before = requested.length;
    // That nothing comes has no end to wait for: in this time there are three beats of a page that is seen.
    await page.waitForTimeout(3_000);
    assert.deepEqual(requested.slice(before), []);
    await hide(false);
    await until("more requests", () => requested.length > before);
  });

  await flow("the broker is away and comes back", async () => {
    areErrorsExpected = true;
    await page.route("**/metrics", (route) => route.abort());
    await until("away", async () => /^away since \d\d:\d\d:\d\d$/.test(await shown("state").textContent()));
    await page.unroute("**/metrics");
    await until("ready", async () => (await shown("state").textContent()) === "ready");
    areErrorsExpected = false;
  });

  // Something to look at.
  const rooms = ["attic", "cellar", "hall", "press room"];
  let turn = 0;
  const traffic = setInterval(() => {
    turn += 1;
    for (const room of rooms) publisher.publish(`sensors/${room}/temperature`, (20 + 3 * Math.sin(turn / 9)).toFixed(1), { retain: true });
    for (let at = 0; at < 10 + 8 * Math.sin(turn / 5); at += 1) publisher.publish("line/1/pulse", JSON.stringify({ turn, at, ok: true }));
  }, 250);
  for (let at = 1; at <= 5; at += 1) await publish("$queue/orders", JSON.stringify({ order: 1_000 + at, item: "bat box" }), { qos: "1" });
  await go("try");
  await shown("try-filter").fill("sensors/#");
  await page.keyboard.press("Enter");
  await until("traffic", async () => (await page.locator("#try-log li").count()) >= 50);
  await go("retained");
  await shown("retained-filter").fill("#");
  await page.keyboard.press("Enter");
  await row("panel-retained", "sensors/attic/temperature").waitFor();

  await looks({ page, context, flow, go, shown, shots });
  clearInterval(traffic);

  await flow("only from the broker", () => assert.deepEqual(strangers, []));
  await flow("no complaints", () => assert.deepEqual(complaints, []));
  await flow("size", () => {
    const bytes = [...assets.values()].reduce((sum, length) => sum + length, 0);
    assert.ok(assets.size >= 4 && bytes > 10_000 && bytes < MAX_ASSET_BYTES, `${bytes} bytes in ${[...assets.keys()]}`);
  });
  if (DASHBOARD_USER) {
    await flow("signing out", async () => {
      await shown("sign-out").click();
      await shown("login").waitFor();
      assert.equal(await shown("panel-overview").isVisible(), false);
    });
  }
  for (const client of [subscriber, publisher, second]) client.end();
  await browser.close();
}

main().then(() => process.exit(failures > 0 ? 1 : 0), (error) => {
  console.log(`failed: ${error.stack}`);
  process.exit(1);
});
