"""QRS detection after protocol P3: accuracy, speed and decision time, beside other detectors, and under noise.

    python benchmarks/qrs.py --data ../shared/data/mitdb --json qrs.json
    python benchmarks/qrs.py --data ../shared/data/mitdb --noise ../shared/data/nstdb --peers sleepecg,neurokit2

All beats of all records found, full length, first channel, 150 ms window; `!` and the spans `[` to `]` are left out.
Our detector is fed blocks of one second; the others get the whole recording.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from vitalwire_edge.signal.qrs import QrsBank
from vitalwire_edge.signal.resample import ResamplerBank
from vitalwire_edge.signal.scoring import TOLERANCE_S, DetectionScore, match_beats

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")
BAR = {"se": 99.8, "f1": 99.6, "x_realtime": 20_000.0, "decision_ms_max": 300.0}
STREAMS = 64
SNRS_DB = (24, 18, 12, 6, 0)

Detector = Callable[[NDArray[np.float32], float], NDArray[np.float64]]


@dataclass(frozen=True)
class Record:
    """One annotated recording; samples in microvolts, positions in samples."""

    name: str
    fs_hz: float
    ecg_uv: NDArray[np.float32]
    beats: NDArray[np.int64]
    symbols: NDArray[np.str_]
    flutter_waves: NDArray[np.int64]
    flutter_spans: tuple[tuple[int, int], ...]


def load(folder: Path, name: str) -> Record:
    """Read the first channel and its beat labels."""
    record = wfdb.rdrecord(str(folder / name))
    labels = wfdb.rdann(str(folder / name), "atr")
    sample, symbol = np.asarray(labels.sample), np.asarray(labels.symbol)
    is_beat = np.isin(symbol, sorted(BEAT_SYMBOLS))
    starts, ends = sample[symbol == "["], sample[symbol == "]"]
    spans = tuple((int(s), int(min(ends[ends > s], default=record.sig_len))) for s in starts)
    scale = {"mV": 1000.0, "V": 1e6, "uV": 1.0}[record.units[0]]
    return Record(
        name=name,
        fs_hz=float(record.fs),
        ecg_uv=(record.p_signal[:, 0] * scale).astype(np.float32),
        beats=sample[is_beat],
        symbols=symbol[is_beat],
        flutter_waves=sample[symbol == "!"],
        flutter_spans=spans,
    )


def score(
    record: Record, detected: NDArray[np.float64], use: NDArray[np.bool_] | None = None
) -> DetectionScore:
    """Count hits, misses and extras; ``use`` marks the samples that count."""
    window = TOLERANCE_S * record.fs_hz
    match = match_beats(record.beats.astype(np.float64), detected, fs_hz=record.fs_hz)
    counted = np.ones(record.beats.size, dtype=bool)
    extra = match.reference_of < 0
    for start, end in record.flutter_spans:
        counted &= (record.beats < start) | (record.beats > end)
        extra &= (detected < start - window) | (detected > end + window)
    for wave in record.flutter_waves:
        extra &= np.abs(detected - wave) > window
    if use is not None:
        counted &= use[record.beats]
        extra &= use[np.clip(detected.astype(np.int64), 0, use.size - 1)]
    hit = match.detected_of >= 0
    return DetectionScore(int((counted & hit).sum()), int((counted & ~hit).sum()), int(extra.sum()))


@dataclass(frozen=True)
class Detection:
    """Beats of one record and how long after the R peak each was decided."""

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


def sleepecg(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """Sleepecg's Pan-Tompkins."""
    from sleepecg import detect_heartbeats  # noqa: PLC0415 - only when asked for

    return np.asarray(detect_heartbeats(ecg_uv.astype(np.float64) / 1000, fs_hz), dtype=np.float64)


