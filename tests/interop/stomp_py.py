"""stomp.py against the broker: python stomp_py.py HOST PORT 1.0|1.1|1.2. Says "ok" and the name of each part that is done."""

import itertools
import logging
import queue
import sys
import time

import stomp
from stomp.exception import ConnectFailedException

HOST, PORT, VERSION = sys.argv[1], int(sys.argv[2]), sys.argv[3]
V10, V12 = VERSION == "1.0", VERSION == "1.2"
WAIT = 15
CONNECTIONS = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}
receipts = itertools.count()


class Client(stomp.ConnectionListener):
    def __init__(self, headers=None, credentials=(), **more):
        self.connected, self.messages, self.errors = queue.Queue(), queue.Queue(), queue.Queue()
        self.gone = queue.Queue()
        self.beats = 0
        self.connection = CONNECTIONS[VERSION]([(HOST, PORT)], **more)
        self.connection.set_listener("client", self)
        self.connection.connect(*credentials, wait=True, headers=headers or {})
        self.welcome = self.connected.get(timeout=WAIT).headers

    def on_connected(self, frame):
        self.connected.put(frame)

    def on_message(self, frame):
        self.messages.put(frame)

    def on_error(self, frame):
        self.errors.put(frame)

    def on_disconnected(self):
        self.gone.put(True)

    def on_heartbeat(self):
        self.beats += 1

    def receipted(self, act, *arguments, **keywords):
        """Acts with a receipt, and waits until it has come."""
        receipt = f"receipt {next(receipts)}"
        waiting = stomp.WaitingListener(receipt)
        self.connection.set_listener(receipt, waiting)
        getattr(self.connection, act)(*arguments, receipt=receipt, **keywords)
        waiting.wait_on_receipt()
        self.connection.remove_listener(receipt)

    def subscribe(self, destination, id="1", ack="auto", **headers):
        self.receipted("subscribe", destination, id=id, ack=ack, headers=headers)

    def send(self, destination, body, **more):
        self.receipted("send", destination, body, **more)

    def settle(self, act, frame, **more):
        """ACK or NACK as the version has it."""
        names = [frame.headers["ack" if V12 else "message-id"]]
        if VERSION == "1.1":
            names.append(frame.headers["subscription"])
        self.receipted(act, *names, **more)

    def take(self):
        return self.messages.get(timeout=WAIT)

    def bodies(self, count):
        return [self.take().body for _ in range(count)]

    def bye(self):
        self.connection.disconnect(f"bye {next(receipts)}")
        self.gone.get(timeout=WAIT)

    def cut(self):
        self.connection.transport.disconnect_socket()


def connecting():
    client = Client(credentials=("somebody", "pass:word"))
    assert client.welcome["version"] == VERSION, client.welcome
    assert client.welcome["server"].startswith("noctule/"), client.welcome
    assert client.welcome["session"] and "heart-beat" in client.welcome, client.welcome
    client.bye()
    if not V10:
        # With CONNECT instead of STOMP.
        client = CONNECTIONS[VERSION]([(HOST, PORT)], vhost="somewhere")
        client.connect(wait=True, with_connect_command=True)
        assert client.is_connected()
        client.disconnect("bye")
        assert not client.is_connected()
    with CONNECTIONS[VERSION]([(HOST, PORT)]) as client:
        client.connect(wait=True)


