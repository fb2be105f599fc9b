"""The beat model on one wearable's stream: scores in order, and an alert now and then within the patient's budget.

A beat is scored once the beat after it and the quality of its own second are known. It abstains where the signal was
poor, where the patient is paced, and before the patient's own reference and rhythm are known. A model alert is always
of low priority: rules alone raise higher ones.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final, Literal
from uuid import uuid4

import numpy as np
import structlog
from numpy.typing import NDArray

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import ScoringConfig
from vitalwire_edge.inference.beat_model import BeatScore, BeatScorer
from vitalwire_edge.inference.calibration import ALERT_S, Alert, AlertCalibration
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.inference.head import NAMES
from vitalwire_edge.inference.level import OwnLevel
from vitalwire_edge.inference.score import Memory
from vitalwire_edge.ota.slot import Loaded, ModelSlot
from vitalwire_edge.signal.beats import BEFORE, RunningReference
from vitalwire_edge.signal.chain import BeatWindow, SignalSecond
from vitalwire_edge.signal.resample import ANALYSIS_HZ
from vitalwire_edge.wearable.patient import Baseline, Baselines, packed
from vitalwire_edge.wearable.scorable import ScorableBeats
from vitalwire_edge.wire.messages import BeatEvidence, ScoreMark

log = structlog.get_logger()

KIND: Final = "beat_anomaly"
RULE: Final = "beat model"
PACING_UNKNOWN: Final = "pacemaker unknown"

_ALERT_NS: Final = round(ALERT_S * 1e9)
_NAMED_FROM: Final = 0.5
"""Probability below which an alert does not say what its beat looks like."""
_KEEP_EVERY_NS: Final = 600_000_000_000
_PARTS: Final = {
    "shape": "its shape differs from this patient's own",
    "timing": "it came at an unusual time",
    "amplitude": "its size differs from this patient's own",
}


class NotAScoreError(ArithmeticError):
    """A model returned something that is not a finite number."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What every wearable's scoring shares."""

    slot: ModelSlot[BeatScorer]
    config: ScoringConfig
    baselines: Baselines


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """Scores in order by one model; `mono_ns` is the last beat's time."""

    model: str
    version: int
    threshold: float
    mono_ns: int
    scores: tuple[tuple[int, BeatScore | None], ...]

    def marks(self, clock: GatewayClock) -> tuple[ScoreMark, ...]:
        """The scores as they go on the wire."""
        return tuple(_mark(clock.utc_ns(mono_ns), score) for mono_ns, score in self.scores)


