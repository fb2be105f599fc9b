"""Protocol P3: streaming QRS detection: accuracy, speed, decision time, the same for every block size, under noise.

All beats of all records found, full length, first channel, 150 ms window (EC57); `!` and the spans `[` to `]` are left
out. Our detector is fed blocks of one second; the others get the whole recording.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.detectors import Detector, installed, missing
from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, Strip, meets, silent
from vitalwire_cloud.train.dataset import NoRecordError
from vitalwire_edge.signal.qrs import QrsBank
from vitalwire_edge.signal.resample import ResamplerBank
from vitalwire_edge.signal.scoring import TOLERANCE_S, DetectionScore, match_beats

BAR: Final = {
    "se": 99.8,
    "f1": 99.6,
    "x_realtime": 20_000.0,
    "decision_ms_max": 300.0,
    "same_for_blocks": 1.0,
}
STREAMS: Final = 64
BLOCKS: Final = (1, 7, 36, 250, 3600)
BLOCK_S: Final = 120.0
"""How much of a record is fed sample by sample to show that the output does not depend on blocks."""

FAST: Final = 5_000.0
"""Peers slower than this, in times real time, are left out of the fifteen tables under noise."""

KINDS: Final = ("em", "ma", "bw")
SNRS_DB: Final = (24, 18, 12, 6, 0)
_FIRST_S: Final = 300.0
_WORST: Final = 4


@dataclass(frozen=True, slots=True)
class Detection:
    """Beats of one record, and how long after the R peak each was decided."""

    samples: NDArray[np.float64]
    decision_ms: NDArray[np.float64]


def detect(ecg_uv: NDArray[np.float32], fs_hz: float, block: int | None = None) -> Detection:
    """Run our detector over one record in blocks (of one second unless told otherwise)."""
    block = block or round(fs_hz)
    resampler = ResamplerBank(1, fs_hz=fs_hz)
    plan = resampler.plan
    bank = QrsBank(1, delay_ms=plan.delay_ms(fs_hz))
    samples: list[float] = []
    waits: list[float] = []
    for start in range(0, ecg_uv.size, block):
        events = bank.push(resampler.push(ecg_uv[None, start : start + block]))
        for k in range(int(events.counts[0])):
            at = plan.device_sample(float(events.position[0, k]))
            samples.append(at)
            waits.append((plan.needed_sample(int(events.decided[0, k])) - round(at)) * 1000.0 / fs_hz)
    return Detection(np.asarray(samples), np.asarray(waits))


def ours(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """Our detector in the shape of the others."""
    return detect(ecg_uv, fs_hz).samples


def score(
    record: Recorded, detected: NDArray[np.float64], use: NDArray[np.bool_] | None = None
) -> DetectionScore:
    """Count hits, misses and extras; `use` marks the samples that count."""
    counted, hit, extra = _outcomes(record, detected)
    if use is not None:
        counted &= use[record.beats]
        extra &= use[np.clip(detected.astype(np.int64), 0, use.size - 1)]
    return DetectionScore(int((counted & hit).sum()), int((counted & ~hit).sum()), int(extra.sum()))


def _outcomes(
    record: Recorded, detected: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Per annotated beat whether it counts and whether it was found; per detection whether it is one too many."""
    beats = record.beats
    window = TOLERANCE_S * record.fs_hz
    match = match_beats(beats.astype(np.float64), detected, fs_hz=record.fs_hz)
    counted = np.ones(beats.size, dtype=np.bool_)
    extra: NDArray[np.bool_] = match.reference_of < 0
    for start, end in record.flutter:
        counted &= (beats < start) | (beats > end)
        extra &= (detected < start - window) | (detected > end + window)
    for wave in record.flutter_waves:
        extra &= np.abs(detected - wave) > window
    return counted, match.detected_of >= 0, extra


def throughput(record: Recorded, streams: int, seconds: int = 120) -> float:
    """How many patient-seconds one core takes per second: one-second blocks, resampling included, the best of three."""
    second = round(record.fs_hz)
    x = np.repeat(record.ecg_uv[None, : seconds * second], streams, axis=0)
    blocks = [np.ascontiguousarray(x[:, i : i + second]) for i in range(0, x.shape[1], second)]
    best = 0.0
    for _ in range(3):
        resampler = ResamplerBank(streams, fs_hz=record.fs_hz)
        bank = QrsBank(streams, delay_ms=resampler.plan.delay_ms(record.fs_hz))
        began = time.perf_counter()
        for block in blocks:
            bank.push(resampler.push(block))
        best = max(best, streams * len(blocks) / (time.perf_counter() - began))
    return best


