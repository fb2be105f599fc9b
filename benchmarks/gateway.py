"""How many patients one core of a gateway carries on the full path, and where its time goes.

Every patient is a wearable at 250 Hz in frames of 0.2 s, from the bytes of the frame protocol to rows in a spool on
disk: checksum, order, clock, filters, QRS, beats, quality, alarm rules, beat scores, waveform coding, SQLite. Frames
come as fast as they are taken, with the arrival times of real life. Beside it, in the same run, what a gateway without
a signal path would do: decode the frames and write them as JSON lines.

    python benchmarks/gateway.py --patients 64 --seconds 60
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import structlog

from vitalwire_edge.agent import Agent
from vitalwire_edge.config import EdgeConfig, SpoolConfig
from vitalwire_edge.sources.config import SourcesConfig, TcpConfig
from vitalwire_edge.sources.inbox import Arrived, Opened
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import (
    Frame,
    FrameDecoder,
    Hello,
    Reading,
    Vitals,
    Wave,
    WaveChannel,
    encode,
)

FS_HZ = 250
FRAME_SAMPLES = 50
NS_PER_S = 1_000_000_000
_COUNTED_S = 1.5
"""The spool's account of what it took is at most a second old."""
_LOADED_S = 60.0


class Bed:
    """One patient's way in, with all of its bytes made beforehand."""

    def __init__(self, number: int, seconds: int) -> None:
        self.label = f"bed {number}"
        rng = np.random.default_rng(number)
        counts = heart(seconds * FS_HZ, 60 + number % 40, rng)
        name = f"bed-{number}"
        hello = Hello(name, 1, (WaveChannel(Code.ECG_UNSPECIFIED, FS_HZ * 1000, 2.5),))
        self.frames = [encode(Frame(0, 0, hello))]
        sequence = 1
        for index in range(seconds * FS_HZ // FRAME_SAMPLES):
            first = index * FRAME_SAMPLES
            clock_us = first * 1_000_000 // FS_HZ
            payloads = [Wave(0, first, counts[first : first + FRAME_SAMPLES])]
            if index % 5 == 0:
                payloads.append(Vitals((Reading(Code.SPO2, 97.0), Reading(Code.RESPIRATION_RATE, 15.0))))
            self.frames.append(
                b"".join(encode(Frame(sequence + k, clock_us, p)) for k, p in enumerate(payloads))
            )
            sequence += len(payloads)

    def close(self) -> None:
        """Nobody waits for it."""


def heart(samples: int, rate_bpm: float, rng: np.random.Generator) -> np.ndarray:
    """Counts of 2.5 uV of an ECG with P, QRS and T, a rate that varies, and muscle noise."""
    uv = rng.normal(0, 12, samples)
    t = np.arange(-FS_HZ // 2, FS_HZ // 2) / FS_HZ
    waves = (
        (120, -0.16, 0.025),
        (-80, -0.025, 0.01),
        (1000, 0.0, 0.012),
        (-150, 0.03, 0.012),
        (250, 0.25, 0.05),
    )
    beat = sum(height * np.exp(-0.5 * ((t - at) / width) ** 2) for height, at, width in waves)
    at = 0.4
    while (place := round(at * FS_HZ)) + t.size // 2 < samples:
        if place >= t.size // 2:
            uv[place - t.size // 2 : place + t.size // 2] += beat
        at += 60 / rate_bpm * rng.normal(1, 0.03)
    return np.clip(np.round(uv / 2.5), -32000, 32000).astype(np.int16)


def full_path(beds: list[Bed], folder: Path) -> tuple[float, dict[str, int]]:
    """CPU seconds of everything a gateway does with these frames, and what it counted."""
    (folder / "key").write_text("ab" * 32)
    config = EdgeConfig(
        key_file=str(folder / "key"),
        spool=SpoolConfig(path=str(folder / "spool.sqlite"), pending_rows=100_000),
        sources=SourcesConfig(tcp=TcpConfig(enabled=False)),
    )
    agent = Agent(config)
    agent.start()
    _await_model(agent)
    door = agent.door
    base_ns = time.monotonic_ns()
    for bed in beds:
        door.handle(Opened(bed))
    began = time.process_time()
    for index in range(len(beds[0].frames)):
        arrival_ns = base_ns + index * FRAME_SAMPLES * NS_PER_S // FS_HZ
        for bed in beds:
            door.handle(Arrived(bed, arrival_ns, bed.frames[index]))
        if index % 5 == 0:
            door.tick(arrival_ns)
    door.flush()
    while not agent.spool.written:
        time.sleep(0.01)
    used = time.process_time() - began
    time.sleep(_COUNTED_S)
    report = agent.report()
    counted = {name: device.accepted for name, device in report.devices.items()}
    agent.link.stop()
    agent.spool.close()
    agent.announcer.stop()
    sums: dict[str, int] = {}
    for accepted in counted.values():
        for stream, count in accepted.items():
            sums[stream] = sums.get(stream, 0) + count
    for name in ("beats_scored", "beats_abstained", "beats_missed"):
        sums[name] = report.counters.get(name, 0)
    return used, sums


def _await_model(agent: Agent) -> None:
    """The models' thread loads while the first beats pass; here nothing may pass before."""
    until = time.monotonic() + _LOADED_S
    while agent.models.slot.loaded is None:
        if time.monotonic() > until:
            raise TimeoutError(f"no model scores after {_LOADED_S:g} s: {agent.models.state.problem}")
        time.sleep(0.01)


def json_lines(beds: list[Bed], folder: Path) -> float:
    """CPU seconds of decoding the same frames and writing their samples as lines of JSON."""
    began = time.process_time()
    with (folder / "lines.json").open("w") as out:
        for bed in beds:
            decoder = FrameDecoder()
            for data in bed.frames:
                for frame in decoder.feed(data):
                    if isinstance(frame.payload, Wave):
                        row = {
                            "device": bed.label,
                            "t": frame.device_us,
                            "ecg": frame.payload.samples.tolist(),
                        }
                        out.write(json.dumps(row) + "\n")
    return time.process_time() - began


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--profile", type=Path, help="write a cProfile of the full path here")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    beds = [Bed(number, arguments.seconds) for number in range(arguments.patients)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        warm = [Bed(1000, 8)]
        (folder / "warm").mkdir()
        full_path(warm, folder / "warm")
        if arguments.profile is not None:
            import cProfile  # noqa: PLC0415 - only here

            with cProfile.Profile() as profile:
                full_path(beds, folder)
            profile.dump_stats(arguments.profile)
            return 0
        used_s, counted = full_path(beds, folder)
        plain_s = json_lines(beds, folder)
    patient_s = arguments.patients * arguments.seconds
    print(
        f"{arguments.patients} patients for {arguments.seconds} s: {used_s:.2f} s of CPU; accepted {counted}"
    )
    print(
        f"patients per core: {patient_s / used_s:.0f} (one patient takes {used_s / patient_s:.3%} of a core)"
    )
    print(f"the same frames decoded and written as JSON lines: {patient_s / plain_s:.0f} patients per core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
