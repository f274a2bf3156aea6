"""The judging of benches/compare, with rounds that are made up; nothing is measured."""

import contextlib
import importlib.machinery
import importlib.util
import io
import math
import pathlib
import sys
import unittest
import unittest.mock

sys.dont_write_bytecode = True
FILE = pathlib.Path(__file__).parent / "compare"
LOADER = importlib.machinery.SourceFileLoader("compare", str(FILE))
compare = importlib.util.module_from_spec(importlib.util.spec_from_loader("compare", LOADER))
LOADER.exec_module(compare)

PAIRS = 9
KEY = ("256b-1", "", "entries_per_s")


def measured(class_, cost):
    return {KEY: (class_, cost)}


class Judging(unittest.TestCase):
    def setUp(self):
        self.comparison = compare.Comparison(PAIRS)

    def rounds(self, count, class_, new, after=1.0):
        for _ in range(count):
            self.comparison.add(measured(class_, 1.0), measured(class_, new), measured(class_, after))

    def verdicts(self):
        return {class_: verdict for _, class_, *_, verdict in self.comparison.verdicts()}

    def ends(self, status, rounds, verdicts):
        self.assertTrue(self.comparison.is_complete(rounds))
        self.assertEqual(self.verdicts(), verdicts)
        self.assertEqual(self.comparison.status(), status)

    def test_a_class_with_enough_rounds_is_judged(self):
        for new, status, verdict in [(1.029, 0, "ok"), (1.031, 1, "SLOWER"), (0.5, 0, "ok"), (math.inf, 1, "SLOWER")]:
            self.setUp()
            self.rounds(PAIRS, "near", new)
            self.ends(status, PAIRS, {"near": verdict})

    def test_what_the_old_one_differs_from_itself_is_allowed(self):
        self.rounds(PAIRS, "far", 1.12, after=1.1)
        self.ends(0, PAIRS, {"far": "ok"})

    def test_one_round_of_a_class_is_no_verdict(self):
        self.rounds(PAIRS - 1, "near", 1.0)
        self.rounds(1, "far", 2.0)
        self.assertFalse(self.comparison.is_complete(PAIRS))
        self.rounds(1, "near", 1.0)
        self.ends(0, PAIRS + 1, {"near": "ok", "far": "not judged"})

    def test_mixed_rounds_are_no_verdict_and_their_number_has_a_bound(self):
        for rounds in range(1, 3 * PAIRS + 1):
            self.comparison.add(measured("near", 1.0), measured("far", 2.0), measured("near", 1.0))
            self.assertEqual(self.comparison.is_complete(rounds), rounds == 3 * PAIRS)
        self.ends(2, 3 * PAIRS, {"mixed": "not judged"})

    def test_every_number_is_waited_for(self):
        other = ("1k-1", "", "entries_per_s")
        for rounds in range(1, PAIRS + 2):
            class_ = "near" if rounds > 1 else "mixed"
            both = {KEY: ("near", 1.0), other: (class_, 1.0)}
            self.comparison.add(both, both, both)
            self.assertEqual(self.comparison.is_complete(rounds), rounds > PAIRS)
        self.assertEqual(self.comparison.unjudged(), [])

    def test_nothing_is_no_verdict(self):
        self.rounds(PAIRS, "near", 0.0, after=0.0)
        self.ends(2, PAIRS, {})

    def test_measuring_goes_on_until_a_class_has_enough(self):
        # Near and far take turns, so that near has its nine rounds after seventeen.
        taken = []

        def measure(library, _):
            taken.append(library)
            return measured("far" if (len(taken) - 1) // 3 % 2 else "near", 1.0)

        with unittest.mock.patch.object(compare, "measure", measure), contextlib.redirect_stderr(io.StringIO()):
            comparison = compare.compare(PAIRS, "old", "new", [])
        self.assertEqual(taken, ["old", "new", "old"] * (2 * PAIRS - 1))
        self.assertEqual(comparison.status(), 0)

    def test_costs_rise_where_numbers_fall(self):
        def line(metric, median, better, type_="measurement"):
            case, variant = "trim", "segments go"
            return dict(
                type=type_, case=case, variant=variant, metric=metric, median=median, better=better, ping="near"
            )

        lines = [
            line("entries_per_s", 4.0, "more"),
            line("p50_ns", 70.0, "less"),
            line("appends_per_s", 0.0, "more"),
            line("clock_ns", 9.0, "less"),
            line("p99_ns", 80.0, "less", "target"),
        ]
        found = {metric: cost for (_, _, metric), (_, cost) in compare.costs(lines).items()}
        self.assertEqual(found, {"entries_per_s": 0.25, "p50_ns": 70.0, "appends_per_s": math.inf})


if __name__ == "__main__":
    unittest.main()
