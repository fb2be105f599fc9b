"""Rhythm alarms end to end on annotated recordings: what is found, how fast, and what is false.

Runs the gateway's signal chain and alarm engine over every MIT-BIH record in DATA/mitdb, and over simulated ventricular
fibrillation and asystole with and without recorded noise. Nothing here tunes anything.

    python benchmarks/rhythm.py ../shared/data --json rhythm.json
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import wfdb
from numpy.typing import NDArray

from vitalwire_edge.alarms import AlarmChange, AlarmConfig, AlarmEngine
from vitalwire_edge.signal.chain import EcgChain

S: Final = 1_000_000_000
FS_HZ: Final = 360.0
BEATS: Final = frozenset("NLRejAaJSVEFQ/f")
PACED: Final = frozenset(("102", "104", "107", "217"))
SWAPPED: Final = frozenset(("114",))
RHYTHM_KINDS: Final = (
    "asystole",
    "ventricular_fibrillation",
    "ventricular_tachycardia",
    "extreme_tachycardia",
    "extreme_bradycardia",
    "tachycardia",
    "bradycardia",
    "atrial_fibrillation",
    "ecg_unanalysable",
)
SLACK_S: Final = 3.0
Spans = list[tuple[float, float]]


def alarms_of(ecg_uv: NDArray[np.float64], fs_hz: float) -> list[AlarmChange]:
    """Every change that one recording gives, fed in blocks of 200 ms."""
    chain = EcgChain(fs_hz=fs_hz)
    engine = AlarmEngine(device="bench", config=AlarmConfig())
    changes: list[AlarmChange] = []
    step = round(fs_hz / 5)
    for start in range(0, ecg_uv.size, step):
        out = chain.push(start, ecg_uv[start : start + step].astype(np.float32))
        for beat in out.beats:
            changes += engine.on_beat(beat, round(beat.sample / fs_hz * S))
        for second in out.seconds:
            changes += engine.on_second(second, round(second.first_sample / fs_hz * S))
        changes += engine.on_clock(round((start + step) / fs_hz * S))
    return changes


@dataclass(frozen=True)
class Raised:
    """One alarm as the patient's time sees it, in seconds."""

    kind: str
    onset_s: float
    at_s: float
    end_s: float


def raised(changes: list[AlarmChange], end_s: float) -> list[Raised]:
    """Pair raised and cleared; an alarm that never cleared lasts to the end."""
    cleared = {c.alarm_id: c.at_ns / S for c in changes if c.phase == "cleared"}
    return [
        Raised(c.kind, c.onset_ns / S, c.at_ns / S, cleared.get(c.alarm_id, end_s))
        for c in changes
        if c.phase == "raised"
    ]


@dataclass(frozen=True)
class Truth:
    """What the annotators say: spans per kind in seconds, and the time of every beat."""

    spans: dict[str, Spans]
    beats_s: NDArray[np.float64]
    length_s: float

    def rate_at(self, from_s: float, to_s: float) -> float:
        """Mean rate of the annotated beats in a span widened to 8 beats."""
        inside = np.flatnonzero((self.beats_s >= from_s) & (self.beats_s <= to_s))
        if inside.size < 5:
            return float("nan")
        return float(60 * (inside.size - 1) / (self.beats_s[inside[-1]] - self.beats_s[inside[0]]))


def truth_of(path: Path) -> Truth:
    """Spans of flutter, of ventricular runs (at least 5 beats above 100/min) and of atrial fibrillation."""
    note = wfdb.rdann(str(path), "atr")
    length_s = 650_000 / FS_HZ
    at = note.sample / FS_HZ
    spans: dict[str, Spans] = {
        "ventricular_fibrillation": [],
        "ventricular_tachycardia": [],
        "atrial_fibrillation": [],
    }
    opened = [t for t, y in zip(at, note.symbol, strict=True) if y == "["]
    closed = [t for t, y in zip(at, note.symbol, strict=True) if y == "]"]
    spans["ventricular_fibrillation"] = list(zip(opened, closed, strict=True))
    rhythm = [(t, a.strip("\0")) for t, a, y in zip(at, note.aux_note, note.symbol, strict=True) if y == "+"]
    for (t, name), (end, _) in zip(rhythm, [*rhythm[1:], (length_s, "")], strict=True):
        if name in {"(AFIB", "(AFL"}:
            if spans["atrial_fibrillation"] and t - spans["atrial_fibrillation"][-1][1] < 30:
                t = spans["atrial_fibrillation"].pop()[0]  # noqa: PLW2901
            spans["atrial_fibrillation"].append((t, end))
    run: list[float] = []
    beats = [(t, y) for t, y in zip(at, note.symbol, strict=True) if y in BEATS]
    for t, y in [*beats, (length_s, "N")]:
        if y in "VE":
            run.append(t)
            continue
        if len(run) >= 5 and 60 * (len(run) - 1) / (run[-1] - run[0]) >= 100:
            spans["ventricular_tachycardia"].append((run[0], run[-1]))
        run = []
    return Truth(spans, np.array([t for t, _ in beats]), length_s)


