"""A fixed results file makes the same table, and a chart that readers can show; what is lost is marked.

`python3 -m unittest` in this directory; cargo runs it as well (tests/cli/compare.rs).
"""

import json
import os
import sys
import unittest
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import chart  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
from results import Results  # noqa: E402

SETUP = {
    "kind": "setup", "date": "2026-01-02", "rounds": 3, "seconds": 5, "warm_up": 1,
    "machine": {"cpu": "Some <fast> CPU", "cores": 2, "kernel": "6.1", "load": 0.1},
    "versions": {"relay": "of this commit", "noctule": "0.1.0 (abc)", "mosquitto": "2.0.11 (Debian)", "rumqttd": "0.20.0"},
}


def one(row, peer, number, cpu, lost=0, latency=None, name="load", delivered=1000):
    phase = {"name": name, "delivered": delivered, "lost": lost, "cpu_us": cpu, "rss_bytes": 5_000_000,
             "latency_us": latency and dict(zip(("p50", "p99", "p99_9", "max"), latency))}
    return {"kind": "round", "row": row, "peer": peer, "round": number, "start_rss_bytes": 4_000_000,
            "other_load_percent": 2.0, "run": {"phases": [phase]}}


def sample():
    entries = [SETUP]
    for number, factor in enumerate((1.0, 4.0, 2.0), 1):
        # Won, with a loss by the other one too large to be ranked.
        entries.append(one("one-to-one-q0", "relay", number, 0.25 * factor))
        entries.append(one("one-to-one-q0", "noctule", number, 0.4 * factor))
        entries.append(one("one-to-one-q0", "mosquitto", number, 5.0 * factor, lost=700))
        # Lost to one of the two by cost, and won by it.
        entries.append(one("fan-out-q0", "noctule", number, 0.9 * factor))
        entries.append(one("fan-out-q0", "mosquitto", number, 5.0 * factor))
        entries.append(one("fan-out-q0", "rumqttd", number, 0.6 * factor))
        # Won by cost, lost by p99.
        entries.append(one("pinned-one-to-one-q0", "noctule", number, 13.0 * factor, latency=(100, 900, 2000, 3000)))
        entries.append(one("pinned-one-to-one-q0", "mosquitto", number, 17.0 * factor, latency=(200, 300, 4000, 5000)))
    entries.append({"kind": "round", "row": "connect", "peer": "noctule", "round": 1, "failed": "the <end>"})
    return entries


def results(entries):
    return Results(json.dumps(entry) for entry in entries)


def line_of(text, begin):
    return next(line for line in text.splitlines() if line.startswith(f"| {begin}"))


