"""Who is compared: where each comes from, which version it is, and how it is started on ports of its own.

Everybody runs as it comes: what is set is where to listen, where to put files, and that clients of this machine need no
credentials. Nobody listens beyond the loopback, and no service of the system is touched.
"""

import json
import os
import shutil
import subprocess

import processes
import rows

#: Debian's packages, and the crate's version; `--install` gets what is missing.
DEBIAN = {"mosquitto": "mosquitto", "rabbitmq": "rabbitmq-server", "nats": "nats-server"}
RUMQTTD = "0.20.0"

RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def _said(*command):
    """What a command prints, both ways."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, check=False)
    return done.stdout.decode(errors="replace").strip()


def _package_version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    return f"{done.stdout.decode()} (Debian)" if done.returncode == 0 else None


def _which(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Peer:
    """A broker that can be started; `program` is None where it is not there."""

    def __init__(self, name, program, version):
        self.name, self.program, self.version = name, program, version

    def start(self, directory, pinned, stomp):
        """A fresh process that serves: it, its MQTT port and its STOMP port (None if it has none)."""
        mqtt_port, stomp_port, *more = processes.free_ports(6)
        command, environment, helpers = getattr(self, "_" + self.name.replace("-", "_"))(directory, mqtt_port, stomp_port, more)
        process = processes.Process(command, directory, environment, pinned, helpers)
        try:
            probes = [processes.welcomes_mqtt(mqtt_port)]
            if stomp:
                probes.append(processes.takes_connections(stomp_port))
            process.wait_for(probes)
        except BaseException:
            process.end()
            raise
        return process, mqtt_port, stomp_port

    def _write(self, directory, name, text):
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _relay(self, _directory, mqtt_port, _stomp_port, _more):
        return [self.program, "serve", str(mqtt_port)], None, ()

    def _relay_tokio(self, _directory, mqtt_port, _stomp_port, _more):
        return [self.program, "serve-tokio", str(mqtt_port)], None, ()

    def _noctule(self, directory, mqtt_port, stomp_port, _more):
        return [self.program, "run", "--data", os.path.join(directory, "data"), "--mqtt", f"127.0.0.1:{mqtt_port}",
                "--stomp", f"127.0.0.1:{stomp_port}", "--anonymous"], None, ()

    def _mosquitto(self, directory, mqtt_port, _stomp_port, _more):
        text = f"listener {mqtt_port} 127.0.0.1\nallow_anonymous true\n"
        return [self.program, "-c", self._write(directory, "mosquitto.conf", text)], None, ()

    def _nats(self, directory, mqtt_port, _stomp_port, more):
        text = (f'server_name: compare\nhost: "127.0.0.1"\nport: {more[0]}\n'
                f'jetstream {{ store_dir: "{directory}/jetstream" }}\n'
                f'mqtt {{ host: "127.0.0.1", port: {mqtt_port} }}\n')
        return [self.program, "-c", self._write(directory, "nats.conf", text)], None, ()

    def _rumqttd(self, directory, mqtt_port, _stomp_port, more):
        # Its example configuration with only MQTT 3.1.1, and on the loopback.
        text = f"""id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "127.0.0.1:{mqtt_port}"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 100
dynamic_filters = true
[console]
listen = "127.0.0.1:{more[0]}"
"""
        return [self.program, "-c", self._write(directory, "rumqttd.toml", text)], None, ()

    def _rabbitmq(self, directory, mqtt_port, stomp_port, more):
        amqp_port, distribution_port, mapper_port = more[:3]
        self._write(directory, "enabled_plugins", "[rabbitmq_mqtt,rabbitmq_stomp].\n")
        config = self._write(directory, "rabbitmq.conf", f"""listeners.tcp.1 = 127.0.0.1:{amqp_port}
