// What a web page does with @stomp/stompjs or MQTT.js: LIBRARY and URL are in the page's query. Says "ok" and the name of
// each part that is done, or "failed" and why, to whoever served the page.
"use strict";

const query = new URLSearchParams(location.search);
const url = query.get("url");
const WAIT_MS = 15_000;
const BINARY = Uint8Array.from({ length: 70_000 }, (_, at) => at % 251);

function inTime(promise, what) {
  const late = new Promise((_, fail) => setTimeout(() => fail(new Error(`${what}: too late`)), WAIT_MS));
  return Promise.race([promise, late]);
}

function equal(got, expected, what) {
  if (got !== expected) throw new Error(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(expected)}`);
}

const sameBytes = (got) => equal(got.join(), BINARY.join(), "bytes");

/** Things that come, to be taken in turn. */
function line(what) {
  const [come, waiting] = [[], []];
  return {
    put(thing) { if (waiting.length > 0) waiting.shift()(thing); else come.push(thing); },
    take() { return inTime(new Promise((next) => { if (come.length > 0) next(come.shift()); else waiting.push(next); }), what); },
  };
}

async function stomp(done) {
  let opened;
  const client = new StompJs.Client({
    webSocketFactory: () => { opened = new WebSocket(url, ["v12.stomp", "v11.stomp", "v10.stomp"]); return opened; },
    reconnectDelay: 0,
  });
  await inTime(new Promise((connected, failed) => {
    client.onConnect = connected;
    client.onStompError = (frame) => failed(new Error(frame.headers.message));
    client.onWebSocketClose = ({ code }) => failed(new Error(`closed with ${code}`));
    client.activate();
  }), "CONNECTED");
  equal(opened.protocol, "v12.stomp", "subprotocol");
  equal(client.connectedVersion, "1.2", "version");
  await done("connecting");

  let named = 0;
  const receipted = (act) => {
    const receipt = `receipt-${named++}`;
    const come = new Promise((got) => client.watchForReceipt(receipt, got));
    act(receipt);
    return inTime(come, receipt);
  };
  const messages = line("a message");
  await receipted((receipt) => client.subscribe("/topic/page", messages.put, { receipt }));
  await done("subscribing");

  const sent = { destination: "/topic/page", headers: { unit: "°C" } };
  await receipted((receipt) => client.publish({ ...sent, body: "Größe ☃ 𝄞", headers: { ...sent.headers, receipt } }));
  const got = await messages.take();
  equal(got.body, "Größe ☃ 𝄞", "body");
  equal(got.headers.unit, "°C", "header");
  await receipted((receipt) => client.publish({ ...sent, binaryBody: BINARY, headers: { receipt } }));
  sameBytes((await messages.take()).binaryBody);
  await done("receiving");

  const tasks = line("a task");
  await receipted((receipt) => client.publish({ destination: "/queue/page", body: "task", headers: { receipt, persistent: "true" } }));
  await receipted((receipt) => client.subscribe("/queue/page", tasks.put, { receipt, ack: "client-individual" }));
  const task = await tasks.take();
  await receipted((receipt) => task.ack({ receipt }));
  await done("acknowledging");
  await client.deactivate();
}

async function mqttjs(done) {
  const client = mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0, connectTimeout: WAIT_MS });
  await inTime(new Promise((connected, failed) => {
    client.on("connect", connected);
    client.on("error", failed);
    client.on("close", () => failed(new Error("closed")));
  }), "CONNACK");
  await done("connecting");

  const messages = line("a message");
  client.on("message", (topic, payload, packet) => messages.put({ topic, payload, packet }));
  const [granted] = await inTime(client.subscribeAsync("page/#", { qos: 2 }), "SUBACK");
  equal(granted.qos, 2, "granted");
  await done("subscribing");

  for (const qos of [0, 1, 2]) {
    await inTime(client.publishAsync("page/text", "Größe ☃ 𝄞", { qos, properties: { userProperties: { unit: "°C" } } }), "PUBACK");
    const { topic, payload, packet } = await messages.take();
    equal(topic, "page/text", "topic");
    equal(payload.toString(), "Größe ☃ 𝄞", "payload");
    equal(packet.qos, qos, "qos");
    equal(packet.properties.userProperties.unit, "°C", "user property");
  }
  await inTime(client.publishAsync("page/bytes", BINARY, { qos: 1 }), "PUBACK");
  sameBytes((await messages.take()).payload);
  await done("receiving");
  await inTime(client.endAsync(), "the end");
}

(async () => {
  const tell = (body) => fetch("/said", { method: "POST", body });
  try {
    await { stomp, mqtt: mqttjs }[query.get("library")]((part) => tell(`ok ${part}`));
    await tell("end");
  } catch (error) {
    await tell(`failed ${error}`);
  }
})();