def neurokit2(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """NeuroKit2's Pan-Tompkins with its own cleaning."""
    import neurokit2 as nk  # noqa: PLC0415

    rate = round(fs_hz)
    clean = nk.ecg_clean(ecg_uv.astype(np.float64) / 1000, sampling_rate=rate, method="pantompkins1985")
    _, info = nk.ecg_peaks(clean, sampling_rate=rate, method="pantompkins1985")
    return np.asarray(info["ECG_R_Peaks"], dtype=np.float64)


def xqrs(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """XQRS of the wfdb package."""
    from wfdb.processing import xqrs_detect  # noqa: PLC0415

    return np.asarray(xqrs_detect(ecg_uv.astype(np.float64) / 1000, fs_hz, verbose=False), dtype=np.float64)


def gqrs(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """GQRS of the wfdb package, fed 5 uV steps."""
    from wfdb.processing import gqrs_detect  # noqa: PLC0415

    digital = np.round(ecg_uv / 5.0).astype(np.int64)
    return np.asarray(gqrs_detect(d_sig=digital, fs=fs_hz, adc_gain=200, adc_zero=0), dtype=np.float64)


PEERS: dict[str, Detector] = {"gqrs": gqrs, "neurokit2": neurokit2, "xqrs": xqrs, "sleepecg": sleepecg}


def throughput(record: Record, streams: int, seconds: int = 120) -> float:
    """Return how many patient-seconds one core takes per second: one-second blocks, resampling included."""
    second = round(record.fs_hz)
    x = np.repeat(record.ecg_uv[None, : seconds * second], streams, axis=0)
    blocks = [np.ascontiguousarray(x[:, i : i + second]) for i in range(0, x.shape[1], second)]
    best = 0.0
    for _ in range(3):
        resampler = ResamplerBank(streams, fs_hz=record.fs_hz)
        bank = QrsBank(streams, delay_ms=resampler.plan.delay_ms(record.fs_hz))
        begin = time.perf_counter()
        for block in blocks:
            bank.push(resampler.push(block))
        best = max(best, streams * len(blocks) / (time.perf_counter() - begin))
    return best


def noise_gain(record: Record, noise_uv: NDArray[np.float64], snr_db: float) -> float:
    """Scale noise to an SNR as PhysioNet's `nst` does.

    Signal power: mean QRS peak-to-peak (+-50 ms, first 300 normal beats, 5 % trimmed at each end) squared over 8.
    Noise power: mean square of the RMS of one-second stretches, trimmed alike.
    """
    half = round(0.05 * record.fs_hz)
    normal = record.beats[record.symbols == "N"]
    chosen = (normal if normal.size else record.beats)[:300]
    spans = [np.ptp(record.ecg_uv[max(0, b - half) : b + half + 1]) for b in chosen]
    second = round(record.fs_hz)
    rms = noise_uv[: noise_uv.size // second * second].reshape(-1, second).std(axis=1)
    signal = _trimmed_mean(np.asarray(spans)) ** 2 / 8
    return float(np.sqrt(signal / _trimmed_mean(rms) ** 2 * 10 ** (-snr_db / 10)))


def _trimmed_mean(values: NDArray[np.float64]) -> float:
    ordered = np.sort(values)
    cut = ordered.size // 20
    return float(ordered[cut : ordered.size - cut].mean())


def noise_table(
    records: list[Record], folder: Path, detectors: dict[str, Detector]
) -> dict[str, dict[str, float]]:
    """Score every detector in the noisy stretches: two of every four minutes from minute 5 on, as in `nst`."""
    rows: dict[str, dict[str, float]] = {}
    print(
        "\nnoise: Se / PPV in the noisy stretches\n" + " " * 8 + "".join(f"{name:>16}" for name in detectors)
    )
    for kind in ("em", "ma", "bw"):
        noise = wfdb.rdrecord(str(folder / kind)).p_signal[:, 0] * 1000
        for snr in SNRS_DB:
            totals = dict.fromkeys(detectors, DetectionScore())
            for record in records:
                seconds = np.arange(record.ecg_uv.size) / record.fs_hz
                noisy = (seconds >= 300) & ((seconds - 300) // 120 % 2 == 0)
                added = noise_gain(record, noise, snr) * np.resize(noise, seconds.size) * noisy
                ecg_uv = (record.ecg_uv + added).astype(np.float32)
                for name, run in detectors.items():
                    totals[name] += score(record, run(ecg_uv, record.fs_hz), noisy)
            cells = "".join(f"{t.se:9.2f}/{t.ppv:6.2f}" for t in totals.values())
            print(f"{kind} {snr:>2} dB{cells}", flush=True)
            for name, total in totals.items():
                row = rows.setdefault(name, {})
                row |= {
                    f"{kind}{snr}_se": total.se,
                    f"{kind}{snr}_ppv": total.ppv,
                    f"{kind}{snr}_f1": total.f1,
                }
    return rows


def peer_metrics(records: list[Record], run: Detector) -> dict[str, float]:
    """Score one other detector on whole recordings and time it."""
    total = DetectionScore()
    spent = 0.0
    run(records[0].ecg_uv[: round(30 * records[0].fs_hz)], records[0].fs_hz)
    for record in records:
        begin = time.perf_counter()
        found = run(record.ecg_uv, record.fs_hz)
        spent += time.perf_counter() - begin
        total += score(record, found)
    duration = sum(r.ecg_uv.size / r.fs_hz for r in records)
    return {"se": total.se, "ppv": total.ppv, "f1": total.f1, "x_realtime": duration / spent}


def our_metrics(records: list[Record]) -> dict[str, float]:
    """Run protocol P3 on our detector and print a line per record."""
    total, early, late = DetectionScore(), DetectionScore(), DetectionScore()
    slowest = 0.0
    errors: list[NDArray[np.float64]] = []
    for record in records:
        found = detect(record.ecg_uv, record.fs_hz)
        first = np.arange(record.ecg_uv.size) < 300 * record.fs_hz
        whole = score(record, found.samples)
        total += whole
        early += score(record, found.samples, first)
        late += score(record, found.samples, ~first)
        slowest = max(slowest, float(found.decision_ms.max(initial=0.0)))
        of = match_beats(record.beats.astype(np.float64), found.samples, fs_hz=record.fs_hz).detected_of
        errors.append(np.abs(found.samples[of[of >= 0]] - record.beats[of >= 0]) * 1000 / record.fs_hz)
        print(
            f"{record.name:>8}  Se {whole.se:6.2f}  PPV {whole.ppv:6.2f}  FN {whole.misses:4d}  FP {whole.extras:4d}"
        )
    return {
        "se": total.se,
        "ppv": total.ppv,
        "f1": total.f1,
        "x_realtime": throughput(records[0], STREAMS),
        "x_realtime_single": throughput(records[0], 1),
        "decision_ms_max": slowest,
        "r_error_ms_median": float(np.median(np.concatenate(errors))),
        "first5_se": early.se,
        "first5_ppv": early.ppv,
        "first5_f1": early.f1,
        "rest_se": late.se,
        "rest_ppv": late.ppv,
        "rest_f1": late.f1,
    }


def passed(metrics: dict[str, float]) -> bool:
    """Whether the bar of protocol P3 is met."""
    return (
        metrics["se"] >= BAR["se"]
        and metrics["f1"] >= BAR["f1"]
        and metrics["x_realtime"] >= BAR["x_realtime"]
        and metrics["decision_ms_max"] <= BAR["decision_ms_max"]
    )


def main() -> int:
    """Run the benchmark; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with WFDB records and their .atr files"
    )
    parser.add_argument("--noise", type=Path, help="folder with the noise records em, ma and bw")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated, empty for none")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the other detectors warn about their own dependencies
    names = sorted(p.stem for p in options.data.glob("*.hea") if p.with_suffix(".atr").is_file())
    if not names:
        print(f"no annotated records (.hea with .atr) in {options.data}", file=sys.stderr)
        return 2
    records = [load(options.data, name) for name in names]
    peers = {name: PEERS[name] for name in options.peers.split(",") if name}

    metrics = our_metrics(records)
    table = {"vitalwire": metrics} | {name: peer_metrics(records, run) for name, run in peers.items()}
    print(f"\n{'':>12}{'Se':>8}{'PPV':>8}{'F1':>8}{'x real time':>13}")
    for name, row in table.items():
        print(f"{name:>12}{row['se']:8.2f}{row['ppv']:8.2f}{row['f1']:8.2f}{row['x_realtime']:13,.0f}")
    print(
        f"\n{STREAMS} streams {metrics['x_realtime']:,.0f}x, one stream {metrics['x_realtime_single']:,.0f}x; "
        f"decision at most {metrics['decision_ms_max']:.0f} ms after R; median R error "
        f"{metrics['r_error_ms_median']:.1f} ms\n"
        f"first 5 min: Se {metrics['first5_se']:.2f} PPV {metrics['first5_ppv']:.2f}; "
        f"rest: Se {metrics['rest_se']:.2f} PPV {metrics['rest_ppv']:.2f}; bar {'met' if passed(metrics) else 'missed'}"
    )
    noise = noise_table(records, options.noise, {"vitalwire": ours} | peers) if options.noise else {}
    if options.json:
        result = {
            "protocol": "P3",
            "model": None,
            "data": str(options.data),
            "records": names,
            "seed": None,
            "metrics": metrics | noise.get("vitalwire", {}),
            "peers": {name: table[name] | noise.get(name, {}) for name in peers},
            "bar": BAR,
            "passed": passed(metrics),
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if passed(metrics) else 1


if __name__ == "__main__":
    sys.exit(main())
