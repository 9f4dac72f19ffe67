// @stomp/stompjs against the broker, over TCP: node stompjs.js HOST PORT 1.0|1.1|1.2. Says "ok" and the name of each
// part that is done.
"use strict";

const assert = require("node:assert/strict");
const net = require("node:net");
const WebSocket = require(`${process.env.NOCTULE_NODE_MODULES}/ws`);
const { Client, TickerStrategy, Versions } = require(`${process.env.NOCTULE_NODE_MODULES}/@stomp/stompjs`);

const [host, port, version] = process.argv.slice(2);
const v10 = version === "1.0";
const v12 = version === "1.2";
const WAIT_MS = 15_000;
let named = 0;

/** What the client uses of a WebSocket, over a TCP connection: a chunk of the stream is a message. */
class TcpSocket {
  constructor() {
    this.url = `tcp://${host}:${port}`;
    this.readyState = 0;
    this.tcp = net.connect(Number(port), host);
    this.tcp.on("connect", () => { this.readyState = 1; this.onopen(); });
    this.tcp.on("data", (data) => this.onmessage({ data: new Uint8Array(data).buffer }));
    this.tcp.on("error", (error) => this.onerror(error));
    this.tcp.on("close", (failed) => { this.readyState = 3; this.onclose({ code: failed ? 1006 : 1000, reason: "" }); });
  }

  send(data) {
    this.tcp.write(typeof data === "string" ? data : Buffer.from(data));
  }

  close() {
    this.readyState = 2;
    this.tcp.end();
  }

  terminate() {
    this.tcp.destroy();
  }
}

/** TCP, or the WebSocket (ws or wss) that NOCTULE_WAY asks for, as a browser would open it. */
function socket() {
  const way = process.env.NOCTULE_WAY;
  if (!way) return new TcpSocket();
  return new WebSocket(`${way}://${host}:${port}/ws`, new Versions([version]).protocolVersions());
}

function inTime(promise, what) {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`${what}: too late`)), WAIT_MS); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Things that come, to be taken in turn. */
function line(what) {
  const [come, waiting] = [[], []];
  return {
    put(thing) { if (waiting.length > 0) waiting.shift()(thing); else come.push(thing); },
    take() { return inTime(new Promise((next) => { if (come.length > 0) next(come.shift()); else waiting.push(next); }), what); },
    get length() { return come.length; },
  };
}

/** A connected client; it does not connect again unless it is asked to. */
async function connect(options = {}) {
  const client = new Client({
    webSocketFactory: () => { client.socket = socket(); return client.socket; },
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    stompVersions: new Versions([version]),
    ...options,
  });
  Object.assign(client, { welcomes: line("CONNECTED"), errors: line("ERROR"), ends: line("the end") });
  client.onConnect = (frame) => client.welcomes.put(frame);
  client.onStompError = (frame) => client.errors.put(frame);
  client.onWebSocketClose = (event) => client.ends.put(event);
  client.activate();
  client.welcome = (await client.welcomes.take()).headers;
  return client;
}

/** Does something with a receipt, and waits until it has come. */
function receipted(client, act) {
  const receipt = `receipt ${named++}`;
  const come = new Promise((done) => client.watchForReceipt(receipt, done));
  act({ receipt });
  return inTime(come, receipt);
}

async function subscribe(client, destination, headers = {}) {
  const messages = line(`a message from ${destination}`);
  await receipted(client, (receipt) => {
    messages.subscription = client.subscribe(destination, messages.put, { ...headers, ...receipt });
  });
  return messages;
}

const publish = (client, destination, body, headers = {}) =>
  receipted(client, (receipt) => client.publish({ destination, body, headers: { ...headers, ...receipt } }));

async function bodies(messages, count) {
  const got = [];
  for (let number = 0; number < count; number++) got.push((await messages.take()).body);
  return got;
}

