"""paho-mqtt and stomp.py with each other: python stomp_and_mqtt.py HOST MQTT_PORT STOMP_PORT 1.0|1.1|1.2 (of STOMP; MQTT
is 5.0). Says "ok" and the name of each part that is done."""

import base64
import itertools
import queue
import sys
import time

import paho.mqtt.client as paho
import stomp
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, MQTT_PORT, STOMP_PORT, VERSION = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
CONNECTIONS = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}
WAIT = 15
receipts = itertools.count()


class Mqtt:
    def __init__(self, name):
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self.events, self.messages = queue.Queue(), queue.Queue()
        self.client.on_connect = lambda c, u, flags, reason, p: self.events.put(reason)
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.events.put(reasons[0])
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.connect(HOST, MQTT_PORT)
        self.client.loop_start()
        assert not self.events.get(timeout=WAIT).is_failure

    def subscribe(self, topic, qos=1):
        self.client.subscribe(topic, options=SubscribeOptions(qos=qos))
        assert self.events.get(timeout=WAIT).value == qos

    def publish(self, topic, payload, qos=1, retain=False, **properties):
        sent = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(sent, name, value)
        info = self.client.publish(topic, payload, qos, retain, sent)
        info.wait_for_publish(WAIT)
        assert info.is_published(), topic

    def take(self):
        return self.messages.get(timeout=WAIT)

    def bye(self):
        self.client.disconnect()
        self.client.loop_stop()


class Stomp(stomp.ConnectionListener):
    def __init__(self, auto_decode=True):
        self.messages = queue.Queue()
        self.connection = CONNECTIONS[VERSION]([(HOST, STOMP_PORT)], auto_decode=auto_decode)
        self.connection.set_listener("client", self)
        self.connection.connect(wait=True)

    def on_message(self, frame):
        self.messages.put(frame)

    def receipted(self, act, *arguments, **keywords):
        receipt = f"receipt {next(receipts)}"
        waiting = stomp.WaitingListener(receipt)
        self.connection.set_listener(receipt, waiting)
        getattr(self.connection, act)(*arguments, receipt=receipt, **keywords)
        waiting.wait_on_receipt()
        self.connection.remove_listener(receipt)

    def subscribe(self, destination, id="1", **headers):
        self.receipted("subscribe", destination, id=id, headers=headers)

    def send(self, destination, body, **headers):
        self.receipted("send", destination, body, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def take(self):
        return self.messages.get(timeout=WAIT)

    def bye(self):
        self.connection.disconnect(f"bye {next(receipts)}")


def to_stomp():
    publisher, subscriber = Mqtt("publisher"), Stomp(auto_decode=False)
    subscriber.subscribe("/topic/to/+")
    publisher.publish(
        "to/stomp",
        b"\x00\xff",
        ContentType="application/octet-stream",
        ResponseTopic="answers/here",
        CorrelationData=b"request 1",
        MessageExpiryInterval=300,
        UserProperty=[("site", "plant: 1"), ("größe", "ü"), ("site", "second")],
    )
    frame = subscriber.take()
    headers, expires = frame.headers, int(frame.headers["expires"]) / 1000 - time.time()
    assert (frame.body, headers["destination"]) == (b"\x00\xff", "/topic/to/stomp"), frame
    assert (headers["content-type"], headers["reply-to"]) == ("application/octet-stream", "/topic/answers/here"), headers
    assert (headers["correlation-id"], "correlation-encoding" in headers) == ("request 1", False), headers
    # "If a client receives repeated frame header entries, only the first header entry SHOULD be used" (1.2).
    assert (headers["site"], headers["größe"]) == ("plant: 1", "ü"), headers
    assert 290 < expires < 310, expires
    publisher.publish("to/stomp", "x", CorrelationData=b"\x00\xfe\xff")
    headers = subscriber.take().headers
    assert headers["correlation-encoding"] == "base64", headers
    data = headers["correlation-id"]
    assert base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)) == b"\x00\xfe\xff", headers
    publisher.bye()
    subscriber.bye()


