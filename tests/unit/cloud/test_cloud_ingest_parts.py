"""Parts of ingest one by one: what is let in, what a gateway is told and when, and which keys are used."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import SECOND_NS, T0, alarm, vitals, wave

from vitalwire_cloud.config import CloudConfig, IngestConfig, read_secret
from vitalwire_cloud.ingest.commits import MAX_RANGES, CommitTeller
from vitalwire_cloud.ingest.decoding import Accepted, Notice, read
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_cloud.ingest.link import subscriptions
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Quarantined, SeriesKey
from vitalwire_edge.process.config import ConfigError, load
from vitalwire_edge.wire.messages import (
    MAX_MESSAGE_BYTES,
    Skip,
    decode_committed,
    encode_data,
    encode_json,
    unseal,
)
from vitalwire_edge.wire.topics import STREAMS

DAY_NS = 86_400 * SECOND_NS
HEAD = "v1/ward-3/gw-1/w-1"


def taken(topic: str, payload: bytes):
    return read(topic, payload, received_ns=T0, max_future_ns=DAY_NS)


@settings(deadline=None)
@given(
    st.sampled_from(
        [*(f"{HEAD}/{s}" for s in STREAMS), "v1/ward-3/gw-1/birth", f"{HEAD}/death", "v2/a/b/c", ""]
    ),
    st.binary(max_size=200)
    | st.just(encode_data(wave(0).message))
    | st.just(encode_json(alarm(0, "raised"))),
)
def test_no_bytes_on_any_topic_raise(topic, payload):
    assert isinstance(taken(topic, payload), Accepted | Notice | Quarantined)


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_block_is_never_let_in_with_other_samples(at, value):
    good = encode_data(wave(3).message)
    at %= len(good)
    bad = good[:at] + bytes([value]) + good[at + 1 :]
    what = taken(f"{HEAD}/ecg", bad)
    if isinstance(what, Accepted):
        assert what.samples is not None
        assert what.samples.size == what.item.message.count
    else:
        assert what.reason


def test_a_good_message_of_each_stream_is_let_in_with_its_samples():
    block = taken(f"{HEAD}/ecg", encode_data(wave(3).message))
    assert isinstance(block, Accepted)
    np.testing.assert_array_equal(block.samples, np.arange(750, 1000))
    assert isinstance(taken(f"{HEAD}/vitals", encode_data(vitals(0).message)), Accepted)
    assert isinstance(taken(f"{HEAD}/alarm", encode_json(alarm(0, "raised"))), Accepted)
    skip = taken(f"{HEAD}/alarm", encode_data(Skip(session="s", first=1, last=2, samples=0, reason="age")))
    assert isinstance(skip, Accepted)
    assert skip.item.stream == "alarm"


@pytest.mark.parametrize(
    ("stream", "payload", "reason", "placed"),
    [
        ("vitals", encode_data(vitals(4, float("nan")).message), "finite", True),
        ("vitals", encode_data(vitals(4, 9000.0).message), "not possible", True),
        (
            "vitals",
            encode_data(msgspec.structs.replace(vitals(4).message, values=())),
            "without a number",
            True,
        ),
        ("vitals", encode_data(wave(4).message), "another stream", True),
        ("ecg", encode_data(wave(4, code=147842).message), "not a waveform", True),
        ("ecg", encode_data(wave(4, start_ns=T0 + 2 * DAY_NS).message), "too far in the future", True),
        ("ecg", encode_data(wave(4, start_ns=10).message), "before 2020", True),
        ("ecg", encode_data(wave(4, session="").message), "session", False),
        ("ecg", encode_data(wave(4, session="x" * 200).message), "session", False),
        ("ecg", encode_data(wave(4, count=251).message), "does not hold 251", True),
        ("ecg", encode_data(wave(4, device_boot=2**63).message), "beyond 64 bits", True),
        ("ecg", b"x" * (MAX_MESSAGE_BYTES + 1), "at most", False),
        ("alarm", encode_json(alarm(4, "raised", alarm_id="")), "alarm id", True),
        ("alarm", encode_json(alarm(4, "raised", at_ns=10)), "before 2020", True),
        ("alarm", b'{"session": "s", "seq": 4}', "AlarmMessage", True),
        ("alarm", encode_data(wave(4).message), "another stream", True),
    ],
)
def test_what_no_store_should_hold_is_set_aside_with_its_place_where_known(stream, payload, reason, placed):
    what = taken(f"{HEAD}/{stream}", payload)
    assert isinstance(what, Quarantined)
    assert reason in what.reason
    assert (what.seq == 4) is placed
    assert (what.series is not None) is placed


def test_subscriptions_share_data_and_give_state_to_everybody():
    assert subscriptions("ward-3", "g")[0] == "$share/g-ecg/v1/ward-3/+/+/ecg"
    filters = subscriptions(None, "ingest")
    assert "v1/+/+/status" in filters
    assert sum(f.startswith("$share/ingest-") for f in filters) == len(STREAMS)


class Outbox:
    """Where the teller publishes; `up` False is a lost connection."""

    def __init__(self) -> None:
        self.up = True
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        assert expiry_s is None or topic.endswith("/cmd"), "only commands may expire"
        if self.up:
            self.sent.append((topic, payload))
        return self.up


@pytest.fixture
def telling(tmp_path):
    store = EmbeddedStore(tmp_path / "data")
    key = bytes(range(32))
    (tmp_path / "gw-1.key").write_text(key.hex() + "\n")
    outbox, now = Outbox(), [100.0]
    teller = CommitTeller(store, outbox, KeyRing(tmp_path), interval_s=0.1, clock=lambda: now[0])

    def told() -> list:
        opened = [decode_committed(unseal(key, topic, payload)) for topic, payload in outbox.sent]
        return [stream for message in opened for stream in message.streams]

    yield store, teller, outbox, now, told
    store.close()


ECG_SERIES = SeriesKey("gw-1", "w-1", "ecg", "s-1")


def test_a_gateway_is_told_at_most_every_interval_and_always_the_latest(telling):
    store, teller, outbox, now, told = telling
    for seq in range(10):
        store.write([wave(seq)], [])
        teller.note("ward-3", ECG_SERIES)
        teller.tell()
        now[0] += 0.03
    assert len(outbox.sent) == 3
    now[0] += 0.1
    teller.tell()
    assert told()[-1].low_water == 10
    now[0] += 1
    teller.tell()
    assert len(outbox.sent) == 4, "nothing new, nothing said"
    assert {topic for topic, _ in outbox.sent} == {"v1/ward-3/gw-1/committed"}


def test_a_gateway_that_catches_up_is_told_before_the_interval_is_over(telling):
    store, teller, outbox, _, told = telling
    teller.note("ward-3", ECG_SERIES)
    teller.tell()
    store.write([wave(seq) for seq in range(200)], [])
    teller.note("ward-3", ECG_SERIES, 100)
    teller.tell()
    assert len(outbox.sent) == 1
    teller.note("ward-3", ECG_SERIES, 100)
    teller.tell()
    assert [stream.low_water for stream in told()] == [200]


def test_what_could_not_be_said_is_said_later(telling):
    store, teller, outbox, now, told = telling
    store.write([wave(0)], [])
    outbox.up = False
    teller.note("ward-3", ECG_SERIES)
    teller.note_all("ward-3", "gw-1", "s-1")
    teller.tell()
    assert outbox.sent == []
    outbox.up = True
    now[0] += 1
    teller.tell()
    assert [s.low_water for s in told()] == [1, 1]


def test_a_torn_ledger_fits_into_messages(telling):
    store, teller, outbox, _, told = telling
    for device in range(20):
        store.write([wave(seq, device=f"w-{device}") for seq in range(1, 2 * MAX_RANGES + 40, 2)], [])
    teller.note_all("ward-3", "gw-1", "s-1")
    teller.tell()
    assert all(len(payload) <= MAX_MESSAGE_BYTES for _, payload in outbox.sent)
    assert len(told()) == 20
    assert all(len(s.ranges) == MAX_RANGES and s.ranges[0] == (1, 1) for s in told())


def test_a_newborn_gateway_hears_that_nothing_is_stored(telling):
    _, teller, outbox, _, told = telling
    teller.note_all("ward-3", "gw-1", "s-new")
    teller.tell()
    assert (len(outbox.sent), told()) == (1, [])


def test_births_are_asked_for_at_most_every_few_seconds_and_sealed(telling):
    _, teller, outbox, now, _ = telling
    for _ in range(20):
        teller.ask_rebirth("ward-3", "gw-1", "test")
        now[0] += 0.5
    assert len(outbox.sent) == 2
    topic, payload = outbox.sent[0]
    assert json.loads(unseal(bytes(range(32)), topic, payload))["command"] == "rebirth"
    teller.ask_rebirth("ward-3", "gw-without-key", "test")
    assert len(outbox.sent) == 2


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_an_unusable_key_is_no_key(tmp_path, text):
    (tmp_path / "gw-1.key").write_text(text)
    assert KeyRing(tmp_path).get("gw-1") is None


def test_configuration_layers_and_secrets(tmp_path):
    file = tmp_path / "cloud.toml"
    file.write_text('site = "ward-3"\n[mqtt]\nport = 1\n[alerts]\nescalate_after_s = 7.5\n')
    loaded = load(
        CloudConfig,
        path=file,
        env_prefix="VITALWIRE_CLOUD",
        flags={"web.port": "0"},
        environ={"VITALWIRE_CLOUD_MQTT__PORT": "2"},
    )
    assert (loaded.site, loaded.mqtt.port, loaded.alerts.escalate_after_s, loaded.web.port) == (
        "ward-3",
        2,
        7.5,
        0,
    )
    assert loaded.keys == loaded.data / "keys"
    assert loaded.ingest == IngestConfig()
    for bad in ({"mqtt.port": 70000}, {"site": "A B"}, {"ingest.batch_messages": 0}, {"log_level": "loud"}):
        with pytest.raises(ConfigError):
            load(CloudConfig, env_prefix="VITALWIRE_CLOUD", flags=bad, environ={})
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        read_secret(str(tmp_path / "secret"), "token file")
