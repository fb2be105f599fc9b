"""Twenty storms; `python tests/fault/storm.py --seeds 1000` runs as many as wanted."""

import pytest
from storm import play
from weather import weather


@pytest.mark.parametrize("seed", range(20))
def test_what_a_gateway_took_in_is_stored_once(seed, tmp_path):
    outcome = play(weather(seed), tmp_path / "site")
    assert outcome.problems == ()
    assert outcome.stored_samples > 0
