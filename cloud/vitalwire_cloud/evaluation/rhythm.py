"""Protocol P9: rhythm alarms end to end: what is found, how fast, and what is false.

The gateway's signal chain and alarm engine run over every record, and over simulated episodes with recorded noise.
Nothing here tunes anything. EC57's duration and episode figures; atrial fibrillation is not scored on paced records.
An episode is found by an alarm that was raised for it (`_se`); how many were overlapped by an alarm that may have been
open already, as EC57 counts, stands beside it (`_overlap_se`).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.episodes import EPISODE_S, LEAD_IN_S, NOISES, Episode, episodes
from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, Strip, meets, silent
from vitalwire_cloud.evaluation.rhythm_truth import AF, UNANALYSABLE, VF, VT, Raised, Truth, raised, truth_of
from vitalwire_edge.alarms import AlarmChange, AlarmConfig, AlarmEngine
from vitalwire_edge.signal.chain import EcgChain

BAR: Final = {
    "vf_se": 0.90,
    "vt_se": 0.75,
    "sinus_sp": 0.99,
    "other_sp": 0.95,
    "reaction_s_p99": 10.0,
    "af_f1": 0.80,
}
IN_TIME_S: Final = 10.0
CONFIRMED_S: Final = 8.0
"""Shorter flutter is over before a rule that needs 8 s of it could say so; it counts in `vf_any_length` only."""
SUSTAINED_S: Final = 30.0
RECOVERY_S: Final = 15.0
"""An alarm stays open this long after an episode, until the recovery is sure."""
KINDS: Final = (
    *("asystole", VF, VT, "extreme_tachycardia", "extreme_bradycardia"),
    *("tachycardia", "bradycardia", AF, UNANALYSABLE),
)
UNREADABLE_S: Final = 10.0
"""A shorter stretch with a wrong heart rate is over before the alarm that nothing can be read is due."""
_S: Final = 1_000_000_000
_FEED_S: Final = 0.2
_WORST: Final = 4
_PRIORITIES: Final = ("high", "medium", "low")
REPEATS: Final = 4


def alarms_of(ecg_uv: NDArray[np.floating], fs_hz: float) -> list[AlarmChange]:
    """Every change that one recording gives, fed in blocks of 200 ms."""
    return played(ecg_uv, fs_hz)[0]


def played(ecg_uv: NDArray[np.floating], fs_hz: float) -> tuple[list[AlarmChange], NDArray[np.float64]]:
    """Every change that one recording gives, and when its beats were detected, in seconds."""
    chain = EcgChain(fs_hz=fs_hz)
    engine = AlarmEngine(device="evaluation", config=AlarmConfig())
    changes: list[AlarmChange] = []
    beats_s: list[float] = []
    step = round(fs_hz * _FEED_S)
    for start in range(0, ecg_uv.size, step):
        out = chain.push(start, ecg_uv[start : start + step].astype(np.float32))
        for beat in out.beats:
            changes += engine.on_beat(beat, round(beat.sample / fs_hz * _S))
            beats_s.append(beat.sample / fs_hz)
        for second in out.seconds:
            changes += engine.on_second(second, round(second.first_sample / fs_hz * _S))
        changes += engine.on_clock(round((start + step) / fs_hz * _S))
    return changes, np.array(beats_s)


@dataclass(slots=True)
class Tally:
    """Sums over the recordings, second by second and alarm by alarm."""

    hours: float = 0.0
    true: Counter[tuple[str, str]] = field(default_factory=Counter)
    false: Counter[tuple[str, str]] = field(default_factory=Counter)
    unjudged: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    episodes: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    overlapped: Counter[str] = field(default_factory=Counter)

    def add(self, alarms: list[Raised], truth: Truth) -> list[Raised]:
        """Take one recording; return its false alarms."""
        self.hours += truth.length_s / 3600
        wrong: list[Raised] = []
        for alarm in alarms:
            verdict = truth.bears_out(alarm)
            counted = self.unjudged if verdict is None else self.true if verdict else self.false
            counted[alarm.priority, alarm.kind] += 1
            if verdict is False:
                wrong.append(alarm)
        vf, vt = truth.mask(VF), truth.mask(VT)
        said_vf = truth.marks([(a.at_s, a.end_s) for a in alarms if a.kind == VF])
        near = truth.marks([(start, end + RECOVERY_S) for start, end in truth.spans[VF] + truth.spans[VT]])
        for name, where in (("sinus", truth.sinus & ~near), ("other", ~truth.sinus & ~near)):
            self.seconds[name] += int(where.sum())
            self.seconds[f"{name}_vf"] += int((where & said_vf).sum())
        said_vt = said_vf | truth.marks([(a.onset_s, a.end_s) for a in alarms if a.kind == VT])
        for name, true, said in (("vf", vf, said_vf), ("vt", vt, said_vt)):
            self.seconds[name] += int(true.sum())
            self.seconds[f"{name}_found"] += int((true & said).sum())
        if not truth.paced:
            af = truth.mask(AF)
            said_af = truth.marks([(a.onset_s, a.end_s) for a in alarms if a.kind == AF])
            self.seconds["af"] += int(af.sum())
            self.seconds["af_tp"] += int((af & said_af).sum())
            self.seconds["af_wrong"] += int((af ^ said_af).sum())
        for name, kinds, spans in (
            ("vf", (VF,), [s for s in truth.spans[VF] if s[1] - s[0] >= CONFIRMED_S]),
            ("vf_any_length", (VF, VT), truth.spans[VF]),
            ("vt_run", (VT, VF), truth.spans[VT]),
            ("vt", (VT, VF), [s for s in truth.spans[VT] if s[1] - s[0] >= SUSTAINED_S]),
            ("af", (AF,), [s for s in truth.spans[AF] if s[1] - s[0] >= SUSTAINED_S and not truth.paced]),
            ("wrong_rate", (UNANALYSABLE,), _stretches(truth.wrong_rate)),
        ):
            mine = [a for a in alarms if a.kind in kinds]
            self.episodes[name] += len(spans)
            self.found[name] += sum(any(a.hits(span) for a in mine) for span in spans)
            self.overlapped[name] += sum(any(a.overlaps(span) for a in mine) for span in spans)
        return wrong

    def per_24h(self, *, kind: str | None = None, priority: str | None = None) -> float:
        """False alarms of a kind and of a priority, or of any."""
        count = sum(
            each
            for (its_priority, its_kind), each in self.false.items()
            if kind in {None, its_kind} and priority in {None, its_priority}
        )
        return 24 * count / self.hours

    def figures(self) -> Metrics:
        """The figures of recordings; one without a case is left out."""
        every = self.per_24h()
        out = {
            "false_per_24h": every,
            "false_rhythm_per_24h": every - self.per_24h(kind=UNANALYSABLE),
            **{f"false_{of}_priority_per_24h": self.per_24h(priority=of) for of in ("high", "medium")},
            **{f"false_{kind}_per_24h": self.per_24h(kind=kind) for kind in KINDS},
            "alarms_true": float(self.true.total()),
            "alarms_false": float(self.false.total()),
            "alarms_unjudged": float(self.unjudged.total()),
            "hours": self.hours,
        }
        for name in ("sinus", "other"):
            if self.seconds[name]:
                out[f"{name}_sp"] = 1 - self.seconds[f"{name}_vf"] / self.seconds[name]
        for name, count in self.episodes.items():
            if count:
                out[f"{name}_episodes"] = float(count)
                out[f"{name}_episode_se"] = self.found[name] / count
                out[f"{name}_episode_overlap_se"] = self.overlapped[name] / count
        for name in ("vf", "vt"):
            if self.seconds[name]:
                out[f"{name}_duration_se"] = self.seconds[f"{name}_found"] / self.seconds[name]
        for name, kind in (("vf", VF), ("vt", VT), ("af", AF)):
            true, false = (
                sum(count for (_, its), count in counts.items() if its == kind)
                for counts in (self.true, self.false)
            )
            if true + false:
                out[f"{name}_ppv"] = true / (true + false)
        if self.seconds["af"]:
            out["af_f1"] = 2 * self.seconds["af_tp"] / (2 * self.seconds["af_tp"] + self.seconds["af_wrong"])
        return out


@dataclass(slots=True)
class _Simulated:
    """Simulated episodes: tried and found in time by what they must raise, and how long it took."""

    tried: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    reactions: list[float] = field(default_factory=list)
    late: list[Strip] = field(default_factory=list)

    def add(self, episode: Episode) -> None:
        """Play an episode; a tachycardia counts as found while it lasts, the others within ten seconds."""
        length_s = LEAD_IN_S + EPISODE_S
        alarms = raised(alarms_of(episode.ecg_uv, episode.fs_hz), float(length_s))
        waits = [a.at_s - LEAD_IN_S for a in alarms if a.kind in episode.wanted and a.at_s > LEAD_IN_S]
        wait = min(waits, default=float(EPISODE_S))
        what = episode.wanted[0]
        in_time = bool(waits) if what == VT else wait <= IN_TIME_S
        self.tried[what] += 1
        self.found[what] += in_time
        if what != VT:
            self.reactions.append(wait)
        if not in_time and len(self.late) < _WORST:
            start = round((LEAD_IN_S - 2) * episode.fs_hz)
            ecg = episode.ecg_uv[start : start + round(14 * episode.fs_hz)].astype(np.float32)
            said = ", ".join(f"{a.kind} at {a.at_s - LEAD_IN_S:.1f} s" for a in alarms) or "no alarm"
            self.late.append(Strip(f"{episode.title}: {said}", ecg, episode.fs_hz))


def rhythm(
    data: Path,
    *,
    noise: Path | None = None,
    seed: int = 1,
    repeats: int = REPEATS,
    names: Iterable[str] = (),
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P9. Raises `NoRecordError`, `OSError`."""
    found = [records.read(path) for path in records.paths(data, paced=True, names=names)]
    kinds = sorted({kind for kind, _ in NOISES}) if noise is not None else []
    noises = {kind: records.noise(noise, kind, fs_hz=found[0].fs_hz) for kind in kinds if noise is not None}
    every = list(episodes(found, noises, seed=seed, repeats=repeats))
    advance = steps(len(found) + len(every))
    tally = Tally()
    rows: list[tuple[str, ...]] = []
    strips: list[Strip] = []
    for record in found:
        changes, beats_s = played(record.ecg_uv, record.fs_hz)
        alarms = raised(changes, record.length_s)
        wrong = tally.add(alarms, truth_of(record, beats_s))
        rows.append((record.name, _told(alarms), _told(wrong)))
        strips += [_strip(record, each) for each in wrong[:1]]
        advance(record.name)
    simulated = _Simulated()
    for episode in every:
        simulated.add(episode)
        advance(episode.title)
    metrics = _joined(tally, simulated)
    return Outcome(
        Report(
            protocol="rhythm",
            model="rules of the gateway",
            data=str(data),
            records=[record.name for record in found],
            seed=seed,
            metrics=metrics,
            peers={},
            bar=BAR,
            passed=meets(metrics, BAR),
        ),
        notes=(
            f"{len(every)} simulated episodes after recorded sinus rhythm, "
            + ("without recorded noise: give --noise" if noise is None else f"with noise of {noise}"),
        ),
        tables=(
            Grid("alarms on recordings", ("record", "raised", "false"), tuple(rows)),
            _kinds(tally),
        ),
        strips=(*simulated.late, *strips[:_WORST]),
        digests={record.name: record.digest for record in found},
    )