mqtt.listeners.tcp.1 = 127.0.0.1:{mqtt_port}
mqtt.allow_anonymous = true
stomp.listeners.tcp.1 = 127.0.0.1:{stomp_port}
stomp.default_user = guest
stomp.default_pass = guest
""")
        mapper = {"ERL_EPMD_PORT": str(mapper_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        environment = {
            **mapper,
            "HOME": directory,
            "RABBITMQ_ALLOW_INPUT": "1",  # else a shell stays in front of the broker
            "RABBITMQ_CONFIG_FILE": config,
            "RABBITMQ_CONF_ENV_FILE": os.path.join(directory, "none"),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(directory, "enabled_plugins"),
            "RABBITMQ_LOG_BASE": os.path.join(directory, "log"),
            "RABBITMQ_MNESIA_BASE": os.path.join(directory, "mnesia"),
            "RABBITMQ_NODENAME": f"compare-{os.getpid()}-{mqtt_port}@localhost",
            "RABBITMQ_PID_FILE": os.path.join(directory, "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
        }
        # Erlang would leave its port mapper running behind it; this one is ours to end.
        return [self.program], environment, [["epmd", "-address", "127.0.0.1", "-port", str(mapper_port)]]


def build(root, rumqttd_root, install, wanted, noctule, relay):
    """Every wanted peer that is there; says what is missing and how to get it."""
    found = {}
    if install:
        _install(wanted, rumqttd_root)
    if rows.NOCTULE in wanted:
        program = noctule or _cargo(root, ["--bin", "noctule"])
        version = _said(program, "--version").split()[-1]
        if not noctule:
            # Of a program that was handed in nobody knows the commit.
            version += f" ({_said('git', '-C', root, 'describe', '--always', '--dirty', '--exclude', '*')})"
        found[rows.NOCTULE] = Peer(rows.NOCTULE, program, version)
    floors = [name for name in rows.FLOORS if name in wanted]
    if floors:
        program = relay or _cargo(root, ["--bench", "relay"])
        found.update({name: Peer(name, program, "of this commit") for name in floors})
    for name, package in DEBIAN.items():
        program = RABBITMQ_SERVER if name == "rabbitmq" else _which(package)
        version = _package_version(package)
        if name in wanted and program and os.path.exists(program):
            found[name] = Peer(name, program, version or _said(program, "--version"))
    program = os.path.join(rumqttd_root, "bin", "rumqttd")
    if "rumqttd" in wanted and os.path.exists(program):
        found["rumqttd"] = Peer("rumqttd", program, f"{RUMQTTD} (crates.io)")
    for name in wanted:
        if name not in found:
            how = ["apt-get", "install", DEBIAN[name]] if name in DEBIAN else _rumqttd_command(rumqttd_root)
            print(f"{name} is not here and left out; --install would do: {' '.join(how)}")
    return {name: found[name] for name in rows.ALL if name in found}


def _cargo(root, what):
    """Builds with optimisation and tells where the program is."""
    command = ["cargo", "build", "--release", "--locked", "--message-format=json-render-diagnostics", *what]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise processes.Trouble(f"{' '.join(command)} failed")
    built = [json.loads(line).get("executable") for line in done.stdout.splitlines()]
    return [path for path in built if path][-1]


def _rumqttd_command(rumqttd_root):
    # Not --locked: the lock file that it comes with names a release of `metrics` that compilers of today refuse. TLS and
    # WebSocket, its default features, are not measured.
    return ["cargo", "install", "rumqttd", "--version", RUMQTTD, "--no-default-features", "--root", rumqttd_root]


def _install(wanted, rumqttd_root):
    packages = [package for name, package in DEBIAN.items() if name in wanted and not _package_version(package)]
    if packages:
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", *packages]):
            print("+ " + " ".join(as_root + command), flush=True)
            with _no_services(as_root):
                _run([*as_root, "env", "DEBIAN_FRONTEND=noninteractive", *command])
    if "rumqttd" in wanted and not os.path.exists(os.path.join(rumqttd_root, "bin", "rumqttd")):
        print("+ " + " ".join(_rumqttd_command(rumqttd_root)), flush=True)
        _run(_rumqttd_command(rumqttd_root))


class _no_services:
    """While it lasts, Debian's packages start no service when they are installed."""

    POLICY = "/usr/sbin/policy-rc.d"

    def __init__(self, as_root):
        self.as_root = as_root
        self.ours = not os.path.exists(self.POLICY)

    def __enter__(self):
        if self.ours:
            write = f"printf '#!/bin/sh\\nexit 101\\n' > {self.POLICY} && chmod 755 {self.POLICY}"
            _run([*self.as_root, "sh", "-c", write])

    def __exit__(self, *_):
        if self.ours:
            _run([*self.as_root, "rm", "-f", self.POLICY])


def _run(command):
    if subprocess.run(command, check=False).returncode != 0:
        raise processes.Trouble(f"{' '.join(command)} failed")
