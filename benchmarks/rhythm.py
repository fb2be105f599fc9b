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
VF: Final = "ventricular_fibrillation"
VT: Final = "ventricular_tachycardia"
AF: Final = "atrial_fibrillation"
SLACK_S: Final = 3.0
CONFIRMED_S: Final = 8.0
"""Shorter flutter is over before a rule that needs 8 s of it could say so; it counts in vf_any_length only."""
SUSTAINED_S: Final = 30.0
RECOVERY_S: Final = 15.0
"""An alarm stays open this long after an episode, until the recovery is sure."""
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
    sinus: NDArray[np.bool_]

    def marks(self, spans: Spans) -> NDArray[np.bool_]:
        """Seconds that the spans cover."""
        out = np.zeros(round(self.length_s), dtype=np.bool_)
        for start, end in spans:
            out[max(0, round(start)) : max(0, round(end))] = True
        return out

    def mask(self, kind: str) -> NDArray[np.bool_]:
        """Seconds of one kind of episode."""
        return self.marks(self.spans[kind])

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
    sinus = np.zeros(round(length_s), dtype=np.bool_)
    for (t, name), (end, _) in zip(rhythm, [*rhythm[1:], (length_s, "")], strict=True):
        if name == "(N":
            sinus[round(t) : round(end)] = True
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
    return Truth(spans, np.array([t for t, _ in beats]), length_s, sinus)


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
    """Simulated ventricular fibrillation in microvolts: noise in a narrow band (coarse, fine) or flutter.

    Flutter from 210/min on: the rules call a slower regular oscillation a tachycardia.
    """
    centre, width, rms = {
        "coarse": (rng.uniform(3.5, 6), rng.uniform(0.6, 1.5), rng.uniform(200, 600)),
        "fine": (rng.uniform(4.5, 7.5), rng.uniform(1, 2), rng.uniform(70, 180)),
        "flutter": (rng.uniform(3.5, 5.5), 0.15, rng.uniform(350, 900)),
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


def simulated(data: Path, seed: int, repeats: int) -> dict[str, float]:
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
            for _ in range(repeats):
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
                if not hits or hits[0].at_s - lead_in > 10:
                    print(f"late or missed: {kind} {noise}: {[(a.kind, round(a.at_s, 1)) for a in alarms]}")
                reactions += [hits[0].at_s - lead_in] if hits else [30.0]
    return {
        "simulated_vf_episodes": float(tried["ventricular_fibrillation"]),
        "simulated_vf_found": float(found["ventricular_fibrillation"]),
        "asystole_se": found["asystole"] / tried["asystole"],
        "reaction_s_p50": float(np.percentile(reactions, 50)),
        "reaction_s_p99": float(np.percentile(reactions, 99)),
    }


class Tally:
    """Sums over the recordings, second by second and alarm by alarm."""

    def __init__(self) -> None:
        self.hours = 0.0
        self.alarms: Counter[str] = Counter()
        self.false: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.episodes: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def add(self, alarms: list[Raised], truth: Truth, *, paced: bool) -> tuple[Counter[str], Counter[str]]:
        """Take one recording; return its alarms and its false alarms by kind.

        Fibrillation of the atria is not scored on paced records (EC57 leaves them out).
        """
        counts = Counter(a.kind for a in alarms)
        wrong = Counter(a.kind for a in alarms if not is_true(a, truth))
        self.hours += truth.length_s / 3600
        self.alarms += counts
        self.false += wrong
        vf, vt = truth.mask(VF), truth.mask(VT)
        said_vf = truth.marks([(a.at_s, a.end_s) for a in alarms if a.kind == VF])
        near = truth.marks([(start, end + RECOVERY_S) for start, end in truth.spans[VF] + truth.spans[VT]])
        for name, where in (("sinus", truth.sinus & ~near), ("other", ~truth.sinus & ~near)):
            self.seconds[name] += int(where.sum())
            self.seconds[f"{name}_vf"] += int((where & said_vf).sum())
        self.seconds["vf"] += int(vf.sum())
        self.seconds["vf_found"] += int((vf & said_vf).sum())
        ventricular = said_vf | truth.marks([(a.onset_s, a.end_s) for a in alarms if a.kind == VT])
        self.seconds["vt"] += int(vt.sum())
        self.seconds["vt_found"] += int((vt & ventricular).sum())
        af, said_af = truth.mask(AF), truth.marks([(a.onset_s, a.end_s) for a in alarms if a.kind == AF])
        if not paced:
            self.seconds["af_tp"] += int((af & said_af).sum())
            self.seconds["af_wrong"] += int((af ^ said_af).sum())
        for name, kinds, spans in (
            ("vf", (VF,), [s for s in truth.spans[VF] if s[1] - s[0] >= CONFIRMED_S]),
            ("vf_any_length", (VF, VT), truth.spans[VF]),
            ("vt_run", (VT, VF), truth.spans[VT]),
            ("vt", (VT, VF), [s for s in truth.spans[VT] if s[1] - s[0] >= SUSTAINED_S]),
            ("af", (AF,), [s for s in truth.spans[AF] if s[1] - s[0] >= SUSTAINED_S]),
        ):
            mine = [a for a in alarms if a.kind in kinds]
            self.episodes[name] += len(spans)
            self.found[name] += sum(any(_hits(a, span) for a in mine) for span in spans)
        return counts, wrong

    def metrics(self) -> dict[str, float]:
        """Return the figures; a figure without a case is left out."""
        out = {
            "hours": self.hours,
            "alarms_per_h": self.alarms.total() / self.hours,
            "false_per_24h": 24 * self.false.total() / self.hours,
        }
        for name in ("sinus", "other"):
            if self.seconds[name]:
                out[f"{name}_sp"] = 1 - self.seconds[f"{name}_vf"] / self.seconds[name]
        for name, n in self.episodes.items():
            if n:
                out |= {f"{name}_episodes": float(n), f"{name}_episode_se": self.found[name] / n}
        for name in ("vf", "vt"):
            if self.seconds[name]:
                out[f"{name}_duration_se"] = self.seconds[f"{name}_found"] / self.seconds[name]
        if self.alarms[VF]:
            out["vf_ppv"] = 1 - self.false[VF] / self.alarms[VF]
        if self.episodes["vt"]:
            out["vt_se"] = self.found["vt"] / self.episodes["vt"]
        if self.seconds["af_tp"]:
            out["af_f1"] = 2 * self.seconds["af_tp"] / (2 * self.seconds["af_tp"] + self.seconds["af_wrong"])
        for kind in RHYTHM_KINDS:
            out[f"{kind}_alarms"] = float(self.alarms[kind])
            out[f"{kind}_false_per_24h"] = 24 * self.false[kind] / self.hours
        return out


def _hits(alarm: Raised, span: tuple[float, float]) -> bool:
    """Whether an alarm was raised for, or was already open at the start of, an episode."""
    start, end = span
    return alarm.onset_s <= end and alarm.end_s >= start and alarm.at_s <= end + SLACK_S


def recorded(data: Path) -> tuple[Tally, list[dict[str, object]]]:
    """Alarms on every record: summed, and per record."""
    tally = Tally()
    rows: list[dict[str, object]] = []
    for name in (data / "mitdb" / "RECORDS").read_text().split():
        path = data / "mitdb" / name
        ecg = wfdb.rdrecord(str(path)).p_signal[:, 1 if name in SWAPPED else 0] * 1000
        truth = truth_of(path)
        counts, wrong = tally.add(raised(alarms_of(ecg, FS_HZ), truth.length_s), truth, paced=name in PACED)
        rows.append({"record": name, "paced": name in PACED, "alarms": dict(counts), "false": dict(wrong)})
    return tally, rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="folder with mitdb/ and nstdb/")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--repeats", type=int, default=4, help="simulated episodes of each kind under each noise"
    )
    args = parser.parse_args()
    tally, rows = recorded(args.data)
    metrics = tally.metrics() | simulated(args.data, args.seed, args.repeats)
    flutter = tally.episodes["vf"]
    metrics["vf_se"] = (tally.found["vf"] + metrics["simulated_vf_found"]) / (
        flutter + metrics["simulated_vf_episodes"]
    )
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