def _joined(tally: Tally, simulated: _Simulated) -> Metrics:
    """Recorded and simulated episodes together where both say the same, apart where they do not."""
    out = tally.figures()
    for name, kind in (("vf", VF), ("vt", VT), ("asystole", "asystole")):
        tried = tally.episodes[name] + simulated.tried[kind]
        if tried:
            out[f"{name}_se"] = (tally.found[name] + simulated.found[kind]) / tried
        if simulated.tried[kind]:
            out[f"{name}_simulated"] = float(simulated.tried[kind])
            out[f"{name}_simulated_se"] = simulated.found[kind] / simulated.tried[kind]
    if simulated.reactions:
        out["reaction_s_p50"] = float(np.percentile(simulated.reactions, 50))
        out["reaction_s_p99"] = float(np.percentile(simulated.reactions, 99))
    named = ("vf_se", "vf_ppv", "vt_se", "asystole_se", "sinus_sp", "other_sp", "false_per_24h")
    first = {name: out[name] for name in (*named, "reaction_s_p99", "af_f1") if name in out}
    return first | out


def _told(alarms: list[Raised]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(a.kind for a in alarms).items()))


def _kinds(tally: Tally) -> Grid:
    """Every kind of alarm by its priority: how many were true, false, and not judged, the worst first."""
    seen = {*tally.true, *tally.false, *tally.unjudged}
    named = sorted(seen, key=lambda each: (_PRIORITIES.index(each[0]), KINDS.index(each[1])))
    rows = [
        (
            kind,
            priority,
            *_counts(tally, {(priority, kind)}),
            f"{tally.per_24h(kind=kind, priority=priority):.2f}",
        )
        for priority, kind in named
    ]
    for priority in _PRIORITIES:
        of = {each for each in seen if each[0] == priority}
        rows.append(("every kind", priority, *_counts(tally, of), f"{tally.per_24h(priority=priority):.2f}"))
    rows.append(("every kind", "every", *_counts(tally, seen), f"{tally.per_24h():.2f}"))
    columns = ("kind", "priority", "true", "false", "not judged", "false per 24 h")
    return Grid("alarms by kind and priority", columns, tuple(rows))


def _counts(tally: Tally, of: set[tuple[str, str]]) -> tuple[str, str, str]:
    true, false, unjudged = (
        str(sum(counts[each] for each in of)) for counts in (tally.true, tally.false, tally.unjudged)
    )
    return true, false, unjudged


def _stretches(seconds: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Spans of seconds that are long enough for an alarm."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], seconds.astype(np.int8), [0]))))
    spans = zip(edges[::2], edges[1::2], strict=True)
    return [(float(start), float(end)) for start, end in spans if end - start >= UNREADABLE_S]


def _strip(record: Recorded, alarm: Raised) -> Strip:
    start = max(0, round((alarm.at_s - 8) * record.fs_hz))
    ecg = record.ecg_uv[start : start + round(10 * record.fs_hz)]
    marks = [
        (int(at) - start, str(symbol))
        for at, symbol in zip(record.sample, record.symbol, strict=True)
        if start <= at < start + ecg.size
    ]
    title = f"record {record.name} at {start / record.fs_hz:.0f} s: {alarm.kind} that the annotations do not bear out"
    return Strip(title, ecg, record.fs_hz, tuple(marks))
