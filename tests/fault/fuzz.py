"""Damaged frames, messages, artifacts, releases, enrolment files, answers of the cloud and Bluetooth values.

Nothing crashes, nothing impossible is stored, nothing unsigned is opened.
Many: python tests/fault/fuzz.py --count 10000000 --jobs 2 --report tests/fault/reports/fuzz.json
"""

import argparse
import json
import math
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import fuzz_gateway
import tiny_model as tiny
from damage import Tally, damaged
from fuzz_enrolment import fuzz_enrolments
from provenance import provenance

from vitalwire_cloud.ingest.decoding import Accepted, Notice, read
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Quarantined
from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import Host, open_artifact, pack
from vitalwire_edge.inference.keys import Root
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.wire.blocks import pack as pack_block
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import (
    Frame,
    FrameDecoder,
    Goodbye,
    Hello,
    Reading,
    Status,
    Vitals,
    Wave,
    WaveChannel,
    encode,
)
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatEvidence,
    BeatMark,
    BeatsMessage,
    ScoreMark,
    ScoresMessage,
    Skip,
    VitalsMessage,
    VitalValue,
    WaveBlock,
    encode_data,
    encode_json,
)

NOW_NS: Final = 1_800_000_000 * 10**9
_FUTURE_NS: Final = 60 * 10**9
_HALF_HOUR_NS: Final = 1800 * 10**9
_STORE_EVERY: Final = 2000
_SHARES: Final = {
    "frames": 0.50,
    "messages": 0.37,
    "artifacts": 0.04,
    "releases": 0.01,
    "enrolments": 0.005,
    "answers": 0.05,
    "bluetooth": 0.025,
}
_HEADER_BYTES: Final = 18
_MODEL: Final = "5a" * 32


def frames() -> list[bytes]:
    """One of every kind."""
    wave = np.arange(50, dtype=np.int16)
    payloads = (
        Hello("chest-1", 1, (WaveChannel(Code.ECG_UNSPECIFIED, 250_000, 2.5),)),
        Wave(0, 1000, wave),
        Wave(0, 1050, wave, lead_off=True),
        Vitals((Reading(Code.SPO2, 97.0), Reading(Code.HEART_RATE, 71.0))),
        Status(80, -60, 0),
        Goodbye(),
    )
    return [encode(Frame(number, number * 200_000, payload)) for number, payload in enumerate(payloads)]


def messages() -> list[tuple[str, bytes]]:
    """Topics and payloads of every stream and of what is no stream."""
    same = {"session": "s1", "seq": 7, "flags": 0}
    codec, data = pack_block(np.arange(250, dtype=np.int16))
    evidence = BeatEvidence(
        r_ns=NOW_NS, rate_hz=250, r_index=2, observed_uv=(1, 2, 900, 3), expected_uv=(1, 2, 800, 3), score=9.0,
        threshold=4.0, shape=3.0, timing=1.0, amplitude=0.5, model=_MODEL, version=1,
    )  # fmt: skip
    alarm = AlarmMessage(
        **same, alarm_id="a1", kind="beat_anomaly", priority="low", category="physiological", phase="raised",
        onset_ns=NOW_NS, at_ns=NOW_NS, text="unusual beat", rule="beat model", value=9.0, limit=4.0, evidence=evidence,
    )  # fmt: skip
    streams = {
        "ecg": WaveBlock(
            **same, code=int(Code.ECG_UNSPECIFIED), device_boot=1, first_sample=0, start_ns=NOW_NS, rate_mhz=250_000,
            scale=2.5, count=250, codec=codec, data=data,
        ),
        "vitals": VitalsMessage(**same, time_ns=NOW_NS, values=(VitalValue(int(Code.SPO2), 97.0),)),
        "beat": BeatsMessage(**same, beats=(BeatMark(NOW_NS, 800.0, 900.0, 90.0, 0.9, False),)),
        "score": ScoresMessage(
            **same, model=_MODEL, version=1, threshold=4.0, scores=(ScoreMark(NOW_NS, 1.0, 1.0, 1.0, 1.0),)
        ),
    }  # fmt: skip
    head = "v1/ward/gw1/chest-1"
    corpus = [(f"{head}/{stream}", encode_data(message)) for stream, message in streams.items()]
    corpus.append((f"{head}/vitals", encode_data(Skip("s1", 3, 9, 100, "age"))))
    corpus.append((f"{head}/alarm", encode_json(alarm)))
    corpus.append(("v1/ward/gw1/death", b'{"session":"s1","expected":true}'))
    return corpus