def to_mqtt():
    subscriber, publisher = Mqtt("subscriber"), Stomp()
    subscriber.subscribe("to/+", 2)
    publisher.send(
        "/topic/to/mqtt",
        "Größe",
        content_type="text/plain;charset=utf-8",
        reply_to="/queue/answers",
        correlation_id="request 2",
        expiration="300000",
        persistent="true",
        site="plant: 1",
        priority="7",
    )
    message = subscriber.take()
    got = message.properties
    assert (message.topic, message.payload.decode(), message.qos) == ("to/mqtt", "Größe", 1), message
    assert (got.ContentType, got.PayloadFormatIndicator) == ("text/plain;charset=utf-8", 1), got
    assert (got.ResponseTopic, got.CorrelationData) == ("$queue/answers", b"request 2"), got
    assert 290 < got.MessageExpiryInterval <= 300, got
    assert sorted(got.UserProperty) == [("priority", "7"), ("site", "plant: 1")], got
    publisher.send("/topic/to/mqtt", "at most once")
    assert subscriber.take().qos == 0
    subscriber.bye()
    publisher.bye()


def requests():
    """Either asks the other, who answers where it is told to."""
    device, application = Mqtt("device"), Stomp()
    device.subscribe("ask/device")
    application.subscribe("/temp-queue/answers", id="answers")
    application.send("/topic/ask/device", "how warm?", reply_to="/temp-queue/answers", correlation_id="1")
    request = device.take()
    device.publish(request.properties.ResponseTopic, "21", CorrelationData=request.properties.CorrelationData)
    answer = application.take()
    assert (answer.body, answer.headers["correlation-id"], answer.headers["subscription"]) == ("21", "1", "answers"), answer
    device.subscribe("answers/device")
    application.subscribe("/topic/ask/application", id="asked")
    device.publish("ask/application", "set point?", ResponseTopic="answers/device", CorrelationData=b"2")
    request = application.take().headers
    application.send(request["reply-to"], "22", correlation_id=request["correlation-id"])
    answer = device.take()
    assert (answer.payload, answer.properties.CorrelationData) == (b"22", b"2"), answer
    device.bye()
    application.bye()


def retained():
    mqtt, other = Mqtt("mqtt"), Stomp()
    mqtt.publish("retained/mqtt", "kept", retain=True)
    other.send("/topic/retained/stomp", "kept too", retain="true")
    late = Stomp()
    late.subscribe("/topic/retained/+")
    got = [late.take() for _ in range(2)]
    assert sorted(frame.body for frame in got) == ["kept", "kept too"], got
    assert all(frame.headers["retained"] == "true" for frame in got), got
    mqtt.subscribe("retained/stomp")
    message = mqtt.take()
    assert (message.payload, message.retain) == (b"kept too", True), message
    other.send("/topic/retained/mqtt", "", retain="remove")
    assert late.take().body == ""
    mqtt.subscribe("retained/mqtt")
    mqtt.publish("retained/mqtt", "live")
    message = mqtt.take()
    assert (message.payload, message.retain) == (b"live", False), message
    frame = late.take()
    assert (frame.body, "retained" in frame.headers) == ("live", False), frame
    for client in [mqtt, other, late]:
        client.bye()


def shared():
    """Members of one group take turns, whatever they speak."""
    mqtt, other = Mqtt("member"), Stomp()
    mqtt.subscribe("$share/group/shared/+")
    other.subscribe("/topic/shared/+", **{"x-queue-name": "group"})
    for number in range(10):
        mqtt.publish("shared/x", f"{number}")
        other.send("/topic/shared/x", f"{number + 10}", persistent="true")
    got = [[int(mqtt.take().payload) for _ in range(10)], [int(other.take().body) for _ in range(10)]]
    assert sorted(sum(got, [])) == list(range(20)), got
    mqtt.bye()
    other.bye()


for part in [to_stomp, to_mqtt, requests, retained, shared]:
    part()
    print("ok", part.__name__, flush=True)
