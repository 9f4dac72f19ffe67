"""What is measured: each row is a load, and who can carry it.

A peer is left out of a row only where it does not have what the row needs: NATS 2.9 and RabbitMQ 3.10 have no QoS 2, only
RabbitMQ has STOMP, it and rumqttd do not replay retained messages to wildcards, the relays keep nothing.
"""

from dataclasses import dataclass

RELAY, TOKIO, NOCTULE = "relay", "relay-tokio", "noctule"

#: What only forwards bytes, and is no broker.
FLOORS = (RELAY, TOKIO)

#: In the order of the table's columns.
NAMES = {
    RELAY: "relay (the floor)",
    TOKIO: "relay on tokio",
    NOCTULE: "Noctule",
    "mosquitto": "Mosquitto",
    "rumqttd": "rumqttd",
    "nats": "NATS",
    "rabbitmq": "RabbitMQ",
}

ALL = tuple(NAMES)
NO_RELAY = tuple(name for name in ALL if name not in FLOORS)
SATURATED = (RELAY, *NO_RELAY)
EXACTLY_ONCE = (RELAY, NOCTULE, "mosquitto", "rumqttd")
WILDCARD_REPLAY = (NOCTULE, "mosquitto", "nats")
STOMP = (NOCTULE, "rabbitmq")

#: The groups of rows, each a table: its title, and what is said about it.
GROUPS = {
    "saturated": (
        "As fast as the broker takes it",
        "Broker CPU per delivered message, µs: user and system.",
    ),
    "pinned": (
        "At a fixed rate, broker and generator on one CPU",
        "Broker CPU per delivered message, µs. The kernel's loopback is most of it.",
    ),
    "kept": (
        "Coming, going and keeping",
        "Broker CPU per visit or per message, µs.",
    ),
}


@dataclass(frozen=True)
class Row:
    """A load: how `noctule bench` is to be called for it, and with whom."""

    key: str
    title: str
    group: str
    scenario: str
    options: tuple = ()
    peers: tuple = SATURATED
    #: Broker and generator share CPU 0.
    pinned: bool = False

    @property
    def publishes_stomp(self):
        return self.scenario in ("stomp-topic", "stomp-queue")

    @property
    def needs_stomp(self):
        return self.publishes_stomp or self.scenario == "cross"


def _rated(key, title, scenario, qos, rate, peers=SATURATED):
    """At a fixed rate each message is a wake-up of its own, and there the floor for a program on tokio is another."""
    options = ("--qos", str(qos), "--rate", str(rate))
    return Row(key, f"{title}, {rate:,}/s", "pinned", scenario, options, (TOKIO, *peers), pinned=True)


ROWS = (
    Row("one-to-one-q0", "100 pairs, QoS 0", "saturated", "one-to-one", ("--qos", "0")),
    Row("one-to-one-q1", "100 pairs, QoS 1", "saturated", "one-to-one", ("--qos", "1")),
    Row("one-to-one-q2", "100 pairs, QoS 2", "saturated", "one-to-one", ("--qos", "2"), EXACTLY_ONCE),
    Row("fan-in-q0", "200 publishers, 1 subscriber, QoS 0", "saturated", "fan-in", ("--qos", "0")),
    Row("fan-out-q0", "1 publisher, 500 subscribers, QoS 0", "saturated", "fan-out", ("--qos", "0")),
    Row("stomp-topic", "STOMP, 100 pairs, topics", "saturated", "stomp-topic", (), STOMP),
    Row("stomp-queue", "STOMP, 10 queues, each acknowledged", "saturated", "stomp-queue", (), STOMP),
    Row("cross", "MQTT to STOMP, 100 pairs", "saturated", "cross", (), STOMP),
    _rated("pinned-one-to-one-q0", "100 pairs, QoS 0", "one-to-one", 0, 8_000),
    _rated("pinned-one-to-one-q1", "100 pairs, QoS 1", "one-to-one", 1, 5_000),
    _rated("pinned-one-to-one-q2", "100 pairs, QoS 2", "one-to-one", 2, 3_000, EXACTLY_ONCE),
    _rated("pinned-fan-in-q0", "200 publishers, 1 subscriber, QoS 0", "fan-in", 0, 8_000),
    _rated("pinned-fan-out-q0", "1 publisher, 500 subscribers, QoS 0", "fan-out", 0, 50),
    _rated("pinned-latency-q0", "10 clients to themselves, QoS 0", "latency", 0, 1_000),
    Row("connect", "connect, subscribe, disconnect", "kept", "connect"),
    # So many that the 10 ms in which CPU time is told are little beside what they cost.
    Row("retained", "100,000 retained messages", "kept", "retained", ("--messages", "100000"), WILDCARD_REPLAY),
    Row("offline-q1", "50,000 for 100 clients that are away, QoS 1", "kept", "offline",
        ("--qos", "1", "--messages", "50000"), NO_RELAY),
)

BY_KEY = {row.key: row for row in ROWS}


def chosen(words):
    """The rows that `words` name, by key or by scenario; all of them without words."""
    if not words:
        return list(ROWS)
    known = {row.key for row in ROWS} | {row.scenario for row in ROWS}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(f"no row or scenario is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [row for row in ROWS if row.key in words or row.scenario in words]
