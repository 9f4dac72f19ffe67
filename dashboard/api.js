// Requests to the broker. Addresses are relative: a proxy may serve the broker below a path.

const PATIENCE_MS = 10_000;

let signedOut;

/** What to do when the broker wants to know who asks. */
export function whenSignedOut(act) {
  signedOut = act;
}

/** An error has the status of the answer, if there was one. */
export async function request(method, path, { query = {}, body } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [key, value] of Object.entries(query)) if (value) url.searchParams.set(key, value);
  const headers = body ? { "Content-Type": "application/json" } : {};
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(url, { method, headers, body: JSON.stringify(body), cache: "no-store", signal })
    .catch(() => { throw new Error("The broker does not answer."); });
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({ detail: `The broker answers with ${answer.status}.` }));
  if (answer.status === 401) signedOut(detail);
  throw Object.assign(new Error(detail), { status: answer.status });
}

/** Asks the API for what is at a path of names. */
export async function ask(method, names, more) {
  const answer = await request(method, `api/v1/${names.map(encodeURIComponent).join("/")}`, more);
  return answer.status === 204 ? null : answer.json();
}
