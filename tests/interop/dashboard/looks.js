// How the page looks: names of its controls, contrast, narrow screens, pictures, and that nothing jumps.
"use strict";

const assert = require("node:assert/strict");
const { drawn, until } = require("./wait.js");

const MIN_CONTRAST = 4.5;
const TABS = ["overview", "clients", "topics", "queues", "retained", "try", "health"];
const SIZES = [{ width: 1280, height: 800 }, { width: 390, height: 844 }];

/** What is there once a tab shows what it is for; a chart's line begins with its second sample. */
const FILLED = {
  overview: "#charts svg path.c0[d*=L]",
  clients: "#panel-clients tbody tr",
  topics: "#topics-tree [role=treeitem] [role=treeitem]",
  queues: "#panel-queues tbody tr",
  retained: "#panel-retained tbody tr",
  try: "#try-log li",
  health: "#health-store dd",
};

/** The ratios of contrast of all text that is seen, where they are too low. */
function paleTexts(least) {
  const channels = (colour) => {
    const found = colour.match(/^rgba?\(([^)]*)\)$/);
    if (!found) throw new Error(`a colour that is not understood: ${colour}`);
    const [red, green, blue, alpha = 1] = found[1].split(/[ ,/]+/).map(Number);
    return { red, green, blue, alpha };
  };
  const over = (front, back) => {
    const mixed = {};
    for (const key of ["red", "green", "blue"]) mixed[key] = front[key] * front.alpha + back[key] * (1 - front.alpha);
    return { ...mixed, alpha: 1 };
  };
  const luminance = ({ red, green, blue }) => {
    const [r, g, b] = [red, green, blue].map((value) => value / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none") throw new Error("a picture lies behind text");
      if (Number(style.opacity) !== 1) throw new Error("text is translucent");
      layers.push(channels(style.backgroundColor));
      if (layers.at(-1).alpha === 1) break;
    }
    return layers.reverse().reduce((back, front) => over(front, back), channels("rgb(255, 255, 255)"));
  };
  const pale = [];
  let seen = 0;
  const judge = (element, words) => {
    const { width, height } = element.getBoundingClientRect();
    if (words.trim() === "" || width <= 1 || height <= 1) return;
    if (!element.checkVisibility({ visibilityProperty: true })) return;
    seen += 1;
    const back = ground(element);
    const [a, b] = [luminance(over(channels(getComputedStyle(element).color), back)), luminance(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) pale.push(`${words.trim().slice(0, 40)} ${ratio.toFixed(2)}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) judge(walker.currentNode.parentElement, walker.currentNode.data);
  for (const field of document.querySelectorAll("input, textarea, select")) judge(field, field.value);
  return { pale, seen };
}

/** All flows that only look, while there is something to be seen on every tab. */
async function looks({ page, context, flow, go, shown, shots }) {
  const open = async (tab) => {
    await go(tab);
    await until(`something on the tab ${tab}`, () => page.locator(FILLED[tab]).count());
    await drawn(page);
  };

  await flow("calm", async () => {
    await go("overview");
    await drawn(page);
    await page.evaluate(() => {
      window.moved = 0;
      new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.moved += entry.value; }).observe({ type: "layout-shift" });
    });
    for (let beats = 0; beats < 4; beats += 1) await page.waitForResponse(/\/metrics$/);
    await drawn(page);
    const moved = await page.evaluate(() => window.moved);
    assert.ok(moved < 0.01, `the layout jumps by ${moved}`);
  });

  await flow("names of all controls", async () => {
    const session = await context.newCDPSession(page);
    for (const tab of TABS) {
      await open(tab);
      const { nodes } = await session.send("Accessibility.getFullAXTree");
      const roles = ["textbox", "searchbox", "combobox", "checkbox", "button", "tab", "link", "treeitem", "tree", "table", "image", "tablist", "tabpanel", "log"];
      const nameless = nodes.filter(({ ignored, role, name }) => !ignored && roles.includes(role?.value) && !name?.value?.trim());
      assert.deepEqual(nameless.map(({ role }) => role.value), [], tab);
    }
  });

  await flow("contrast", async () => {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const tab of TABS) {
        await open(tab);
        const { pale, seen } = await page.evaluate(paleTexts, MIN_CONTRAST);
        assert.deepEqual(pale, [], `${tab}, ${colorScheme}`);
        assert.ok(seen > 15, `${tab}: only ${seen} texts`);
      }
      await go("retained");
      await page.getByRole("button", { name: "Delete all that match" }).click();
      await drawn(page);
      const { pale } = await page.evaluate(paleTexts, MIN_CONTRAST);
      assert.deepEqual(pale, [], `the dialog, ${colorScheme}`);
      await shown("confirm-cancel").click();
    }
    await page.emulateMedia({ colorScheme: "light" });
  });

  await flow("360 px", async () => {
    await page.setViewportSize({ width: 360, height: 640 });
    for (const tab of TABS) {
      await open(tab);
      const [inside, outside] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(inside <= outside, `${tab} is ${inside} px wide`);
    }
    await page.setViewportSize(SIZES[0]);
  });

  await flow("screenshots", async () => {
    for (const tab of TABS) {
      await open(tab);
      await shots(tab);
    }
  });
}

module.exports = { SIZES, TABS, looks };
