"""Results as Markdown: what it cost, how long it took, what was lost, and where Noctule is not the first.

Everything comes from the results file, so that the same file gives the same text.
"""

import rows
from rows import FLOORS, NAMES, NOCTULE, RELAY, TOKIO

BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"

#: Where Noctule stands if it lost more than is ranked.
UNCARRIED = "**not up to it**"


def number(value):
    """With as many digits as say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Line:
    """A row of the table: a load, or one phase of it."""

    def __init__(self, results, row, phase, several):
        self.results, self.row, self.phase = results, row, phase
        self.title = f"{row.title}: {phase}" if several else row.title

    def spread(self, peer, figure="cpu_us"):
        return self.results.spread(self.row.key, peer, self.phase, figure)

    def lost(self, peer):
        return self.results.lost(self.row.key, peer, self.phase)

    def rivals(self):
        """The brokers that carried the load; the relays are none."""
        return [peer for peer in NAMES if peer != NOCTULE and peer not in FLOORS
                and self.spread(peer) and self.results.carried(self.row.key, peer, self.phase)]

    def cell(self, peer, figure="cpu_us"):
        spread = self.spread(peer, figure)
        if spread is None:
            return "failed" if self.results.failures(self.row.key, peer) else "–"
        text = number(spread.median)
        if peer == NOCTULE:
            text = f"**{text}**"
        if spread.rounds > 1:
            text += f" ({number(spread.lowest)} to {number(spread.highest)})"
        return text + self.shortfall(peer)

    def shortfall(self, peer):
        """What did not come, and what could not even be sent."""
        not_sent = self.results.not_sent(self.row.key, peer, self.phase)
        lost = self.lost(peer)
        return (f", lost {lost:,}" if lost else "") + (f", {not_sent:,} not sent" if not_sent else "")

    def ahead(self, figures=("cpu_us",)):
        """Which rivals are before Noctule, with the figure and by how much."""
        found = []
        for figure in figures:
            ours = self.spread(NOCTULE, figure)
            for peer in self.rivals():
                theirs = self.spread(peer, figure)
                if ours and theirs and theirs.median < ours.median:
                    found.append((peer, figure, ours.median / max(theirs.median, 1e-9)))
        return found

    def standing(self):
        """Where Noctule stands by its cost."""
        ours = self.spread(NOCTULE)
        if ours is None:
            return "**not measured**" if not self.results.failures(self.row.key, NOCTULE) else "**failed**"
        if not self.results.carried(self.row.key, NOCTULE, self.phase):
            return UNCARRIED
        behind = self.ahead()
        if behind:
            text = "**behind " + ", ".join(f"{NAMES[peer]} (×{ratio:.2f})" for peer, _, ratio in behind) + "**"
        else:
            text = "first" if self.rivals() else "alone"
        for relay, name in ((RELAY, "the floor"), (TOKIO, "the relay on tokio")):
            floor = self.spread(relay)
            if floor and floor.median > 0:
                text += f"; ×{ours.median / floor.median:.2f} {name}"
        return text


def lines(results, group):
    """What was measured of a group, phase by phase."""
    found = []
    for row in rows.ROWS:
        if row.group == group:
            phases = results.phases(row.key)
            # A broker that failed throughout is to be seen as well.
            if not phases and any(entry["row"] == row.key for entry in results.rounds):
                phases = ["load"]
            found += [Line(results, row, phase, len(phases) > 1) for phase in phases]
    return found


def present(results):
    """Who was there, in the table's order."""
    return [peer for peer in NAMES if any(entry["peer"] == peer for entry in results.rounds)]


def table(head, body):
    out = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return out + ["| " + " | ".join(cells) + " |" for cells in body]


def cost(results, group):
    title, about = rows.GROUPS[group]
    found = lines(results, group)
    if not found:
        return []
    peers = [peer for peer in present(results) if any(line.cell(peer) != "–" for line in found)]
    body = [[line.title, *(line.cell(peer) for peer in peers), line.standing()] for line in found]
    return [f"**{title}.** {about}", "", *table(["load", *(NAMES[peer] for peer in peers), "Noctule is"], body), ""]


QUANTILES = (("p50", "p50"), ("p99", "p99"), ("p99_9", "p99.9"))


