"""The command: plans the rounds, says how long they take, measures, and writes table and chart.

README.md beside this says how to use it. Whatever is started is ended by its pid, also on Ctrl-C and SIGTERM.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import chart
import peers
import processes
import report
import rows
from processes import Trouble
from results import Results

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

#: What a run takes besides warming up and measuring: a fresh broker, connecting, waiting for stragglers; seconds.
BESIDES_S = {"rabbitmq": 14}
BESIDES_OTHERS_S = 4
#: What keeping and giving back so many takes, instead of --seconds.
KEPT_S = 20


def arguments():
    parser = argparse.ArgumentParser(
        prog="benches/compare/run", description="Measures Noctule beside other brokers and writes the README's figures.",
        epilog="Exit codes: 0 done; 1 something failed, and it says what; 2 wrong command line; 130 interrupted.")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, in each of which everybody has a turn [7]")
    parser.add_argument("--seconds", type=int, default=5, help="how long each run measures [5]")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before that [1]")
    parser.add_argument("--only", default="", metavar="ROW,..", help="rows, or scenarios of noctule bench (--list)")
    parser.add_argument("--peers", default=",".join(rows.ALL), metavar="NAME,..", help=f"of {', '.join(rows.ALL)}")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument("--plan", action="store_true", help="say what would be done and how long it takes, and end")
    parser.add_argument("--install", action="store_true", help="install missing peers (apt-get, cargo install)")
    parser.add_argument("--results", metavar="FILE", help="append the rounds here [benches/compare/results/DATE.jsonl]")
    parser.add_argument("--report", metavar="FILE", help="measure nothing; write table and chart of these results")
    parser.add_argument("--write-readme", action="store_true", help="put table and chart into the README")
    parser.add_argument("--noctule", metavar="PROGRAM", help="measure this one instead of building it")
    parser.add_argument("--bench", metavar="PROGRAM", help="have this one make the load [the same]")
    parser.add_argument("--relay", metavar="PROGRAM", help="use this relay instead of building it")
    given = parser.parse_args()
    if min(given.rounds, given.seconds) < 1 or given.warm_up < 0:
        parser.error("--rounds and --seconds are at least 1, --warm-up at least 0")
    given.peers = [name for name in given.peers.split(",") if name]
    unknown = [name for name in given.peers if name not in rows.ALL]
    if unknown:
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(rows.ALL)}")
    try:
        given.rows = rows.chosen([word for word in given.only.split(",") if word])
    except ValueError as error:
        parser.error(str(error))
    return given


def setup(given, there):
    """What the results begin with."""
    cpu = platform.machine()
    with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    return {
        "kind": "setup",
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0]},
        "rounds": given.rounds, "seconds": given.seconds, "warm_up": given.warm_up,
        "versions": {name: peer.version for name, peer in there.items()},
    }


def bench_command(given, bench, row, mqtt_port, stomp_port, pid, peer):
    """How `noctule bench` is called for a row."""
    place = f"127.0.0.1:{stomp_port if row.publishes_stomp else mqtt_port}"
    if row.scenario == "cross":
        place += f"/{stomp_port}"
    version = [] if row.publishes_stomp else ["-V", "3.1.1"]
    return [*(["taskset", "-c", "0"] if row.pinned else []), bench, "bench", row.scenario, *row.options, *version,
            "--against", f"{peer}={place}", "--pid", str(pid), "--json",
            "--seconds", f"{given.seconds}s", "--warm-up", f"{given.warm_up}s"]


def measure(given, bench, row, peer, directory):
    """One run with a fresh broker: what is to be noted of it."""
    process, mqtt_port, stomp_port = peer.start(directory, row.pinned, row.needs_stomp)
    with process:
        start_rss = processes.rss_bytes(process.pid)
        before = (time.monotonic(), processes.machine_busy_s(), processes.cpu_s(process.pid), _children_s())
        command = bench_command(given, bench, row, mqtt_port, stomp_port, process.pid, peer.name)
        # In a session of its own, as the broker: Ctrl-C is for us, and we end both.
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              start_new_session=True) as load:
            try:
                said, complaint = load.communicate(timeout=3 * (given.seconds + given.warm_up) + 120)
            except subprocess.TimeoutExpired as error:
                raise Trouble(f"the load did not end within {error.timeout:.0f} s") from error
            finally:
                if load.poll() is None:
                    load.kill()
        if load.returncode != 0:
            last = (complaint.decode(errors="replace").strip().splitlines() or [""])[-1]
            raise Trouble(f"noctule bench ended with {load.returncode}: {last}")
        after = (time.monotonic(), processes.machine_busy_s(), processes.cpu_s(process.pid), _children_s())
        if process.child.poll() is not None:
            raise Trouble(f"ended under the load: {process.log_end()}")
        elapsed, busy, broker, generator = (late - early for early, late in zip(before, after))
        other = max(0.0, 100 * (busy - broker - generator) / (elapsed * os.cpu_count()))
        run = json.loads(said.splitlines()[-1])
        run.pop("broker_pid", None)
        return {"start_rss_bytes": start_rss, "other_load_percent": round(other, 1), "run": run}


def _children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def one_line(entry):
    """What the terminal shows of a round."""
    if "failed" in entry:
        return f"failed: {entry['failed']}"
    parts = []
    for phase in entry["run"]["phases"]:
        cpu, p99 = phase.get("cpu_us"), (phase.get("latency_us") or {}).get("p99")
        words = [phase["name"], f"{cpu:.2f} µs" if cpu is not None else "no CPU figure"]
        words += [f"p99 {p99 / 1000:.2f} ms"] if p99 is not None else []
        words += [f"LOST {phase['lost']:,}"] if phase.get("lost") else []
        parts.append(" ".join(words))
    return "; ".join(parts) + f"; other load {entry['other_load_percent']:.0f} %"


def rounds(given, there, bench, file):
    """All rounds; each line is in the file before the next begins."""
    for number in range(1, given.rounds + 1):
        for row in given.rows:
            turns = [peer for name, peer in there.items() if name in row.peers]
            # Nobody is always the first.
            first = (number - 1) % max(len(turns), 1)
            for peer in turns[first:] + turns[:first]:
                directory = tempfile.mkdtemp(prefix="noctule-compare-")
                entry = {"kind": "round", "row": row.key, "peer": peer.name, "round": number}
                try:
                    entry |= measure(given, bench, row, peer, directory)
                except (Trouble, OSError, ValueError) as error:
                    entry["failed"] = str(error).replace(directory, "DIRECTORY")
                finally:
                    shutil.rmtree(directory, ignore_errors=True)
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                file.flush()
                print(f"round {number}  {row.key:<22} {peer.name:<10} {one_line(entry)}", flush=True)


def plan(given, names):
    """How many runs, and roughly how long they take, seconds."""
    runs = [(row, name) for row in given.rows for name in names if name in row.peers] * given.rounds
    seconds = 0
    for row, name in runs:
        seconds += KEPT_S if row.scenario in ("retained", "offline") else given.seconds + given.warm_up
        seconds += BESIDES_S.get(name, BESIDES_OTHERS_S)
    return len(runs), seconds


def write(given, path):
    """Table and chart of a results file, beside it, and in the README if that is wanted."""
    with open(path, encoding="utf-8") as file:
        results = Results(file)
    if not results.setup or not results.rounds:
        raise Trouble(f"{os.path.relpath(path)} holds no rounds; measure first")
    stem = os.path.splitext(path)[0]

    def seen_from(folder):
        return report.markdown(results, os.path.relpath(f"{stem}.svg", folder), os.path.relpath(path, folder))

    with open(f"{stem}.svg", "w", encoding="utf-8") as file:
        file.write(chart.svg(results))
    with open(f"{stem}.md", "w", encoding="utf-8") as file:
        file.write(f"# Noctule beside its peers\n\n{seen_from(os.path.dirname(os.path.abspath(path)))}")
    print(f"\n{seen_from(ROOT)}\nwritten: {os.path.relpath(stem)}.md and .svg")
    if given.write_readme:
        readme = os.path.join(ROOT, "README.md")
        with open(readme, encoding="utf-8") as file:
            new = report.between_markers(file.read(), seen_from(ROOT))
        with open(readme, "w", encoding="utf-8") as file:
            file.write(new)
        print("written: README.md")


def run(given):
    if given.list:
        for row in rows.ROWS:
            print(f"{row.key:<22} {row.title}{' (one CPU)' if row.pinned else ''}: {', '.join(row.peers)}")
        return
    if given.report:
        write(given, given.report)
        return
    if given.plan:
        count, seconds = plan(given, given.peers)
        print(f"{count} runs, about {-(-seconds // 60)} minutes, with all of {', '.join(given.peers)}")
        return
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    there = peers.build(ROOT, os.path.join(target, "peers"), given.install, given.peers, given.noctule, given.relay)
    if not there:
        raise Trouble("nobody to measure is here; --install gets the peers")
    bench = given.bench or (there[rows.NOCTULE].program if rows.NOCTULE in there else given.noctule)
    if not bench:
        raise Trouble("the load is made by noctule bench; name the program by --bench where --peers leaves Noctule out")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    begin = setup(given, there)
    path = given.results or os.path.join(HERE, "results", f"{begin['date']}.jsonl")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    for name, version in begin["versions"].items():
        print(f"{rows.NAMES[name]:<18} {version}")
    count, seconds = plan(given, there)
    end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    print(f"{count} runs, about {-(-seconds // 60)} minutes, until {end:%H:%M}; load average now {os.getloadavg()[0]:.1f}",
          flush=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(begin, ensure_ascii=False) + "\n")
        file.flush()
        rounds(given, there, bench, file)
    write(given, path)


def interrupted(*_):
    # Once is enough: what was started is being ended, and that takes as long as it takes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        run(arguments())
    except Trouble as error:
        sys.exit(f"compare: {error}")
    except KeyboardInterrupt:
        print("\ninterrupted; what is measured is in the results file, everything that was started is ended")
        sys.exit(130)


if __name__ == "__main__":
    main()
