// Waiting for what is to be so, and for nothing else.
"use strict";

/** On a machine that has other things to do. What passes never waits so long. */
const WAIT_MS = 60_000;
const POLL_MS = 50;

/** Waits until that is so; what it says when it never is. */
async function until(what, holds) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((woken) => setTimeout(woken, POLL_MS));
  }
}

/** Waits until the page is drawn as it is now. */
function drawn(page) {
  return page.evaluate(async () => {
    await document.fonts.ready;
    // What is asked for before the first of two frames is on the screen with the second.
    for (let frames = 0; frames < 2; frames += 1) await new Promise((next) => requestAnimationFrame(next));
  });
}

module.exports = { WAIT_MS, drawn, until };