class Report(unittest.TestCase):
    def setUp(self):
        self.results = results(sample())
        self.text = report.markdown(self.results, "c.svg", "r.jsonl")

    def test_the_same_results_make_the_same_text(self):
        self.assertEqual(self.text, report.markdown(results(sample()), "c.svg", "r.jsonl"))
        line = line_of(self.text, "100 pairs, QoS 0 |")
        self.assertEqual(line, "| 100 pairs, QoS 0 | 0.50 (0.25 to 1.00) | **0.80** (0.40 to 1.60) "
                               "| 10.0 (5.00 to 20.0), lost 2,100 | – | alone; ×1.60 the floor |")

    def test_a_case_that_is_lost_is_marked_and_named(self):
        line = line_of(self.text, "1 publisher, 500 subscribers, QoS 0")
        self.assertTrue(line.endswith("| **behind rumqttd (×1.50)** |"), line)
        self.assertIn("By CPU Noctule is first in 1 of 2 comparisons and behind in 1: "
                      "1 publisher, 500 subscribers, QoS 0 (as fast as the broker takes it).", self.text)

    def beside_rumqttd(self, ours, lost_by_it, lost_by_us=0):
        entries = sample() + [one("fan-in-q0", "noctule", 1, ours, lost_by_us, delivered=1000 - lost_by_us)]
        entries.append(one("fan-in-q0", "rumqttd", 1, 1.0, lost_by_it, delivered=1000 - lost_by_it))
        return line_of(report.markdown(results(entries), "c", "r"), "200 publishers")

    def test_a_case_is_lost_as_well_to_whoever_lost_few_messages(self):
        line = self.beside_rumqttd(2.0, lost_by_it=10)
        self.assertIn("1.00, lost 10", line)
        self.assertIn("**behind rumqttd (×2.00)**", line)

    def test_whoever_lost_more_than_one_in_a_hundred_has_not_carried_it(self):
        line = self.beside_rumqttd(2.0, lost_by_it=11)
        self.assertIn("1.00, lost 11", line)
        self.assertTrue(line.endswith("| alone |"), line)

    def test_nor_has_whoever_did_not_take_what_was_due(self):
        entries = sample() + [one("fan-in-q0", "noctule", 1, 2.0), one("fan-in-q0", "rumqttd", 1, 1.0)]
        for not_sent, standing in ((10, "**behind rumqttd (×2.00)**"), (11, "alone")):
            entries[-1]["run"]["phases"][0] |= {"sent": 1000 - not_sent, "not_sent": not_sent}
            line = line_of(report.markdown(results(entries), "c", "r"), "200 publishers")
            self.assertTrue(line.endswith(f"| 1.00, {not_sent} not sent | {standing} |"), line)

    def test_nor_have_we(self):
        line = self.beside_rumqttd(0.5, lost_by_it=0, lost_by_us=11)
        self.assertTrue(line.endswith("| **not up to it** |"), line)

    def test_a_slower_percentile_is_marked(self):
        about = self.text.partition("**Latency")[2]
        self.assertIn("**behind: p99 Mosquitto (×3.00)**", line_of(about, "100 pairs, QoS 0, 8,000/s"))

    def test_memory_is_compared_where_there_is_something_to_compare(self):
        self.assertIn("| at the start | 4.00 | 4.00 | 4.00 | 4.00 | first |", self.text)
        alone = report.markdown(results([SETUP, one("cross", "rabbitmq", 1, 1.0)]), "c", "r")
        self.assertIn("| at the start | 4.00 | **not measured** |", alone)

    def test_losses_of_messages_are_summed(self):
        self.assertIn("Messages lost in all rounds: Mosquitto 2,100.", self.text)

    def test_what_failed_is_no_gap(self):
        self.assertIn("| connect, subscribe, disconnect | failed | **failed** |", self.text)
        self.assertIn("- Noctule, connect, subscribe, disconnect: the <end>", self.text)

    def test_trouble_is_told_beside_the_figures(self):
        entries = sample()
        entries[1]["run"]["trouble"] = "no more sockets"
        self.assertIn("- relay (the floor), 100 pairs, QoS 0: no more sockets", report.markdown(results(entries), "c", "r"))

    def test_nothing_delivered_is_no_figure(self):
        entries = sample() + [one("fan-in-q0", "noctule", 1, 0.0, delivered=0), one("fan-in-q0", "rumqttd", 1, 1.0)]
        line = line_of(report.markdown(results(entries), "c", "r"), "200 publishers")
        self.assertIn("**not measured**", line)

    def test_phases_are_lines_of_their_own(self):
        entries = [SETUP]
        for name, cpu in (("store", 2.0), ("fetch", 1.0)):
            entries.append(one("offline-q1", "noctule", 1, cpu, name=name))
        text = report.markdown(results(entries), "c", "r")
        self.assertIn("| 50,000 for 100 clients that are away, QoS 1: store | **2.00** | alone |", text)
        self.assertIn("| 50,000 for 100 clients that are away, QoS 1: fetch | **1.00** | alone |", text)

    def test_only_what_is_between_the_markers_changes(self):
        readme = f"a\n{report.BEGIN}\nold\n{report.END}\nz\n"
        self.assertEqual(report.between_markers(readme, "new\n"), f"a\n{report.BEGIN}\nnew\n{report.END}\nz\n")
        for bad in ("a", report.BEGIN, report.END, f"{report.END}{report.BEGIN}"):
            with self.assertRaises(ValueError, msg=bad):
                report.between_markers(bad, "new")

    def test_a_damaged_line_is_named(self):
        with self.assertRaisesRegex(ValueError, "line 2 "):
            Results([json.dumps(SETUP), "{"])


class Chart(unittest.TestCase):
    def full(self):
        """As many bars as there can be, and Noctule behind everybody."""
        entries = [SETUP]
        for row in rows.ROWS:
            for at, peer in enumerate(row.peers):
                entries.append(one(row.key, peer, 1, 300 / 3 ** at, 12_345, delivered=10_000_000))
        return results(entries)

    def test_it_is_well_formed_small_and_without_script(self):
        picture = chart.svg(self.full())
        self.assertEqual(picture, chart.svg(self.full()))
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(picture).iter()}
        self.assertEqual(tags, {"svg", "style", "text", "tspan", "rect", "path"})
        self.assertLess(len(picture.encode()), 30_000)
        self.assertIn("prefers-color-scheme:dark", picture)

    def test_bars_are_as_long_as_the_logarithm(self):
        entries = [SETUP] + [one("one-to-one-q0", peer, 1, cpu)
                             for peer, cpu in (("noctule", 0.1), ("mosquitto", 1.0), ("rumqttd", 10.0))]
        bars = [element for element in ElementTree.fromstring(chart.svg(results(entries))).iter()
                if element.tag.endswith("rect")]
        short, middle, long = (int(bar.get("width")) for bar in bars)
        self.assertAlmostEqual(middle - short, long - middle, delta=1)
        self.assertGreater(short, 10)

    def test_a_case_that_is_lost_is_marked(self):
        picture = chart.svg(results(sample()))
        self.assertEqual(picture.count("Noctule: behind rumqttd (×1.50)"), 1)
        self.assertEqual(picture.count("Noctule: "), 1)
        self.assertIn("10.0, lost 2,100", picture)


class Rows(unittest.TestCase):
    def test_rows_are_chosen_by_key_and_by_scenario(self):
        self.assertEqual([row.key for row in rows.chosen(["pinned-fan-in-q0", "cross"])], ["cross", "pinned-fan-in-q0"])
        self.assertEqual({row.scenario for row in rows.chosen(["one-to-one"])}, {"one-to-one"})
        self.assertEqual(len(rows.chosen([])), len(rows.BY_KEY))
        with self.assertRaisesRegex(ValueError, "fan-up"):
            rows.chosen(["fan-up"])


if __name__ == "__main__":
    unittest.main()
