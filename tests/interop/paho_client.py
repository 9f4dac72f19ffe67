"""paho-mqtt against the broker: python paho_client.py HOST PORT 3.1.1|5. Says "ok" and the name of each part that is done."""

import os
import queue
import sys

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT, V5 = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "5"
WAIT = 15
# What it goes through: tls, ws, wss, or nothing.
WAY = os.environ.get("NOCTULE_WAY", "")


class Client:
    def __init__(self, name, lasting=False, will=None):
        more = {} if V5 else {"clean_session": not lasting}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=paho.MQTTv5 if V5 else paho.MQTTv311,
            transport="websockets" if WAY.startswith("ws") else "tcp",
            **more,
        )
        self.client.ws_set_options(path="/ws")
        if WAY in ("tls", "wss"):
            self.client.tls_set(ca_certs=os.environ["NOCTULE_CA"])
        self.connected, self.granted, self.messages = queue.Queue(), queue.Queue(), queue.Queue()
        self.gone = queue.Queue()
        self.client.on_connect = lambda c, u, flags, reason, p: self.connected.put((reason, flags.session_present))
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.granted.put(reasons)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_disconnect = lambda c, u, flags, reason, p: self.gone.put(reason)
        if will:
            self.client.will_set(*will)
        connect = {}
        if V5:
            connect["clean_start"] = not lasting
            connect["properties"] = Properties(PacketTypes.CONNECT)
            connect["properties"].SessionExpiryInterval = 600 if lasting else 0
        self.client.connect(HOST, PORT, **connect)
        self.client.loop_start()
        reason, self.session_present = self.connected.get(timeout=WAIT)
        assert not reason.is_failure, reason

    def subscribe(self, topic, qos=2):
        self.client.subscribe(topic, options=SubscribeOptions(qos=qos)) if V5 else self.client.subscribe(topic, qos)
        reasons = self.granted.get(timeout=WAIT)
        assert [reason.value for reason in reasons] == [qos], reasons

    def publish(self, *arguments, **keywords):
        info = self.client.publish(*arguments, **keywords)
        info.wait_for_publish(WAIT)
        assert info.is_published(), arguments

    def take(self):
        return self.messages.get(timeout=WAIT)

    def bye(self):
        self.client.disconnect()
        self.gone.get(timeout=WAIT)
        self.client.loop_stop()

    def cut(self):
        self.client.loop_stop()
        self.client.socket().close()


def qos():
    publisher, subscriber = Client("publisher"), Client("subscriber")
    for granted in range(3):
        subscriber.subscribe(f"qos/{granted}", granted)
        for sent in range(3):
            publisher.publish(f"qos/{granted}", f"{sent}", sent)
            message = subscriber.take()
            assert (message.payload, message.qos) == (b"%d" % sent, min(sent, granted)), message
    large = bytes(range(256)) * 2000
    publisher.publish("qos/2", large, 2)
    assert subscriber.take().payload == large
    subscriber.bye()
    publisher.bye()


def retained():
    publisher = Client("publisher")
    publisher.publish("retained/x", "kept", 1, True)
    subscriber = Client("subscriber")
    subscriber.subscribe("retained/#")
    message = subscriber.take()
    assert (message.payload, message.retain) == (b"kept", True)
    publisher.publish("retained/x", "", 1, True)
    assert subscriber.take().payload == b""
    late = Client("late")
    late.subscribe("retained/#")
    publisher.publish("retained/x", "live", 1)
    message = late.take()
    assert (message.payload, message.retain) == (b"live", False)


def will():
    witness = Client("witness")
    witness.subscribe("will")
    Client("polite", will=("will", "never", 1)).bye()
    Client("lost", will=("will", "gone", 1)).cut()
    message = witness.take()
    assert (message.payload, message.qos) == (b"gone", 1), message.payload


def offline():
    client = Client("lasting", lasting=True)
    assert not client.session_present
    client.subscribe("offline/#")
    client.bye()
    publisher = Client("publisher")
    for number in range(20):
        publisher.publish("offline/x", f"{number}", 1 + number % 2)
    client = Client("lasting", lasting=True)
    assert client.session_present
    got = sorted(int(client.take().payload) for _ in range(20))
    assert got == list(range(20)), got
    client.bye()
    Client("lasting").bye()


def properties():
    publisher, subscriber = Client("publisher"), Client("subscriber")
    subscriber.subscribe("properties")
    sent = Properties(PacketTypes.PUBLISH)
    sent.PayloadFormatIndicator = 1
    sent.ContentType = "text/plain"
    sent.ResponseTopic = "answers"
    sent.CorrelationData = b"\x00\xff"
    sent.MessageExpiryInterval = 300
    sent.UserProperty = [("b", "1"), ("a", "2"), ("b", "1")]
    publisher.publish("properties", "x", 1, properties=sent)
    got = subscriber.take().properties
    for name in ["PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty"]:
        assert getattr(got, name) == getattr(sent, name), name
    assert 0 < got.MessageExpiryInterval <= 300


def alias():
    publisher, subscriber = Client("publisher"), Client("subscriber")
    subscriber.subscribe("alias/#")
    for topic in ["alias/long/topic", "", ""]:
        sent = Properties(PacketTypes.PUBLISH)
        sent.TopicAlias = 1
        publisher.publish(topic, "x", 1, properties=sent)
        assert subscriber.take().topic == "alias/long/topic"


def shared():
    publisher, members = Client("publisher"), [Client(f"member {number}") for number in range(3)]
    for member in members:
        member.subscribe("$share/group/shared/+", 1)
    for number in range(30):
        publisher.publish("shared/x", f"{number}", 1)
    got = [[int(member.take().payload) for _ in range(10)] for member in members]
    assert sorted(sum(got, [])) == list(range(30)), got


for part in [qos, retained, will, offline] + ([properties, alias, shared] if V5 else []):
    part()
    print("ok", part.__name__, flush=True)