def same_for_blocks(record: Recorded) -> bool:
    """Whether the beats, and when they are decided, are the same whatever the blocks."""
    ecg = record.ecg_uv[: round(BLOCK_S * record.fs_hz)]
    found = [detect(ecg, record.fs_hz, block) for block in BLOCKS]
    return all(
        np.array_equal(each.samples, found[0].samples)
        and np.array_equal(each.decision_ms, found[0].decision_ms)
        for each in found
    )


def noise_gain(record: Recorded, noise_uv: NDArray[np.float64], snr_db: float) -> float:
    """Scale noise to an SNR as PhysioNet's `nst` does.

    Signal power: mean QRS peak-to-peak (+-50 ms, first 300 normal beats, 5 % trimmed at each end) squared over 8.
    Noise power: mean square of the RMS of one-second stretches, trimmed alike.
    """
    half = round(0.05 * record.fs_hz)
    normal = record.sample[record.symbol == "N"]
    chosen = (normal if normal.size else record.beats)[:300]
    spans = [np.ptp(record.ecg_uv[max(0, b - half) : b + half + 1]) for b in chosen]
    second = round(record.fs_hz)
    rms = noise_uv[: noise_uv.size // second * second].reshape(-1, second).std(axis=1)
    signal = _trimmed_mean(np.asarray(spans, dtype=np.float64)) ** 2 / 8
    return float(np.sqrt(signal / _trimmed_mean(rms) ** 2 * 10 ** (-snr_db / 10)))


def noisy_part(record: Recorded) -> NDArray[np.bool_]:
    """Samples that get noise: two of every four minutes from minute 5 on, as in `nst`."""
    seconds = np.arange(record.ecg_uv.size) / record.fs_hz
    chosen: NDArray[np.bool_] = (seconds >= _FIRST_S) & ((seconds - _FIRST_S) // 120 % 2 == 0)
    return chosen


def with_noise(record: Recorded, noise_uv: NDArray[np.float64], snr_db: float) -> NDArray[np.float32]:
    """The record with noise in its noisy part."""
    added = (
        noise_gain(record, noise_uv, snr_db) * np.resize(noise_uv, record.ecg_uv.size) * noisy_part(record)
    )
    return (record.ecg_uv + added).astype(np.float32)


def _trimmed_mean(values: NDArray[np.float64]) -> float:
    ordered = np.sort(values)
    cut = ordered.size // 20
    return float(ordered[cut : ordered.size - cut].mean())


def qrs(
    data: Path,
    *,
    noise: Path | None = None,
    seed: int = 1,
    names: Iterable[str] = (),
    peers: Mapping[str, Detector] | None = None,
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P3. Raises `NoRecordError`, `OSError`."""
    found = [records.read(path, channel=0) for path in records.paths(data, paced=True, names=names)]
    if not any(record.beats.size for record in found):
        raise NoRecordError(
            f"no annotated beat in the {len(found)} records of {data}: there is nothing to compare with"
        )
    others = installed() if peers is None else peers
    tables = 0 if noise is None else len(KINDS) * len(SNRS_DB)
    advance = steps(len(found) + len(others) + tables + 1)
    metrics, per_record, strips = _ours(found, advance)
    metrics["x_realtime"] = throughput(found[0], STREAMS)
    metrics["x_realtime_single"] = throughput(found[0], 1)
    metrics["same_for_blocks"] = float(all(same_for_blocks(record) for record in found[:3]))
    advance("speed and block sizes")
    notes = (
        [f"{name} was not run: install {package}" for name, package in missing().items()]
        if peers is None
        else []
    )
    rows: dict[str, Metrics] = {}
    for name, run in others.items():
        rows[name] = _peer(found, run)
        advance(name)
    grids = [per_record]
    if noise is not None:
        fast = {name: run for name, run in others.items() if rows[name]["x_realtime"] >= FAST}
        notes += [f"{name} was not run under noise: too slow for it" for name in others if name not in fast]
        under = _noise(found, noise, {"ours": ours} | fast, advance)
        metrics |= under["ours"]
        rows = {name: row | under.get(name, {}) for name, row in rows.items()}
        grids.append(_noise_grid(under))
    order = ("se", "ppv", "f1", "x_realtime", "decision_ms_max")
    metrics = {name: metrics[name] for name in order} | metrics
    return Outcome(
        Report(
            protocol="qrs",
            model="streaming detector of the gateway",
            data=str(data),
            records=[record.name for record in found],
            seed=seed,
            metrics=metrics,
            peers=rows,
            bar=BAR,
            passed=meets(metrics, BAR),
        ),
        notes=tuple(notes),
        tables=tuple(grids),
        strips=strips,
        digests={record.name: record.digest for record in found},
    )


def _ours(found: Sequence[Recorded], advance: Advance) -> tuple[Metrics, Grid, tuple[Strip, ...]]:
    total, early, late = DetectionScore(), DetectionScore(), DetectionScore()
    slowest = 0.0
    errors: list[NDArray[np.float64]] = []
    rows: list[tuple[str, ...]] = []
    worst: list[tuple[int, Strip]] = []
    for record in found:
        detection = detect(record.ecg_uv, record.fs_hz)
        first = np.arange(record.ecg_uv.size) < _FIRST_S * record.fs_hz
        whole = score(record, detection.samples)
        total += whole
        early += score(record, detection.samples, first)
        late += score(record, detection.samples, ~first)
        slowest = max(slowest, float(detection.decision_ms.max(initial=0.0)))
        of = match_beats(record.beats.astype(np.float64), detection.samples, fs_hz=record.fs_hz).detected_of
        off = detection.samples[of[of >= 0]] - record.beats[of >= 0]
        errors.append(np.abs(off) * 1000 / record.fs_hz)
        rows.append(
            (record.name, f"{whole.se:.2f}", f"{whole.ppv:.2f}", str(whole.misses), str(whole.extras))
        )
        if whole.misses + whole.extras:
            worst.append((whole.misses + whole.extras, _strip(record, detection.samples)))
        advance(record.name)
    strips = tuple(strip for _, strip in sorted(worst, key=lambda item: -item[0])[:_WORST])
    metrics = {
        "se": total.se,
        "ppv": total.ppv,
        "f1": total.f1,
        "decision_ms_max": slowest,
        "r_error_ms_median": float(np.median(np.concatenate(errors))),
        "first5_se": early.se,
        "first5_ppv": early.ppv,
        "first5_f1": early.f1,
        "rest_se": late.se,
        "rest_ppv": late.ppv,
        "rest_f1": late.f1,
    }
    return metrics, Grid("per record", ("record", "Se", "PPV", "missed", "extra"), tuple(rows)), strips


def _strip(record: Recorded, detected: NDArray[np.float64]) -> Strip:
    """The six seconds with the most errors, marked with beats as annotated and `^` where one was detected."""
    counted, hit, extra = _outcomes(record, detected)
    wrong = np.concatenate((record.beats[counted & ~hit], detected[extra].astype(np.int64)))
    width = round(6 * record.fs_hz)
    bins = np.bincount(wrong // width)
    start = int(np.argmax(bins)) * width
    marks = [(int(a) - start, str(s)) for a, s in zip(record.sample, record.symbol, strict=True)]
    marks += [(round(at) - start, "^") for at in detected]
    inside = tuple((at, text) for at, text in marks if 0 <= at < width)
    title = f"record {record.name} at {start / record.fs_hz:.0f} s: {bins.max()} errors in 6 s (^ detected)"
    return Strip(title, record.ecg_uv[start : start + width], record.fs_hz, inside)


def _peer(found: Sequence[Recorded], run: Detector) -> Metrics:
    """Score one other detector on whole recordings and time it."""
    total = DetectionScore()
    spent = 0.0
    run(found[0].ecg_uv[: round(30 * found[0].fs_hz)], found[0].fs_hz)
    for record in found:
        began = time.perf_counter()
        detected = run(record.ecg_uv, record.fs_hz)
        spent += time.perf_counter() - began
        total += score(record, detected)
    duration = sum(record.length_s for record in found)
    return {"se": total.se, "ppv": total.ppv, "f1": total.f1, "x_realtime": duration / spent}


def _noise(
    found: Sequence[Recorded], folder: Path, detectors: Mapping[str, Detector], advance: Advance
) -> dict[str, Metrics]:
    rows: dict[str, Metrics] = {name: {} for name in detectors}
    for kind in KINDS:
        for snr in SNRS_DB:
            totals = dict.fromkeys(detectors, DetectionScore())
            for record in found:
                noise_uv = records.noise(folder, kind, fs_hz=record.fs_hz)
                ecg, where = with_noise(record, noise_uv, snr), noisy_part(record)
                for name, run in detectors.items():
                    totals[name] += score(record, run(ecg, record.fs_hz), where)
            for name, total in totals.items():
                at = f"{kind}{snr}"
                rows[name] |= {f"{at}_se": total.se, f"{at}_ppv": total.ppv, f"{at}_f1": total.f1}
            advance(f"{kind} at {snr} dB")
    return rows


def _noise_grid(under: Mapping[str, Metrics]) -> Grid:
    rows = []
    for kind in KINDS:
        for snr in SNRS_DB:
            at = f"{kind}{snr}"
            cells = (f"{row[f'{at}_se']:.2f} / {row[f'{at}_ppv']:.2f}" for row in under.values())
            rows.append((f"{kind} {snr} dB", *cells))
    return Grid("under noise: Se / PPV in the noisy stretches", ("", *under), tuple(rows))
