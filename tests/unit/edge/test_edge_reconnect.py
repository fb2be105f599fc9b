"""The back-off doubles, is bounded and jittered, and starts anew after a good connection."""

from random import Random

from vitalwire_edge.link.reconnect import LinkPhase, Reconnect

NS = 1_000_000_000


def test_waits_grow_to_the_limit_and_not_beyond():
    reconnect = Reconnect(first_s=0.5, most_s=15, random=Random(1))
    waits = []
    now = 0
    for _ in range(200):
        assert reconnect.may_connect(now)
        reconnect.connecting()
        assert not reconnect.may_connect(now)
        waits.append(reconnect.failed(now))
        assert not reconnect.may_connect(reconnect.retry_ns - 1)
        now = reconnect.retry_ns
    assert all(0.25 <= wait <= 15 for wait in waits)
    assert waits[0] <= 0.5
    assert max(waits[10:]) > 12
    assert len({round(w, 3) for w in waits[10:]}) > 100


def test_a_connection_that_held_starts_anew_and_one_that_did_not_goes_on():
    reconnect = Reconnect(first_s=1, most_s=1000, random=Random(2))
    for _ in range(8):
        reconnect.failed(0)
    reconnect.connected(0)
    assert reconnect.phase is LinkPhase.UP
    reconnect.failed(NS)
    reconnect.connected(0)
    assert reconnect.failed(20 * NS) <= 1