def latency(results):
    found = [line for line in lines(results, "pinned") if line.spread(NOCTULE, "p99")]
    if not found:
        return []
    peers = [peer for peer in present(results) if any(line.spread(peer, "p99") for line in found)]
    body = []
    for line in found:
        cells = []
        for peer in peers:
            spreads = [line.spread(peer, figure) for figure, _ in QUANTILES]
            text = " / ".join(number(s.median / 1000) if s else "–" for s in spreads)
            cells.append("–" if not any(spreads) else f"**{text}**" if peer == NOCTULE else text)
        behind = line.ahead([figure for figure, _ in QUANTILES])
        words = [f"{dict(QUANTILES)[figure]} {NAMES[peer]} (×{ratio:.2f})" for peer, figure, ratio in behind]
        standing = UNCARRIED if line.standing() == UNCARRIED else "first" if line.rivals() else "alone"
        body.append([line.title, *cells, "**behind: " + ", ".join(words) + "**" if words else standing])
    head = ["load", *(NAMES[peer] for peer in peers), "Noctule is"]
    about = "p50 / p99 / p99.9 in ms, from when a message was due; medians of the rounds, broker and generator on one CPU."
    return [f"**Latency at these rates.** {about}", "", *table(head, body), ""]


def memory(results):
    measured = [(peer, results.start_rss(peer)) for peer in present(results)]
    measured = [(peer, spread) for peer, spread in measured if spread]
    if not measured:
        return []
    after = [results.spread("one-to-one-q0", peer, "load", "rss_bytes") for peer, _ in measured]
    megabytes = [[number(s.median / 1e6) if s else "–" for s in column] for column in ([s for _, s in measured], after)]
    starts = {peer: spread.median for peer, spread in measured}
    before = [NAMES[p] for p, v in starts.items() if p != NOCTULE and p not in FLOORS and v < starts.get(NOCTULE, 0)]
    standing = "first" if not before else f"**behind {', '.join(before)}**"
    if NOCTULE not in starts:
        standing = "**not measured**"
    body = [["at the start", *megabytes[0], standing], ["after 100 pairs, QoS 0", *megabytes[1], ""]]
    return ["**Memory.** RSS in MB, medians.", "", *table(["", *(NAMES[p] for p, _ in measured), "Noctule is"], body), ""]


def losses(results):
    """Everything that Noctule does not win, in one sentence."""
    all_lines = [line for group in rows.GROUPS for line in lines(results, group)]
    contested = [line for line in all_lines if line.spread(NOCTULE) and line.rivals()]
    behind = [line for line in contested if not line.standing().startswith("first")]
    titles = {group: title[0].lower() + title[1:] for group, (title, _) in rows.GROUPS.items()}
    names = "; ".join(f"{line.title} ({titles[line.row.group]})" for line in behind)
    text = f"By CPU Noctule is first in {len(contested) - len(behind)} of {len(contested)} comparisons"
    text += f" and behind in {len(behind)}: {names}." if behind else "."
    lost = {peer: sum(line.lost(peer) for line in all_lines) for peer in present(results)}
    lost = [f"{NAMES[peer]} {count:,}" for peer, count in lost.items() if count]
    return text + (f" Messages lost in all rounds: {', '.join(lost)}." if lost else " Nobody lost a message.")


def conditions(results):
    """On what, by whom and how it was measured."""
    setup = results.setup
    machine = setup["machine"]
    versions = ", ".join(f"{NAMES[name]} {version}" for name, version in setup["versions"].items() if name not in FLOORS)
    fewest, most = results.rounds_each()
    rounds = str(most) if fewest == most else f"{fewest} to {most}"
    text = (f"Measured on {setup['date']}: {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; "
            f"{rounds} interleaved round{'s' if most != 1 else ''} of {setup['seconds']} s, each with a fresh broker "
            f"in its default configuration, 64-byte payloads, MQTT 3.1.1, loopback; medians, with the lowest and the "
            f"highest round in brackets; whoever lost or did not take more than one message in a hundred is not ranked. {versions}.")
    other = results.other_load()
    if other:
        text += (f" Other work took {number(other.median)} % of the machine in the median round, "
                 f"{number(other.highest)} % in the worst.")
    return text


def failures(results):
    found = []
    for row in rows.ROWS:
        for peer in NAMES:
            found += [f"- {NAMES[peer]}, {row.title}: {reason}" for reason in results.failures(row.key, peer)]
    return ["What went wrong:", "", *found, ""] if found else []


def markdown(results, chart, source):
    """All of it, as it stands between the markers; `chart` and `source` are paths from the README's place."""
    out = [f"![Broker CPU per delivered message, on a logarithmic scale]({chart})", "", losses(results), ""]
    for group in rows.GROUPS:
        out += cost(results, group)
        if group == "pinned":
            out += latency(results)
    out += memory(results)
    out += failures(results)
    out += [conditions(results), "", f"Every round is in [{source}]({source}); `benches/compare/run` repeats all of it."]
    return "\n".join(out) + "\n"


def between_markers(readme, text):
    """`readme` with `text` between the markers."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no {BEGIN} … {END}; put both where the figures belong, each on its own line")
    return f"{before}{BEGIN}\n{text}{END}{after}"