def modes():
    sender = Client()
    for ack in ["auto", "client", "client-individual"]:
        destination = f"/queue/modes {ack}"
        client = Client()
        client.subscribe(destination, ack=ack)
        for number in range(5):
            sender.send(destination, f"{number}")
        frames = [client.take() for _ in range(5)]
        assert [frame.body for frame in frames] == list("01234"), frames
        for frame in frames:
            assert (frame.headers["destination"], frame.headers["subscription"]) == (destination, "1"), frame
            assert "redelivered" not in frame.headers, frame
        if ack != "auto":
            client.settle("ack", frames[2])
        client.cut()
        rest = {"auto": "", "client": "34", "client-individual": "0134"}[ack]
        client = Client()
        client.subscribe(destination)
        frames = [client.take() for _ in rest]
        assert [frame.body for frame in frames] == list(rest), frames
        assert all(frame.headers["redelivered"] == "true" for frame in frames), frames
        sender.send(destination, "last")
        assert client.take().body == "last"
        client.receipted("unsubscribe", id="1")
        client.bye()
    client = Client()
    for id in ["a", "b"]:
        client.subscribe(f"/topic/modes/{id}/+", id=id)
    sender.send("/topic/modes/b/x", "for b")
    frame = client.take()
    assert (frame.headers["subscription"], frame.headers["destination"]) == ("b", "/topic/modes/b/x"), frame
    client.receipted("unsubscribe", id="b")
    sender.send("/topic/modes/b/x", "for nobody")
    sender.send("/topic/modes/a/x", "for a")
    assert client.take().body == "for a"
    client.bye()
    sender.bye()


def nack():
    client = Client()
    client.subscribe("/queue/nack", ack="client-individual")
    client.send("/queue/nack", "again")
    first = client.take()
    client.settle("nack", first)
    second = client.take()
    assert (second.body, second.headers["redelivered"]) == ("again", "true"), second
    assert second.headers["message-id"] != first.headers["message-id"], second
    client.settle("nack", second, **({"requeue": "false"} if V12 else {}))
    if V12:
        client.subscribe("/queue/DLQ.nack", id="dead")
        dead = client.take().headers
        assert (dead["subscription"], dead["x-first-death-reason"]) == ("dead", "rejected"), dead
    else:
        client.settle("ack", client.take())
    client.bye()


def transactions():
    client, witness = Client(), Client()
    witness.subscribe("/queue/committed")
    client.subscribe("/queue/work to do", ack="client-individual")
    client.send("/queue/work to do", "task")
    task = client.take()
    for end in ["abort", "commit"]:
        transaction = client.connection.begin()
        for number in range(3):
            client.send("/queue/committed", f"{end} {number}", headers={"transaction": transaction})
        # Its receipt says no more than that it will be committed with the rest.
        client.settle("ack", task, transaction=transaction)
        assert witness.messages.empty()
        client.receipted(end, transaction)
    assert witness.bodies(3) == [f"commit {number}" for number in range(3)]
    client.cut()
    client = Client()
    client.subscribe("/queue/work to do")
    client.send("/queue/work to do", "next")
    assert client.take().body == "next"
    # A connection that is lost takes its transactions along.
    lost = Client()
    lost.send("/queue/committed", "lost", headers={"transaction": lost.connection.begin()})
    lost.cut()
    client.send("/queue/committed", "last")
    assert witness.bodies(1) == ["last"]
    witness.bye()
    client.bye()


def headers():
    client = Client()
    client.subscribe("/topic/headers")
    sent = {"colons": ":a:b:", "path": "C:\\dir", "space": " x ", "empty": "", "unicode": "Größe ☃ 𝄞", "größe": "ü"}
    if not V10:
        sent |= {"lines": "one\ntwo\n", "backslashes": "\\n\\\\c\\"}
    if V12:
        sent |= {"returns": "\rone\r\n"}
    client.send("/topic/headers", "x", content_type="text/plain;charset=utf-8", headers=dict(sent))
    got = client.take().headers
    for name, value in sent.items():
        assert got[name] == value, (name, got)
    assert got["content-type"] == "text/plain;charset=utf-8", got
    client.bye()


