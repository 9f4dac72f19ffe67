"""Processes that the comparison starts: each with a directory of its own, waited for, measured, and ended by its pid."""

import contextlib
import os
import signal
import socket
import subprocess
import time

#: How long a broker may take to serve, and to end when it is asked to, seconds.
START_S, END_S = 60, 10

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class Trouble(Exception):
    """What kept a broker or the generator from its work, for the person at the terminal."""


def free_ports(count):
    """Ports of the loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _stat(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        # The name, in brackets, may hold anything.
        return file.read().rpartition(")")[2].split()


def family(pid):
    """`pid` and its descendants: {pid: when it began}, so that a number that is used again is not taken for it."""
    parents, begun = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = _stat(int(name))
                parents[int(name)], begun[int(name)] = int(fields[1]), fields[19]
    found = {pid} if pid in begun else set()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {member: begun[member] for member in found}


def _lives(pid, begun):
    """Whether the process of that number is still the one that began then, and no zombie."""
    with contextlib.suppress(OSError, IndexError):
        fields = _stat(pid)
        return fields[19] == begun and fields[0] != "Z"
    return False


def rss_bytes(pid):
    """Memory of `pid` and its descendants."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            with open(f"/proc/{member}/statm", encoding="ascii") as file:
                total += int(file.read().split()[1]) * PAGE
    return total


def cpu_s(pid):
    """CPU time of `pid` and its descendants, user and system, seconds."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = _stat(member)
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def machine_busy_s():
    """What all CPUs together have worked since the machine started, seconds."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq, *_ = (int(word) for word in file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


class Process:
    """One that was started here; as a context it ends with it, with everything that it has started."""

    def __init__(self, command, directory, environment=None, pinned=False, helpers=()):
        self.log = os.path.join(directory, f"{os.path.basename(command[0])}.log")
        command = (["taskset", "-c", "0"] if pinned else []) + list(command)
        self.helpers = []
        try:
            for helper in helpers:
                self.helpers.append(Process(helper, directory, environment))
            with open(self.log, "ab") as log:
                # In a session of its own: Ctrl-C is for us, and we end it.
                self.child = subprocess.Popen(
                    command, cwd=directory, env={**os.environ, **(environment or {})}, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except BaseException:
            for helper in self.helpers:
                helper.end()
            raise
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def log_end(self):
        """The last lines that it wrote."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return " | ".join(line.strip() for line in file.read().splitlines()[-5:])

    def wait_for(self, probes):
        """Until every probe says that it serves."""
        deadline = time.monotonic() + START_S
        for probe in probes:
            while not probe():
                if self.child.poll() is not None:
                    raise Trouble(f"ended with {self.child.returncode} instead of serving: {self.log_end()}")
                if time.monotonic() > deadline:
                    raise Trouble(f"does not serve after {START_S} s: {self.log_end()}")
                time.sleep(0.05)

    def end(self):
        """Ends it, politely first, and what it leaves behind."""
        members = family(self.pid)
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(END_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        deadline = time.monotonic() + END_S
        for member, begun in members.items():
            while member != self.pid and _lives(member, begun) and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    os.kill(member, signal.SIGKILL)
                time.sleep(0.01)
        for helper in self.helpers:
            helper.end()


def takes_connections(port):
    """A probe: somebody listens there."""

    def probe():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    return probe


def welcomes_mqtt(port):
    """A probe: CONNECT of MQTT 3.1.1 is answered with success."""
    name = b"noctule-compare"
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2, "big") + name

    def probe():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as stream:
            stream.sendall(bytes([0x10, len(body)]) + body)
            answer = stream.recv(4)
            stream.sendall(b"\xe0\x00")
            return answer == b"\x20\x02\x00\x00"
        return False

    return probe