class BeatScoring:
    """Scores the beats of one device. One thread.

    `counts` tells what became of beats since the start: `beats_scored`, `beats_abstained`, `beats_missed` (no model),
    `score_failures`, `model_alerts`. A call that fails costs its beat, never the stream.

    Args:
        device: its name.
        shared: slot, configuration and files.
        paced: the patient's pacemaker flag.
        clock: the gateway's.
        on_scores: takes a batch, about once a second.
        on_alert: takes a raised alert with its evidence, or a cleared one.
        open_alert: a model alert that was open before a restart.

    """

    def __init__(
        self,
        device: str,
        shared: Scoring,
        *,
        paced: Literal["yes", "no", "unknown"],
        clock: GatewayClock,
        on_scores: Callable[[ScoreBatch], None],
        on_alert: Callable[[AlarmChange, BeatEvidence | None], None],
        open_alert: AlarmChange | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._device = device
        self._slot = shared.slot
        self._budget = shared.config.alerts_per_hour
        self._baselines = shared.baselines
        self._paced = paced
        self._clock = clock
        self._on_scores = on_scores
        self._on_alert = on_alert
        self._open = open_alert
        self._open_until_ns = 0
        if open_alert is not None:
            now = clock.now()
            self._open_until_ns = min(open_alert.onset_ns - clock.offset_ns, now.mono_ns) + _ALERT_NS
        self._kept = shared.baselines.load(device)
        self._kept_ns = clock.now().mono_ns
        self._calibration: AlertCalibration | None = None
        self._memory: Memory | None = None
        self._generation = -1
        self._model = ""
        self._failed_generation = -1
        self._lead: int | None = None
        self._reference = RunningReference()
        self._beats = ScorableBeats(ANALYSIS_HZ)
        self._scores: list[tuple[int, BeatScore | None]] = []
        self._by: Loaded[BeatScorer] | None = None

    def begin(self, lead: int, fs_hz: float) -> RunningReference:
        """A device that (re)started: the reference beat for its lead `lead`, kept where the lead is the same."""
        if self._lead != lead:
            kept = self._kept
            known = self._lead is None and kept is not None and kept.code == lead
            self._reference = kept.reference() if known and kept is not None else RunningReference()
            self._lead = lead
        self._beats = ScorableBeats(fs_hz)
        return self._reference

    def beat(self, sample: int, mono_ns: int) -> None:
        """A detected beat and its time; its window follows."""
        if not self._beats.follows(sample):
            self._beats = ScorableBeats(self._beats.fs_hz)
        self._beats.beat(sample, mono_ns)

    def windows(self, windows: Sequence[BeatWindow]) -> None:
        """Windows of beats that were told, in order."""
        if windows:
            self._safely(lambda beats: beats.windows(windows))

    def second(self, second: SignalSecond) -> None:
        """A judged second: what lies in it may be scored now."""
        self._safely(lambda beats: beats.second(second))
        self.flush()

    def tick(self, now_ns: int) -> None:
        """Time passes: an alert ends 30 s after its first beat."""
        if self._open is not None and now_ns >= self._open_until_ns:
            self._clear(now_ns)

    def pacing(self, paced: Literal["yes", "no", "unknown"], now_ns: int) -> None:
        """What is known of a pacemaker has changed: with one nothing is scored, and no alert of before holds."""
        self._paced = paced
        if paced == "yes":
            self.end(now_ns)

    def end(self, now_ns: int) -> None:
        """The patient is another one: hand out what was gathered, and end an alert that is open."""
        self.flush()
        if self._open is not None:
            self._clear(now_ns)

    def flush(self) -> None:
        """Hand out the scores that were gathered."""
        if self._scores and self._by is not None and self._calibration is not None:
            scores, self._scores = tuple(self._scores), []
            threshold = round(self._calibration.threshold, 3)
            batch = ScoreBatch(self._by.manifest_sha256, self._by.version, threshold, scores[-1][0], scores)
            self._on_scores(batch)

    def keep(self) -> None:
        """Have the patient's baseline written down."""
        if self._lead is None or self._reference.current is None:
            return
        now = self._clock.now()
        self._kept_ns = now.mono_ns
        kept = self._kept
        model, calibration = self._model, None if self._calibration is None else self._calibration.state
        memory, history = self._memory, b""
        level: tuple[float, ...] = ()
        weighed: tuple[float, ...] = ()
        if memory is not None:
            history = memory.history.packed()
            level, weighed = _rounded(memory.surprise), _rounded(memory.weighed)
        elif kept is not None:
            # No model has scored since the start: what the last one left is not forgotten for that.
            model, calibration = kept.model, kept.calibration_now(self._clock)
            history, level, weighed = kept.history, kept.level, kept.weighed_level
        self._baselines.keep(
            Baseline(
                device=self._device,
                code=self._lead,
                boot=self._clock.boot,
                mono_ns=now.mono_ns,
                utc_ns=now.utc_ns if now.synchronised else None,
                windows=packed(self._reference.snapshot()),
                model=model,
                calibration=calibration,
                level=level,
                weighed_level=weighed,
                history=history,
            )
        )

    def _safely(self, take: Callable[[ScorableBeats], None]) -> None:
        """Take something in and score what is due; what fails costs the beats that waited, never the stream."""
        try:
            take(self._beats)
            self._score_due()
        except Exception as error:  # noqa: BLE001 - whatever it is, the wearable's data must go on
            self._failed(error)
            self._beats = ScorableBeats(self._beats.fs_hz)

    def _score_due(self) -> None:
        for mono_ns, beat in self._beats.due():
            if beat is None or self._paced == "yes":
                self._abstain(mono_ns)
            else:
                self._score(mono_ns, beat)

    def _abstain(self, mono_ns: int) -> None:
        self._slot.abstain()
        self.counts["beats_abstained"] += 1
        loaded = self._slot.loaded
        if loaded is not None:
            self._prepared(loaded)
            self._scores.append((mono_ns, None))

    def _score(self, mono_ns: int, beat: BeatInput) -> None:
        try:
            with self._slot.lease() as loaded:
                if loaded is None:
                    self.counts["beats_missed"] += 1
                    return
                calibration, memory = self._prepared(loaded)
                score = loaded.model.score(beat, memory)
                if score is not None and not isfinite(score.score):
                    raise NotAScoreError(f"model {loaded.version} gave {score.score}")
        except Exception as error:  # noqa: BLE001 - whatever a model does, the stream goes on; the first is told
            self._failed(error)
            return
        self.counts["beats_abstained" if score is None else "beats_scored"] += 1
        alert = None
        if score is not None:
            alert = calibration.push(mono_ns / 1e9, score.alert)
        self._scores.append((mono_ns, score))
        if alert is not None and score is not None:
            self._raise(loaded, mono_ns, beat, score, alert)
        if alert is not None or mono_ns - self._kept_ns >= _KEEP_EVERY_NS:
            self.keep()

    def _expected(self, loaded: Loaded[BeatScorer], beat: BeatInput) -> NDArray[np.float32]:
        """The beat to draw over the observed one; the patient's reference where the model fails to say."""
        try:
            expected = loaded.model.expected_uv(beat)
        except Exception as error:  # noqa: BLE001 - as in `_score`
            self._failed(error)
            expected = beat.reference * np.float32(beat.scale_uv)
        return expected

    def _failed(self, error: Exception) -> None:
        """Count every failure, tell the first of each model."""
        self.counts["score_failures"] += 1
        loaded = self._slot.loaded
        generation = -1 if loaded is None else loaded.generation
        if generation != self._failed_generation:
            self._failed_generation = generation
            log.error("score_failed", device=self._device, exc_info=error)

    def _prepared(self, loaded: Loaded[BeatScorer]) -> tuple[AlertCalibration, Memory]:
        """Calibration and memory under `loaded`: a swap begins them anew, a restart with the same model does not."""
        if (
            self._calibration is not None
            and self._memory is not None
            and loaded.generation == self._generation
        ):
            return self._calibration, self._memory
        self.flush()
        self._by = loaded
        before, same, kept = self._calibration, False, self._kept
        if before is None and kept is not None:
            state = kept.calibration_now(self._clock)
            if state is not None:
                before = AlertCalibration.restored(state, budget_per_hour=self._budget)
                same = kept.model == loaded.manifest_sha256
        if before is None:
            before = AlertCalibration(budget_per_hour=self._budget, threshold=loaded.model.threshold)
        if same and kept is not None:
            memory = loaded.model.resumed(kept.history, kept.level, kept.weighed_level)
            self._memory, self._calibration = memory, before
        else:
            self._memory, self._calibration = loaded.model.begin(), before.renewed(loaded.model.threshold)
        self._model, self._generation = loaded.manifest_sha256, loaded.generation
        return self._calibration, self._memory

    def _raise(
        self, loaded: Loaded[BeatScorer], mono_ns: int, beat: BeatInput, score: BeatScore, alert: Alert
    ) -> None:
        now = self._clock.now()
        if self._open is not None:
            self._clear(now.mono_ns)
        self.counts["model_alerts"] += 1
        r_ns = self._clock.utc_ns(mono_ns)
        change = AlarmChange(
            alarm_id=uuid4().hex,
            kind=KIND,
            priority="low",
            category="physiological",
            phase="raised",
            onset_ns=min(r_ns, now.utc_ns),
            at_ns=now.utc_ns,
            text=_told(score),
            rule=RULE,
            value=round(alert.score, 2),
            limit=round(alert.threshold, 2),
            notes=(PACING_UNKNOWN,) if self._paced == "unknown" else (),
        )
        evidence = BeatEvidence(
            r_ns=r_ns,
            rate_hz=ANALYSIS_HZ,
            r_index=BEFORE,
            observed_uv=tuple(round(float(v) * beat.scale_uv) for v in beat.beat),
            expected_uv=tuple(round(float(v)) for v in self._expected(loaded, beat)),
            score=round(alert.score, 3),
            threshold=round(alert.threshold, 3),
            shape=round(score.shape, 3),
            timing=round(score.timing, 3),
            amplitude=round(score.amplitude, 3),
            model=loaded.manifest_sha256,
            version=loaded.version,
        )
        self._open, self._open_until_ns = change, mono_ns + _ALERT_NS
        self._on_alert(change, evidence)

    def _clear(self, now_ns: int) -> None:
        assert self._open is not None
        over, self._open = self._open, None
        at_ns = max(self._clock.utc_ns(now_ns), over.at_ns)
        self._on_alert(replace(over, phase="cleared", at_ns=at_ns, text="Over after 30 s"), None)


def _rounded(level: OwnLevel) -> tuple[float, ...]:
    return tuple(round(score, 4) for score in level.values)


def _told(score: BeatScore) -> str:
    """What the alert says: what stands out, and what the beat looks like where the model dares to say."""
    text = f"Unusual beat: {_PARTS[driver(score)]}"
    like = score.likeness
    if like is None or like[0] == "N" or like[1] < _NAMED_FROM:
        return text
    return f"{text}; looks most like {NAMES[like[0]]} ({like[1]:.0%})"


def driver(score: BeatScore) -> Literal["shape", "timing", "amplitude"]:
    """Which part of a score stands out most."""
    parts: dict[Literal["shape", "timing", "amplitude"], float] = {
        "shape": score.shape,
        "timing": score.timing,
        "amplitude": score.amplitude,
    }
    return max(parts, key=lambda name: parts[name])


def _mark(r_ns: int, score: BeatScore | None) -> ScoreMark:
    if score is None:
        return ScoreMark(r_ns, None)
    return ScoreMark(
        r_ns, round(score.score, 3), round(score.shape, 3), round(score.timing, 3), round(score.amplitude, 3)
    )
