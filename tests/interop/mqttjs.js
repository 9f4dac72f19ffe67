// MQTT.js against the broker: node mqttjs.js HOST PORT 3.1.1|5. Says "ok" and the name of each part that is done.
"use strict";

const assert = require("node:assert/strict");
const mqtt = require(`${process.env.NOCTULE_NODE_MODULES}/mqtt`);

const [host, port, version] = process.argv.slice(2);
const v5 = version === "5";
/** What it goes through: tls, ws, wss, or nothing. */
const way = process.env.NOCTULE_WAY;
const WAIT_MS = 15_000;
const clients = [];

function inTime(promise, what) {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`${what}: too late`)), WAIT_MS); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A connected client with a queue of what it has received. */
async function connect(clientId, { lasting = false, will, properties = {} } = {}) {
  const options = { clientId, clean: !lasting, will, reconnectPeriod: 0, protocolVersion: v5 ? 5 : 4 };
  if (v5) options.properties = { sessionExpiryInterval: lasting ? 600 : 0, ...properties };
  const url = { tls: `mqtts://${host}:${port}`, ws: `ws://${host}:${port}/ws`, wss: `wss://${host}:${port}/ws` }[way];
  const client = mqtt.connect(url ?? `mqtt://${host}:${port}`, options);
  clients.push(client);
  const messages = [];
  const waiting = [];
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload, packet };
    const next = waiting.shift();
    if (next) next(message); else messages.push(message);
  });
  client.take = () => inTime(new Promise((next) => {
    if (messages.length > 0) next(messages.shift()); else waiting.push(next);
  }), `a message for ${clientId}`);
  const welcome = await inTime(new Promise((done, fail) => {
    client.once("connect", done);
    client.once("error", fail);
  }), `CONNACK for ${clientId}`);
  client.sessionPresent = welcome.sessionPresent;
  return client;
}

async function subscribe(client, filter, qos = 2) {
  const granted = await inTime(client.subscribeAsync(filter, { qos }), `SUBACK for ${filter}`);
  assert.deepEqual(granted.map((each) => each.qos), [qos]);
}

const publish = (client, topic, payload, options) =>
  inTime(client.publishAsync(topic, payload, options), `the acknowledgement of ${topic}`);

const parts = {
  async qos() {
    const [publisher, subscriber] = [await connect("publisher"), await connect("subscriber")];
    for (const granted of [0, 1, 2]) {
      await subscribe(subscriber, `qos/${granted}`, granted);
      for (const sent of [0, 1, 2]) {
        await publish(publisher, `qos/${granted}`, `${sent}`, { qos: sent });
        const { payload, packet } = await subscriber.take();
        assert.deepEqual([payload.toString(), packet.qos], [`${sent}`, Math.min(sent, granted)]);
      }
    }
    const large = Buffer.alloc(500_000, "noctule");
    await publish(publisher, "qos/2", large, { qos: 2 });
    assert.ok((await subscriber.take()).payload.equals(large));
  },

  async retained() {
    const publisher = await connect("publisher 2");
    await publish(publisher, "retained/x", "kept", { qos: 1, retain: true });
    const subscriber = await connect("subscriber 2");
    await subscribe(subscriber, "retained/#");
    const kept = await subscriber.take();
    assert.deepEqual([kept.payload.toString(), kept.packet.retain], ["kept", true]);
    await publish(publisher, "retained/x", "", { qos: 1, retain: true });
    assert.equal((await subscriber.take()).payload.length, 0);
    const late = await connect("late");
    await subscribe(late, "retained/#");
    await publish(publisher, "retained/x", "live", { qos: 1 });
    const live = await late.take();
    assert.deepEqual([live.payload.toString(), live.packet.retain], ["live", false]);
  },

  async will() {
    const witness = await connect("witness");
    await subscribe(witness, "will");
    const will = (payload) => ({ will: { topic: "will", payload: Buffer.from(payload), qos: 1, retain: false } });
    await (await connect("polite", will("never"))).endAsync();
    (await connect("lost", will("gone"))).stream.destroy();
    const { payload, packet } = await witness.take();
    assert.deepEqual([payload.toString(), packet.qos], ["gone", 1]);
  },

  async offline() {
    let client = await connect("lasting", { lasting: true });
    assert.equal(client.sessionPresent, false);
    await subscribe(client, "offline/#");
    await client.endAsync();
    const publisher = await connect("publisher 3");
    for (let number = 0; number < 20; number++) {
      await publish(publisher, "offline/x", `${number}`, { qos: 1 + (number % 2) });
    }
    client = await connect("lasting", { lasting: true });
    assert.equal(client.sessionPresent, true);
    const got = [];
    for (let number = 0; number < 20; number++) got.push(Number((await client.take()).payload));
    assert.deepEqual(got.sort((a, b) => a - b), [...Array(20).keys()]);
  },
};

const parts5 = {
  async properties() {
    const [publisher, subscriber] = [await connect("publisher 4"), await connect("subscriber 4")];
    await subscribe(subscriber, "properties");
    const properties = {
      payloadFormatIndicator: true,
      contentType: "text/plain",
      responseTopic: "answers",
      correlationData: Buffer.from([0, 255]),
      userProperties: { b: ["1", "3"], a: "2" },
    };
    const sent = { ...properties, messageExpiryInterval: 300 };
    await publish(publisher, "properties", "x", { qos: 1, properties: sent });
    const got = (await subscriber.take()).packet.properties;
    for (const name of ["payloadFormatIndicator", "contentType", "responseTopic"]) {
      assert.equal(got[name], properties[name], name);
    }
    assert.ok(properties.correlationData.equals(got.correlationData));
    assert.deepEqual({ ...got.userProperties }, properties.userProperties);
    assert.ok(got.messageExpiryInterval > 0 && got.messageExpiryInterval <= 300);
  },

  async alias() {
    // Both ways: the client sets one of its own and resolves the broker's.
    const publisher = await connect("publisher 5");
    const subscriber = await connect("subscriber 5", { properties: { topicAliasMaximum: 4 } });
    await subscribe(subscriber, "alias/#");
    for (const topic of ["alias/long/topic", "", ""]) {
      await publish(publisher, topic, "x", { qos: 1, properties: { topicAlias: 1 } });
      assert.equal((await subscriber.take()).topic, "alias/long/topic");
    }
  },

  async shared() {
    const publisher = await connect("publisher 6");
    const members = [];
    for (let number = 0; number < 3; number++) {
      members.push(await connect(`member ${number}`));
      await subscribe(members[number], "$share/group/shared/+", 1);
    }
    for (let number = 0; number < 30; number++) await publish(publisher, "shared/x", `${number}`, { qos: 1 });
    const got = [];
    for (const member of members) {
      for (let number = 0; number < 10; number++) got.push(Number((await member.take()).payload));
    }
    assert.deepEqual(got.sort((a, b) => a - b), [...Array(30).keys()]);
  },
};

(async () => {
  for (const [name, part] of Object.entries(v5 ? { ...parts, ...parts5 } : parts)) {
    await part();
    console.log("ok", name);
  }
  for (const client of clients) client.end(true);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
