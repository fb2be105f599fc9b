"""What the gateway reports of itself while it works."""

from collections import Counter

from vitalwire_edge.report import total


class CountedInMeanwhile(Counter):
    """A counter in which another thread finds something new to count while it is walked."""

    def items(self):
        for each in super().items():
            self[f"new {len(self)}"] += 1
            yield each


def test_counters_are_summed_while_others_count_in_them():
    together = total(Counter(a=1), CountedInMeanwhile(a=2, b=3))
    assert together == {"a": 3, "b": 3}
