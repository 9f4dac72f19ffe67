// An MQTT client of a few lines, for what the page is to show.
"use strict";

const net = require("node:net");

const { MQTT_PORT, DASHBOARD_USER, DASHBOARD_PASSWORD } = process.env;

/** A client that publishes at QoS 0 and takes what it is sent without looking. */
class Mqtt {
  static async connect(clientId) {
    const client = new Mqtt();
    client.socket = net.connect(Number(MQTT_PORT), "127.0.0.1");
    const flags = 0x02 | (DASHBOARD_USER ? 0xc0 : 0);
    const names = [clientId, ...(DASHBOARD_USER ? [DASHBOARD_USER, DASHBOARD_PASSWORD] : [])];
    client.send(0x10, [text("MQTT"), [4, flags, 0, 0], ...names.map(text)]);
    await new Promise((connected, failed) => {
      client.socket.once("data", connected);
      client.socket.once("error", failed);
    });
    client.socket.on("error", () => {}).resume();
    return client;
  }

  subscribe(filter) {
    this.send(0x82, [[0, 1], text(filter), [0]]);
  }

  publish(topic, payload, { retain = false } = {}) {
    this.send(0x30 | (retain ? 1 : 0), [text(topic), Buffer.from(payload)]);
  }

  send(kind, parts) {
    const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
    const length = [];
    for (let rest = body.length; ;) {
      length.push((rest % 128) | (rest > 127 ? 128 : 0));
      rest >>= 7;
      if (rest === 0) break;
    }
    this.socket.write(Buffer.concat([Buffer.from([kind, ...length]), body]));
  }

  end() {
    this.socket.destroy();
  }
}

function text(string) {
  const bytes = Buffer.from(string);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

module.exports = { Mqtt };
