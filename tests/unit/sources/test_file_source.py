"""A recording replayed as a wearable: every sample once, at the rate it was taken, gaps as gaps."""

import time

import numpy as np
import pytest

from vitalwire_edge.sources.config import FileConfig
from vitalwire_edge.sources.file import FileSource
from vitalwire_edge.sources.inbox import Arrived, Closed, Inbox, Opened, SourceError
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Goodbye, Hello, Wave

FS_HZ = 500


@pytest.fixture
def record(tmp_path):
    """1.1 s of a ramp in mV at 500 Hz, with 50 samples that were not recorded."""
    rows = [f"{n / FS_HZ:.3f},{'' if 200 <= n < 250 else n / 1000}" for n in range(550)]
    path = tmp_path / "ramp.csv"
    path.write_text("time_s,MLII [mV]\n" + "\n".join(rows) + "\n")
    return path


def events_of(inbox, condition, timeout_s=10.0):
    events = []
    until = time.monotonic() + timeout_s
    while not condition(events):
        events += inbox.take(0.02)
        assert time.monotonic() < until, events
    return events


def test_every_sample_once_in_real_time(record):
    inbox = Inbox()
    source = FileSource(FileConfig(enabled=True, record=str(record), device="replay-1"), inbox)
    began = time.monotonic()
    source.start()
    events = events_of(inbox, lambda found: any(isinstance(e, Closed) for e in found))
    took = time.monotonic() - began
    source.stop()
    assert isinstance(events[0], Opened)
    assert events[-1].reason == "end of the recording"
    frames = [frame for e in events if isinstance(e, Arrived) for frame in e.data]
    hello = frames[0].payload
    assert isinstance(hello, Hello)
    assert (hello.device, hello.channels[0].code, hello.channels[0].rate_mhz) == (
        "replay-1",
        Code.ECG_II,
        500_000,
    )
    assert isinstance(frames[-1].payload, Goodbye)
    waves = [f.payload for f in frames if isinstance(f.payload, Wave)]
    counters = np.concatenate([np.arange(w.first_sample, w.first_sample + w.samples.size) for w in waves])
    assert counters.tolist() == [*range(200), *range(250, 550)]
    assert np.concatenate([w.samples for w in waves]).tolist() == counters.tolist()
    assert 1.05 <= took < 3
    ends = [f.device_us for f in frames if isinstance(f.payload, Wave)]
    assert ends[-1] == 1_100_000
    assert source.state().connected == 0
    assert source.problem() is None


def test_a_loop_goes_on_until_it_is_stopped(record):
    inbox = Inbox()
    source = FileSource(FileConfig(enabled=True, record=str(record), loop=True), inbox)
    source.start()
    events = events_of(
        inbox,
        lambda found: any(f.device_us > 1_200_000 for e in found if isinstance(e, Arrived) for f in e.data),
    )
    source.stop()
    events += inbox.take(0)
    assert events[-1].reason == "gateway stopping"


def test_a_recording_that_is_not_there_is_named(tmp_path, monkeypatch):
    # With a folder to look in, too: an absolute name is not to be looked for below it.
    monkeypatch.setenv("VITALWIRE_DATA", str(tmp_path))
    source = FileSource(FileConfig(enabled=True, record=str(tmp_path / "none")), Inbox())
    with pytest.raises(SourceError, match="no recording"):
        source.start()
    source.stop()
