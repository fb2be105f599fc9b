"""The shipped scenarios against the gateway's own signal chain and alarm rules, faster than real time.

What the script promises must be detectable by real rules, and a quiet night must be quiet.
"""

import zlib

import numpy as np
import pytest

from vitalwire_edge.alarms import AlarmChange, AlarmConfig, AlarmEngine
from vitalwire_edge.recordings.locate import open_recording
from vitalwire_edge.recordings.recording import Replay
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.wire.frames import Status, Vitals, Wave
from vitalwire_sim import scenario
from vitalwire_sim.physiology.body import Body
from vitalwire_sim.scenario import Device
from vitalwire_sim.script import Occurrence, Script
from vitalwire_sim.wearable import Wearable

EPOCH_NS = 1_800_000_000_000_000_000


def ns(device_s: float) -> int:
    return EPOCH_NS + round(device_s * 1e9)


def raised(device: Device, plan: Script, seconds: float, seed: int) -> list[tuple[float, AlarmChange]]:
    """Alarms that the rules raise, with their time in the script."""
    own = zlib.crc32(f"{seed}/{device.name}".encode())
    body = Body(device.patient, plan, fs_hz=device.fs_hz, seed=own)
    recording = None if device.recording is None else open_recording(device.recording)
    ecg = body if recording is None else Replay(recording, loop=True)
    fs_hz = float(device.fs_hz) if recording is None else recording.fs_hz
    wearable = Wearable(device, plan, ecg, body, fs_hz=fs_hz, seed=own)
    chain, engine = EcgChain(fs_hz=fs_hz), AlarmEngine(device=device.name, config=AlarmConfig())
    changes: list[AlarmChange] = []
    for moment in wearable.moments(seconds):
        for said in moment.said:
            match said.payload:
                case Wave(first_sample=first, samples=samples, lead_off=off):
                    uv = samples.astype(np.float32) * device.scale_uv
                    changes += judged(engine, chain.push(first, uv, lead_off=off), fs_hz)
                case Vitals(readings):
                    values = [(r.code, r.value, r.status) for r in readings]
                    changes += engine.on_vitals(ns(said.device_s), values)
                case Status(battery_percent=battery):
                    changes += engine.on_status(ns(said.device_s), battery)
        changes += engine.on_clock(ns(moment.end_s))
    return [((c.at_ns - EPOCH_NS) / 1e9, c) for c in changes if c.phase == "raised"]


def judged(engine: AlarmEngine, out, fs_hz: float) -> list[AlarmChange]:
    """Beats before the second that holds them, as the gateway feeds them."""
    events = [(beat.sample, 0, beat) for beat in out.beats]
    events += [(second.first_sample + fs_hz, 1, second) for second in out.seconds]
    changes = []
    for _, is_second, event in sorted(events, key=lambda entry: entry[:2]):
        if is_second:
            changes += engine.on_second(event, ns(event.first_sample / fs_hz))
        else:
            changes += engine.on_beat(event, ns(event.sample / fs_hz))
    return changes


def covers(episode: Occurrence, at_s: float) -> bool:
    return episode.start_s - 2 <= at_s <= episode.end_s + episode.nature.settle_s


def explained(plan: Script, at_s: float, alarm: AlarmChange) -> bool:
    onset_s = (alarm.onset_ns - EPOCH_NS) / 1e9
    return any(
        alarm.kind in (*episode.nature.expects, *episode.nature.allows)
        and (covers(episode, at_s) or covers(episode, onset_s))
        for episode in plan.occurrences
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_episode_of_the_ward_is_raised_in_time_and_nothing_else(seed):
    ward = scenario.load("ward")
    for device in ward.devices:
        plan = ward.script(device.name, 90)
        alarms = raised(device, plan, 90, seed)
        for episode in plan.occurrences:
            if not episode.nature.expects:
                continue
            found = [t for t, a in alarms if a.kind in episode.nature.expects and covers(episode, t)]
            assert found, f"{device.name}: {episode} among {[(t, a.kind) for t, a in alarms]}"
            # The demo has to see it, over a link that may be down, before its end.
            assert found[0] < 80
        assert [(round(t), a.kind) for t, a in alarms if not explained(plan, t, a)] == []


def test_lethal_rhythms_are_raised_within_ten_seconds():
    """EC13 and IEC 60601-2-27 allow 10 s from onset to alarm."""
    ward = scenario.load("ward")
    for name, kinds in (("chest-2", ("asystole", "vf")), ("chest-4", ("vt",))):
        plan = ward.script(name, 90)
        alarms = raised(ward.device(name), plan, 90, seed=5)
        for kind in kinds:
            (episode,) = [o for o in plan.occurrences if o.kind == kind]
            first = min(t for t, a in alarms if a.kind in episode.nature.expects and covers(episode, t))
            assert first - episode.start_s <= 10


def test_a_quiet_night_raises_nothing():
    quiet = scenario.load("quiet")
    for device in quiet.devices:
        assert raised(device, quiet.script(device.name, 240), 240, seed=8) == []