def _meets(alarm: Raised, spans: Spans) -> bool:
    return any(alarm.onset_s <= end + SLACK_S and alarm.end_s >= start for start, end in spans)


def is_true(alarm: Raised, truth: Truth) -> bool:
    """Whether the annotations bear the alarm out; flutter and fast ventricular runs vouch for each other."""
    ventricular = truth.spans["ventricular_fibrillation"] + truth.spans["ventricular_tachycardia"]
    rate = truth.rate_at(alarm.onset_s - 8, alarm.at_s + 1)
    match alarm.kind:
        case "ventricular_fibrillation" | "ventricular_tachycardia":
            return _meets(alarm, ventricular)
        case "atrial_fibrillation":
            return _meets(alarm, truth.spans["atrial_fibrillation"])
        case "extreme_tachycardia":
            return rate > 125 or _meets(alarm, ventricular)
        case "tachycardia":
            return rate > 110 or _meets(alarm, ventricular)
        case "bradycardia":
            return rate < 55
        case "extreme_bradycardia":
            return rate < 44
        case "asystole":
            gaps = np.flatnonzero(np.diff(truth.beats_s) >= 3.5)
            return any(truth.beats_s[i] <= alarm.at_s <= truth.beats_s[i + 1] + 1 for i in gaps)
        case _:
            return False


def fibrillation(rng: np.random.Generator, seconds: int, kind: str) -> NDArray[np.float64]:
    """Simulated ventricular fibrillation in microvolts: noise in a narrow band (coarse, fine) or flutter."""
    centre, width, rms = {
        "coarse": (rng.uniform(3.5, 6), rng.uniform(0.6, 1.5), rng.uniform(200, 600)),
        "fine": (rng.uniform(4.5, 7.5), rng.uniform(1, 2), rng.uniform(70, 180)),
        "flutter": (rng.uniform(3.2, 5), 0.15, rng.uniform(350, 900)),
    }[kind]
    n = round(seconds * FS_HZ)
    hz = np.fft.rfftfreq(n, 1 / FS_HZ)
    x = np.fft.irfft(np.exp(-0.5 * ((hz - centre) / width) ** 2 + 2j * np.pi * rng.random(hz.size)), n)
    return x * rms / x.std() + rng.normal(0, 10, n)


def with_noise(
    x: NDArray[np.float64], noise: NDArray[np.float64], db: float, offset: int
) -> NDArray[np.float64]:
    """Add noise at a ratio of powers."""
    part = noise[offset : offset + x.size] - noise[offset : offset + x.size].mean()
    return x + part * np.sqrt(x.var() / part.var() / 10 ** (db / 10))


def simulated(data: Path, seed: int) -> dict[str, float]:
    """Sensitivity and reaction on simulated fibrillation and asystole that follow 60 s of a real sinus rhythm."""
    rng = np.random.default_rng(seed)
    sinus = wfdb.rdrecord(str(data / "mitdb" / "101")).p_signal[:, 0] * 1000
    noises = {name: wfdb.rdrecord(str(data / "nstdb" / name)).p_signal[:, 0] * 1000 for name in ("em", "ma")}
    found: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    reactions: list[float] = []
    lead_in = 60
    for kind in ("coarse", "fine", "flutter", "flat", "low_noise"):
        for noise in ("none", "em12", "em6", "ma12", "ma6"):
            if kind in {"flat", "low_noise"} and noise != "none":
                continue
            for _ in range(4):
                start = int(rng.integers(0, 500_000))
                before = sinus[start : start + round(lead_in * FS_HZ)]
                n = round(30 * FS_HZ)
                if kind == "flat":
                    episode = np.full(n, before[-1])
                elif kind == "low_noise":
                    episode = before[-1] + rng.normal(0, 15, n)
                else:
                    episode = fibrillation(rng, 30, kind)
                    if noise != "none":
                        episode = with_noise(
                            episode, noises[noise[:2]], float(noise[2:]), int(rng.integers(0, 400_000))
                        )
                alarms = raised(alarms_of(np.concatenate((before, episode)), FS_HZ), lead_in + 30)
                wanted = "asystole" if kind in {"flat", "low_noise"} else "ventricular_fibrillation"
                hits = [a for a in alarms if a.kind == wanted and a.at_s > lead_in]
                tried[wanted] += 1
                found[wanted] += bool(hits) and hits[0].at_s - lead_in <= 10
                reactions += [hits[0].at_s - lead_in] if hits else [30.0]
    return {
        "simulated_vf_se_10s": found["ventricular_fibrillation"] / tried["ventricular_fibrillation"],
        "simulated_asystole_se_10s": found["asystole"] / tried["asystole"],
        "reaction_s_p50": float(np.percentile(reactions, 50)),
        "reaction_s_p99": float(np.percentile(reactions, 99)),
    }


