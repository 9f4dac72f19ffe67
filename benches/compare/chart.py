"""Results as an SVG: a bar for each broker's CPU per message, on a logarithmic scale.

No script and no font of its own; it takes the reader's dark or light. Bars on such a scale begin at no zero, so each says
its figure.
"""

import math
from xml.sax.saxutils import escape

import report
from rows import FLOORS, NAMES, NOCTULE

#: Of the whole, of the names on the left, of the figures behind the longest bar.
WIDTH, LABELS, FIGURES = 820, 130, 130
#: Of a bar, of a load's title, of the room behind a load, of what stands above all.
BAR, TITLE, GAP, HEAD = 15, 18, 12, 56

STYLE = """text{font:12px system-ui,sans-serif;fill:#1f2328}.t{font-size:15px;font-weight:600}.l{font-weight:600}
.s{fill:#59636e}.g{stroke:#d1d9e0}.p{fill:#afb8c1}.r{fill:#d4a72c}.n{fill:#0969da}.w{fill:#cf222e;font-weight:600}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.g{stroke:#3d444d}.p{fill:#656c76}.r{fill:#bb8009}
.n{fill:#4493f8}.w{fill:#ff7b72}}"""


def svg(results):
    """The chart of what is measured as fast as it goes and at a fixed rate."""
    found = [line for group in ("saturated", "pinned") for line in report.lines(results, group)]
    bars = [(line, [(peer, line.spread(peer)) for peer in NAMES if line.spread(peer)]) for line in found]
    bars = [(line, measured) for line, measured in bars if measured]
    values = [spread.median for _, measured in bars for _, spread in measured if spread.median > 0] or [1]
    # The shortest bar has to be seen.
    low = math.floor(math.log10(min(values) / 1.5))
    high = max(math.ceil(math.log10(max(values))), low + 1)

    def at(value):
        share = (math.log10(max(value, 10**low)) - low) / (high - low)
        return LABELS + (WIDTH - LABELS - FIGURES) * share

    height = HEAD + sum(TITLE + len(measured) * BAR + GAP for _, measured in bars)
    title = "Broker CPU per delivered message, µs (shorter is better; logarithmic)"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        f'<text class="t" x="8" y="20">{title}</text>',
    ]
    for power in range(low, high + 1):
        x = round(at(10**power))
        out.append(f'<path class="g" d="M{x} {HEAD - 8}V{height - GAP}"/>')
        out.append(f'<text class="s" x="{x}" y="{HEAD - 14}" text-anchor="middle">{10**power:g}</text>')
    y = HEAD
    for line, measured in bars:
        pinned = ", on one CPU" if line.row.pinned else ""
        standing = line.standing().partition("; ")[0]
        words = escape(standing.replace("*", ""))
        mark = f'<tspan class="w"> – Noctule: {words}</tspan>' if standing.startswith("**") else ""
        out.append(f'<text class="l" x="8" y="{y + 12}">{escape(line.title)}{pinned}{mark}</text>')
        y += TITLE
        for peer, spread in measured:
            kind = "n" if peer == NOCTULE else "r" if peer in FLOORS else "p"
            words = "l" if peer == NOCTULE else "s"
            end = at(spread.median)
            said = report.number(spread.median) + line.shortfall(peer)
            out += [
                f'<text class="{words}" x="{LABELS - 6}" y="{y + 11}" text-anchor="end">{escape(NAMES[peer])}</text>',
                f'<rect class="{kind}" x="{LABELS}" y="{y + 1}" width="{max(end - LABELS, 1):.0f}" height="{BAR - 2}"/>',
                f'<text class="{words}" x="{end + 4:.0f}" y="{y + 11}">{said}</text>',
            ]
            y += BAR
        y += GAP
    return "\n".join(out) + "\n</svg>\n"