const parts = {
  async connecting() {
    const client = await connect({ connectHeaders: { login: "somebody", passcode: "pass:w\\ord", host: "somewhere" } });
    assert.equal(client.connectedVersion, version);
    assert.match(client.welcome.server, /^noctule\//);
    assert.ok(client.welcome.session);
    await client.deactivate();
    assert.equal(client.connected, false);
  },

  async modes() {
    const sender = await connect();
    for (const ack of ["auto", "client", "client-individual"]) {
      const destination = `/queue/modes ${ack}`;
      let client = await connect();
      let messages = await subscribe(client, destination, { ack });
      for (const body of "01234") await publish(sender, destination, body);
      const got = [];
      for (let number = 0; number < 5; number++) got.push(await messages.take());
      assert.deepEqual(got.map((message) => message.body), [..."01234"]);
      if (ack !== "auto") await receipted(client, (receipt) => got[2].ack(receipt));
      client.socket.terminate();
      const rest = { auto: [], client: [..."34"], "client-individual": [..."0134"] }[ack];
      client = await connect();
      messages = await subscribe(client, destination);
      assert.deepEqual(await bodies(messages, rest.length), rest);
      await publish(sender, destination, "last");
      assert.equal((await messages.take()).headers.redelivered, undefined);
      await receipted(client, (receipt) => messages.subscription.unsubscribe(receipt));
      await client.deactivate();
    }
    await sender.deactivate();
  },

  async transactions() {
    const [client, witness] = [await connect(), await connect()];
    const committed = await subscribe(witness, "/queue/committed");
    const tasks = await subscribe(client, "/queue/task", { ack: "client-individual" });
    await publish(client, "/queue/task", "task");
    const task = await tasks.take();
    for (const end of ["abort", "commit"]) {
      const transaction = client.begin();
      for (const body of "012") await publish(client, "/queue/committed", end + body, { transaction: transaction.id });
      task.ack({ transaction: transaction.id });
      assert.equal(committed.length, 0);
      transaction[end]();
    }
    assert.deepEqual(await bodies(committed, 3), ["commit0", "commit1", "commit2"]);
    await client.deactivate();
    const next = await connect();
    const left = await subscribe(next, "/queue/task");
    await publish(next, "/queue/task", "next");
    assert.equal((await left.take()).body, "next");
    await Promise.all([next.deactivate(), witness.deactivate()]);
  },

  async headers() {
    const client = await connect();
    const messages = await subscribe(client, "/topic/headers");
    const sent = { path: "C:\\dir", empty: "", unicode: "Größe ☃ 𝄞", "größe": "ü", "content-type": "text/plain;charset=utf-8" };
    // It escapes in 1.2 only.
    if (version !== "1.1") Object.assign(sent, { colons: ":a:b:" });
    else delete sent.path;
    if (v12) Object.assign(sent, { lines: "one\ntwo\rthree" });
    await publish(client, "/topic/headers", "x", sent);
    const got = (await messages.take()).headers;
    for (const [name, value] of Object.entries(sent)) assert.equal(got[name], value, name);
    await client.deactivate();
  },

  async bodies() {
    const client = await connect();
    const messages = await subscribe(client, "/topic/bodies/ß☃");
    for (const body of ["", "one\n\n", "\n\none", "Größe ☃ 𝄞", "zero\0zero\0"]) {
      await publish(client, "/topic/bodies/ß☃", body);
      assert.equal((await messages.take()).body, body);
    }
    const binaryBody = Uint8Array.from({ length: 500_000 }, (_, at) => at % 251);
    client.publish({ destination: "/topic/bodies/ß☃", binaryBody, headers: { "content-type": "application/octet-stream" } });
    assert.ok(Buffer.from(binaryBody).equals((await messages.take()).binaryBody));
    client.publish({ destination: "/topic/bodies/ß☃", body: "no length", skipContentLengthHeader: true });
    assert.equal((await messages.take()).body, "no length");
    await client.deactivate();
  },

  async errors() {
    const client = await connect();
    client.publish({ destination: "/topic/#", body: "x", headers: { receipt: "wrong" } });
    const error = await client.errors.take();
    assert.equal(error.headers["receipt-id"], "wrong");
    assert.ok(error.headers.message);
    assert.match(error.body, /\/topic\/#/);
    await client.ends.take();
  },

  async reconnecting() {
    // Its subscriptions are made anew in onConnect, as its manual has it; the durable one has missed nothing.
    const client = await connect({ reconnectDelay: 100, connectHeaders: { "client-id": "js" } });
    const sender = await connect();
    const durable = { ack: "client-individual", "activemq.subscriptionName": "js" };
    let messages = await subscribe(client, "/topic/reconnecting", durable);
    await publish(sender, "/topic/reconnecting", "0", { persistent: "true" });
    const first = await messages.take();
    await receipted(client, (receipt) => first.ack(receipt));
    client.socket.terminate();
    await client.ends.take();
    await publish(sender, "/topic/reconnecting", "1", { persistent: "true" });
    await client.welcomes.take();
    messages = await subscribe(client, "/topic/reconnecting", durable);
    assert.equal((await messages.take()).body, "1");
    await receipted(client, (receipt) => messages.subscription.unsubscribe({ ...receipt, "activemq.subscriptionName": "js" }));
    await Promise.all([client.deactivate(), sender.deactivate()]);
  },
};

const later = {
  async nack() {
    const client = await connect();
    const messages = await subscribe(client, "/queue/nack", { ack: "client-individual" });
    await publish(client, "/queue/nack", "again");
    (await messages.take()).nack();
    const again = await messages.take();
    assert.deepEqual([again.body, again.headers.redelivered], ["again", "true"]);
    again.nack({ requeue: "false" });
    const dead = await (await subscribe(client, "/queue/DLQ.nack")).take();
    assert.deepEqual([dead.body, dead.headers["x-first-death-reason"]], ["again", "rejected"]);
    await client.deactivate();
  },

  async heart_beats() {
    // The broker gives up after twice what it asks for, two or three seconds; so does this client, after four.
    const beats = line("a heart-beat");
    const options = { heartbeatIncoming: 2_000, heartbeatOutgoing: 400, heartbeatStrategy: TickerStrategy.Interval };
    const alive = await connect({ ...options, onHeartbeatReceived: () => beats.put() });
    const silent = await connect({ heartbeatIncoming: 0, heartbeatOutgoing: 400 });
    silent.socket.send = () => {};
    await silent.ends.take();
    for (let number = 0; number < 3; number++) await beats.take();
    assert.ok(alive.connected && alive.ends.length === 0);
    await alive.deactivate();
  },
};

(async () => {
  for (const [name, part] of Object.entries(v10 ? parts : { ...parts, ...later })) {
    await part();
    console.log("ok", name);
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