def fuzz_frames(rng: np.random.Generator, count: int, tally: Tally) -> None:
    """Damage frames, half of them with a checksum that is right, and decode them from one stream."""
    corpus = frames()
    decoder = FrameDecoder()
    for _ in range(count):
        data = damaged(rng, corpus)
        if rng.random() < 0.5 and len(data) > _HEADER_BYTES + 4:
            data = _checked(data)
        cut = int(rng.integers(len(data) + 1))
        for part in (data[:cut], data[cut:]):
            for frame in decoder.feed(part):
                tally.outcomes["frame read"] += 1
                _sound_frame(frame)
    tally.outcomes["frames with a wrong checksum"] += decoder.counters.bad_crc
    tally.outcomes["frames with a wrong payload"] += decoder.counters.bad_payload


def _checked(data: bytes) -> bytes:
    """`data` with length and checksum made right, so that what is inside is looked at."""
    body = bytearray(data[2:-4])
    struct.pack_into("<H", body, 2, max(0, len(data) - _HEADER_BYTES - 4) % 2**16)
    return b"\xa5\x5a" + bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))


def _sound_frame(frame: Frame) -> None:
    match frame.payload:
        case Wave(samples=samples):
            assert 0 < samples.size <= 2000
            assert samples.dtype == np.int16
        case Hello(channels=channels):
            assert all(channel.rate_mhz > 0 and channel.scale > 0 for channel in channels)
        case _:
            pass


def fuzz_messages(rng: np.random.Generator, count: int, tally: Tally, folder: Path) -> None:
    """Damage messages, let ingest judge them, store what it accepts and look at what the store holds."""
    corpus = messages()
    by_topic: dict[str, list[bytes]] = {}
    for topic, payload in corpus:
        by_topic.setdefault(topic, []).append(payload)
    payloads = [payload for _, payload in corpus]
    topics = list(by_topic)
    store = EmbeddedStore(folder, quarantine_rows=100)
    accepted, aside = [], []
    with closing(store):
        for _ in range(count):
            topic = topics[int(rng.integers(len(topics)))]
            data = damaged(rng, by_topic[topic] if rng.random() < 0.9 else payloads)
            match read(topic, data, received_ns=NOW_NS, max_future_ns=_FUTURE_NS):
                case Accepted(item=item):
                    tally.outcomes["message accepted"] += 1
                    accepted.append(item)
                case Quarantined() as found:
                    tally.outcomes["message set aside"] += 1
                    assert found.reason
                    aside.append(found)
                case Notice():
                    tally.outcomes["notice read"] += 1
            if len(accepted) + len(aside) >= _STORE_EVERY:
                store.write(accepted, aside)
                accepted, aside = [], []
        store.write(accepted, aside)
        tally.outcomes["values read back"] += _sound_store(store)


def _sound_store(store: EmbeddedStore) -> int:
    """Every number in the store is finite and of a possible time; the number of them."""
    seen = 0
    last_ns = 2**63 - 1
    device = "chest-1"
    for code in (int(code) for code in Code):
        for segment in store.strip(device, code, NOW_NS - _HALF_HOUR_NS, NOW_NS + _HALF_HOUR_NS):
            assert np.isfinite(segment.samples).all()
            assert segment.rate_hz > 0
            seen += segment.samples.size
    numbers: list[float | None] = []
    numbers += [point.value for point in store.vitals(device, 0, last_ns)]
    for beat in store.beats(device, 0, last_ns):
        numbers += [beat.rr_ms, beat.amplitude_uv, beat.width_ms, beat.quality]
    for score in store.scores(device, 0, last_ns):
        numbers += [score.score, score.shape, score.timing, score.amplitude, score.threshold]
    assert all(number is None or math.isfinite(number) for number in numbers)
    seen += len(numbers)
    return seen


