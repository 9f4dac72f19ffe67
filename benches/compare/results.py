"""The results file: a JSON object per line, the setup first, then one for each round of each peer with each row.

A round holds what `noctule bench --json` printed (`run`), or why there is nothing (`failed`).
"""

import collections
import json
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, with the lowest and the highest."""

    median: float
    lowest: float
    highest: float
    rounds: int


class Results:
    """All lines of a file."""

    def __init__(self, lines):
        self.setup, self.rounds = {}, []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} of the results is no JSON object ({error}); take that line out") from error
            if entry.get("kind") == "setup":
                # What is measured later in the same file may know more peers.
                versions = {**self.setup.get("versions", {}), **entry["versions"]}
                self.setup = {**entry, "versions": versions}
            else:
                self.rounds.append(entry)

    def of(self, row, peer):
        return [entry for entry in self.rounds if entry["row"] == row and entry["peer"] == peer]

    def rounds_each(self):
        """How often each peer had its turn with each row: the fewest and the most times. A file may be added to."""
        turns = collections.Counter((entry["row"], entry["peer"]) for entry in self.rounds)
        return (min(turns.values()), max(turns.values())) if turns else (0, 0)

    def phases(self, row):
        """The names of a row's phases, in the order in which they come."""
        names = []
        for entry in self.rounds:
            if entry["row"] == row and entry.get("run"):
                names += [phase["name"] for phase in entry["run"]["phases"] if phase["name"] not in names]
        return names

    def _figures(self, row, peer, phase):
        for entry in self.of(row, peer):
            for figures in (entry.get("run") or {}).get("phases", []):
                if figures["name"] == phase:
                    yield figures

    def spread(self, row, peer, phase, figure):
        """Of a figure such as `cpu_us`, or `p99` of the latencies; None where no round has it."""
        values = []
        for figures in self._figures(row, peer, phase):
            value = figures.get(figure)
            if value is None:
                value = (figures.get("latency_us") or {}).get(figure)
            # Without a delivery there is no cost of one.
            if value is not None and (figures.get("delivered") or figure == "rss_bytes"):
                values.append(value)
        return spread(values)

    def lost(self, row, peer, phase):
        """Messages that did not come, in all rounds."""
        return sum(figures.get("lost") or 0 for figures in self._figures(row, peer, phase))

    def not_sent(self, row, peer, phase):
        """Messages that were due and could not be sent, because the broker did not take them, in all rounds."""
        return sum(figures.get("not_sent") or 0 for figures in self._figures(row, peer, phase))

    def carried(self, row, peer, phase):
        """Whether at most one message in a hundred was lost or could not be sent: else what the others cost says nothing."""
        expected = sum(figures["delivered"] + (figures.get("lost") or 0) for figures in self._figures(row, peer, phase))
        due = sum((figures.get("sent") or 0) + (figures.get("not_sent") or 0) for figures in self._figures(row, peer, phase))
        return 100 * self.lost(row, peer, phase) <= expected and 100 * self.not_sent(row, peer, phase) <= due

    def failures(self, row, peer):
        """Why rounds have no figures, or what went wrong in them, each reason once."""
        reasons = {entry.get("failed") or (entry.get("run") or {}).get("trouble") for entry in self.of(row, peer)}
        return sorted(reason for reason in reasons if reason)

    def start_rss(self, peer):
        values = [entry.get("start_rss_bytes") for entry in self.rounds if entry["peer"] == peer]
        return spread([value for value in values if value])

    def other_load(self):
        """What neither brokers nor generator used of the machine, per cent."""
        return spread([e["other_load_percent"] for e in self.rounds if e.get("other_load_percent") is not None])


def spread(values):
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))
