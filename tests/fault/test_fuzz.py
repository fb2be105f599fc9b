"""Twenty thousand damaged inputs; `python tests/fault/fuzz.py --count 10000000` tries as many as wanted."""

from fuzz import fuzz


def test_damaged_input_crashes_nothing_and_nothing_impossible_is_stored():
    tally = fuzz(seed=1, count=20_000)
    assert tally.failures == []
    assert tally.outcomes["frame read"] > 100
    assert tally.outcomes["message accepted"] > 100
    assert tally.outcomes["message set aside"] > 1000
    assert tally.outcomes["values read back"] > 100
    assert sum(n for name, n in tally.outcomes.items() if name.startswith("artifact refused")) > 700
    assert tally.outcomes["answer refused"] > 500
    assert sum(n for name, n in tally.outcomes.items() if name.startswith("bluetooth value read")) > 100
    assert sum(n for name, n in tally.outcomes.items() if name.startswith("release refused")) > 100
    assert tally.outcomes["enrolment file refused"] > 50