def bodies():
    destination = "/topic/bodies/ß☃"
    text, binary = Client(), Client(auto_decode=False)
    for client in [text, binary]:
        client.subscribe(destination)
    for body in ["", "one\n\n", "\n\none", "Größe ☃ 𝄞", "zero\x00zero\x00"]:
        binary.send(destination, body)
        frame = text.take()
        assert (frame.body, frame.headers["destination"]) == (body, destination), frame
        assert binary.take().body == body.encode()
    large = bytes(range(256)) * 2000
    binary.send(destination, large, content_type="application/octet-stream")
    frame = binary.take()
    assert (frame.body, frame.headers["content-length"]) == (large, str(len(large))), frame.headers
    text.bye()
    # Without a length the body ends at the first NUL.
    short = Client(auto_content_length=False)
    short.send(destination, "no length")
    assert binary.take().body == b"no length"
    short.bye()
    binary.bye()


def durable():
    ways = [
        ({"client-id": "keeper"}, {"activemq.subscriptionName": "alerts"}),
        ({}, {"durable": "true", "id": "lasting alerts"}),
    ]
    sender = Client()
    for connect, subscribe in ways:
        client = Client(headers=connect)
        client.subscribe("/topic/durable/+", ack="client-individual", **subscribe)
        sender.send("/topic/durable/x", "0", headers={"persistent": "true"})
        assert client.take().body == "0"
        client.bye()
        for number in range(1, 10):
            sender.send("/topic/durable/x", f"{number}", headers={"persistent": "true"})
        client = Client(headers=connect)
        client.subscribe("/topic/durable/+", ack="client-individual", **subscribe)
        frames = [client.take() for _ in range(10)]
        assert [frame.body for frame in frames] == list("0123456789"), frames
        for frame in frames:
            client.settle("ack", frame)
        client.receipted("unsubscribe", id=subscribe.get("id", "1"), headers=subscribe)
        client.bye()
        sender.send("/topic/durable/x", "for nobody", headers={"persistent": "true"})
        client = Client(headers=connect)
        client.subscribe("/topic/durable/+", ack="client-individual", **subscribe)
        sender.send("/topic/durable/x", "anew", headers={"persistent": "true"})
        assert client.take().body == "anew"
        client.receipted("unsubscribe", id=subscribe.get("id", "1"), headers=subscribe)
        client.bye()
    sender.bye()


def errors():
    def ended(client, receipt):
        """The ERROR with which the broker ends the connection; it names the frame and says what is wrong."""
        error = client.errors.get(timeout=WAIT)
        client.gone.get(timeout=WAIT)
        assert not client.connection.is_connected()
        assert error.headers.get("receipt-id") == receipt, error
        assert error.headers["message"] and error.body, error
        return error.headers["message"] + error.body

    client = Client()
    client.subscribe("/topic/errors", id="twice")
    client.connection.subscribe("/topic/errors", id="twice", receipt="second")
    assert "twice" in ended(client, "second")
    client = Client()
    client.connection.commit("never begun", receipt="commit")
    assert "never begun" in ended(client, "commit")
    client = Client()
    client.connection.send("/topic/#", "x")
    assert "/topic/#" in ended(client, None)
    if V12:
        client = stomp.Connection12([(HOST, PORT)])
        client.version = "3.0"
        try:
            client.connect(wait=True)
            raise AssertionError("3.0 is spoken")
        except ConnectFailedException:
            pass


def heart_beats():
    # The broker asks for one every three seconds, and gives up after six; so does this client, after five.
    alive = Client(heartbeats=(400, 2000))
    # It counts from before its answer is read here.
    begun = time.monotonic()
    silent = Client(heartbeats=(400, 0))
    silent.connection.heartbeat_terminate_event.set()
    silent.gone.get(timeout=WAIT)
    assert 5.9 < time.monotonic() - begun < 12, time.monotonic() - begun
    time.sleep(0.5)
    assert alive.connection.is_connected() and alive.gone.empty()
    assert alive.beats >= 3, alive.beats
    alive.bye()


parts = [connecting, modes, transactions, headers, bodies, durable, errors] + ([] if V10 else [nack, heart_beats])
# It reports with a stack trace what is meant to happen here.
logging.getLogger("stomp.py").setLevel(logging.CRITICAL)
for part in parts:
    part()
    print("ok", part.__name__, flush=True)