def fuzz_artifacts(rng: np.random.Generator, count: int, tally: Tally) -> None:
    """Damage a signed artifact, or a part of it in a right container; what is not the signed file is refused."""
    root = Root.new()
    signer = root.delegate(now_ns=NOW_NS, expires_ns=NOW_NS + 86_400 * 10**9)
    good = pack(tiny.parts(), tiny.manifest(), signer)
    host = Host("x86_64", ("ai-edge-litert",))
    parts = container.read(good)
    for _ in range(count):
        if rng.random() < 0.5:
            name = list(parts)[int(rng.integers(len(parts)))]
            data = container.write({**parts, name: damaged(rng, [parts[name]])})
        else:
            data = damaged(rng, [good])
        try:
            open_artifact(data, root.trust, now_ns=NOW_NS, host=host)
        except ArtifactRefusedError as error:
            tally.outcomes[f"artifact refused: {error.reason.value}"] += 1
        else:
            assert data == good, "a changed artifact was opened"
            tally.outcomes["artifact unchanged by chance"] += 1


def fuzz(seed: int, count: int, only: str | None = None) -> Tally:
    """Try `count` damaged inputs in the fixed shares, or all of one kind."""
    tally = Tally()
    shares = _SHARES if only is None else {only: 1.0}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        work: dict[str, Callable[[np.random.Generator, int, Tally], None]] = {
            "frames": fuzz_frames,
            "messages": lambda rng, n, found: fuzz_messages(rng, n, found, Path(scratch) / "store"),
            "artifacts": fuzz_artifacts,
            "releases": fuzz_gateway.fuzz_releases,
            "enrolments": lambda rng, n, found: fuzz_enrolments(rng, n, found, Path(scratch) / "enrolment"),
            "answers": fuzz_gateway.fuzz_answers,
            "bluetooth": fuzz_gateway.fuzz_bluetooth,
        }
        for place, (name, share) in enumerate(shares.items()):
            rng = np.random.default_rng((seed, place))
            try:
                work[name](rng, round(count * share), tally)
            except Exception as error:  # noqa: BLE001 - every one of them is what is looked for
                tally.failures.append(f"{name}, seed {seed}: {type(error).__name__}: {error}")
            tally.tried[name] += round(count * share)
    return tally


def main() -> int:
    """Fuzz and write what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="how many damaged inputs")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=tuple(_SHARES), help="inputs of one kind")
    parser.add_argument("--report", type=Path, help="JSON to write")
    arguments = parser.parse_args()
    began = time.monotonic()
    head = provenance(f"python tests/fault/fuzz.py {' '.join(sys.argv[1:])}")
    whole = Tally()
    parts = list(_parts(arguments.count))

    def report() -> str:
        found = {
            **head,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "inputs_wanted": arguments.count,
            "inputs": whole.tried.total(),
            "tried": dict(whole.tried),
            "outcomes": dict(sorted(whole.outcomes.items())),
            "failures": whole.failures,
        }
        return json.dumps(found, indent=1) + "\n"

    with ProcessPoolExecutor(arguments.jobs) as pool:
        seeds = [arguments.seed * 100_000 + number for number in range(len(parts))]
        for number, tally in enumerate(pool.map(fuzz, seeds, parts, repeat(arguments.only)), start=1):
            whole.add(tally)
            sys.stderr.write(f"\r{number}/{len(parts)} parts, {len(whole.failures)} failures")
            if arguments.report is not None:
                arguments.report.parent.mkdir(parents=True, exist_ok=True)
                arguments.report.write_text(report())
    sys.stderr.write("\n")
    sys.stdout.write(report())
    return 1 if whole.failures else 0


def _parts(count: int, each: int = 100_000) -> Iterator[int]:
    while count > 0:
        yield min(each, count)
        count -= each


if __name__ == "__main__":
    raise SystemExit(main())