def recorded(data: Path) -> tuple[dict[str, float], list[dict[str, object]]]:
    """Alarms on every record: per record, and summed."""
    rows: list[dict[str, object]] = []
    all_alarms: Counter[str] = Counter()
    false: Counter[str] = Counter()
    episodes: Counter[str] = Counter()
    found: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    duration: Counter[str] = Counter()
    said: Counter[str] = Counter()
    hours = 0.0
    for name in (data / "mitdb" / "RECORDS").read_text().split():
        path = data / "mitdb" / name
        ecg = wfdb.rdrecord(str(path)).p_signal[:, 1 if name in SWAPPED else 0] * 1000
        truth = truth_of(path)
        alarms = raised(alarms_of(ecg, FS_HZ), truth.length_s)
        hours += truth.length_s / 3600
        wrong = Counter(a.kind for a in alarms if not is_true(a, truth))
        counts = Counter(a.kind for a in alarms)
        all_alarms += counts
        false += wrong
        for kind, spans in truth.spans.items():
            same = ("ventricular_fibrillation", "ventricular_tachycardia")
            kinds = same if kind in same else (kind,)
            mine = [a for a in alarms if a.kind in kinds]
            for start, end in spans:
                if kind == "atrial_fibrillation" and end - start < 30:
                    continue
                episodes[kind] += 1
                found[kind] += any(a.at_s >= start and a.onset_s <= end for a in mine) or any(
                    a.onset_s <= start <= a.end_s for a in mine
                )
                covered[kind] += round(_overlap(mine, start, end))
                duration[kind] += round(end - start)
            said[kind] += round(sum(a.end_s - a.at_s for a in alarms if a.kind == kind))
        rows.append({"record": name, "paced": name in PACED, "alarms": dict(counts), "false": dict(wrong)})
    metrics = {
        "hours": hours,
        "alarms_per_h": all_alarms.total() / hours,
        "false_per_24h": 24 * false.total() / hours,
    }
    for kind in RHYTHM_KINDS:
        metrics[f"{kind}_alarms"] = float(all_alarms[kind])
        metrics[f"{kind}_false_per_24h"] = 24 * false[kind] / hours
    for kind, n in episodes.items():
        metrics[f"{kind}_episodes"] = float(n)
        metrics[f"{kind}_episode_se"] = found[kind] / n
        metrics[f"{kind}_duration_se"] = covered[kind] / max(1, duration[kind])
    return metrics, rows


def _overlap(alarms: list[Raised], start: float, end: float) -> float:
    marks = np.zeros(max(1, round((end - start) * 10)), dtype=bool)
    for a in alarms:
        marks[max(0, round((a.at_s - start) * 10)) : max(0, round((a.end_s - start) * 10))] = True
    return float(marks.sum()) / 10


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="folder with mitdb/ and nstdb/")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    metrics, rows = recorded(args.data)
    metrics |= simulated(args.data, args.seed)
    for row in rows:
        print(f"{row['record']}{' paced' if row['paced'] else ''}: {row['alarms']}  false: {row['false']}")
    for name, value in metrics.items():
        print(f"{name:45s} {value:10.3f}")
    if args.json is not None:
        args.json.write_text(
            json.dumps({"protocol": "rhythm", "seed": args.seed, "metrics": metrics, "records": rows})
        )


if __name__ == "__main__":
    main()
