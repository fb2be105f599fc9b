"""End to end: beats as the gateway's own chain finds them in a record, labelled by the annotations they match.

A detection matches an annotated beat within 150 ms (EC57). What is compared afterwards: an abnormal beat that was
missed, or that the model abstained from, is a miss and stands at the bottom of the ranking; an extra detection is a
normal beat with its score; normal beats without a score are left out. Detections inside ventricular flutter, where
nobody annotates beats, do not count.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation.beats import CLASSES, SCORE, Columns, Scored, Scorer
from vitalwire_cloud.evaluation.records import CLASSES as CLASS_OF
from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_cloud.train.dataset import Patient, patient_of
from vitalwire_edge.inference import features
from vitalwire_edge.signal.chain import BeatWindow, EcgChain
from vitalwire_edge.signal.scoring import TOLERANCE_S, match_beats

EXTRA = "extra"
_FIRST_S = 300.0


@dataclass(frozen=True, slots=True)
class Detections:
    """A record through the chain.

    Attributes:
        patient: the beats that have model inputs; `label` is their annotated class, or empty for an extra one.
        analysable: (n,) per beat, whether its second allows model scores.
        missed: class letters of the annotated beats after the first five minutes that were not detected.
        unscored: likewise, detected but without model input.

    """

    patient: Patient
    analysable: NDArray[np.bool_]
    missed: NDArray[np.str_]
    unscored: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """A record's ranking, and how many of its counted beats have a score of their own."""

    scored: Scored
    beats: int
    covered: int
    abnormal: int
    abnormal_covered: int


def detections(record: Recorded) -> Detections:
    """Run the gateway's chain over a record in blocks of one second."""
    windows, seconds = _through_chain(record)
    found = list(features.inputs(windows, fs_hz=record.fs_hz))
    at = np.array([window.sample for window in windows], dtype=np.int64)
    known = np.isin(record.symbol, list(CLASS_OF))
    truth = record.sample[known]
    classes = np.array([CLASS_OF[str(symbol)] for symbol in record.symbol[known]], dtype="<U1")
    match = match_beats(truth.astype(np.float64), at.astype(np.float64), fs_hz=record.fs_hz)
    label_of = {
        int(sample): str(classes[of]) if of >= 0 else ""
        for sample, of in zip(at, match.reference_of, strict=True)
    }
    late = truth >= _FIRST_S * record.fs_hz
    with_input = {each.sample for each in found}
    hit = match.detected_of >= 0
    silent = np.array(
        [bool(h) and int(at[d]) not in with_input for h, d in zip(hit, match.detected_of, strict=True)]
    )
    sample = np.array([each.sample for each in found], dtype=np.int64)
    patient = Patient(
        record=record.name,
        patient=patient_of(record.name),
        digest=record.digest,
        fs_hz=record.fs_hz,
        sample=sample,
        beat=np.stack([each.beat for each in found]),
        reference=np.stack([each.reference for each in found]),
        context=np.stack([each.context for each in found]),
        label=np.array([label_of[each.sample] for each in found], dtype="<U1"),
        unscored=classes[silent],
    )
    second = np.clip((sample / record.fs_hz).astype(np.int64), 0, seconds.size - 1)
    return Detections(patient, seconds[second], classes[late & ~hit], classes[late & silent])


def _through_chain(record: Recorded) -> tuple[list[BeatWindow], NDArray[np.bool_]]:
    chain = EcgChain(fs_hz=record.fs_hz)
    block = round(record.fs_hz)
    tail = np.full(2 * block, np.nan, dtype=np.float32)
    ecg = np.concatenate((record.ecg_uv, tail))
    windows: list[BeatWindow] = []
    analysable = np.zeros(ecg.size // block + 2, dtype=np.bool_)
    for start in range(0, ecg.size, block):
        out = chain.push(start, ecg[start : start + block])
        windows += out.windows
        for second in out.seconds:
            analysable[round(second.first_sample / record.fs_hz)] = second.analysable
    return windows, analysable


def scored_by(found: Detections, by: Scorer, *, abstain: bool = True) -> Columns:
    """Scores (n,) of the beats; with `abstain` those of bad signal are never given to the scorer and have NaN."""
    patient = found.patient
    chosen = found.analysable if abstain else np.ones_like(found.analysable)
    per_beat = ("sample", "beat", "reference", "context", "label")
    given = replace(patient, **{name: getattr(patient, name)[chosen] for name in per_beat})
    return {name: _spread(values, chosen) for name, values in by(given).items()}


def _spread(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values of the chosen beats at their places among all, NaN elsewhere."""
    every = np.full(chosen.size, np.nan)
    every[chosen] = values
    return every


def end_to_end(found: Detections, record: Recorded, by: Scorer) -> EndToEnd:
    """Rank a record's counted beats by a scorer, in each of its columns."""
    patient = found.patient
    columns = scored_by(found, by)
    scored = np.isfinite(columns[SCORE])
    late = patient.sample >= _FIRST_S * patient.fs_hz
    extra = (patient.label == "") & ~_in_flutter(patient.sample, record)
    matched = np.isin(patient.label, list(CLASSES))
    use = late & (matched | extra) & scored
    lost = np.concatenate((found.missed, found.unscored, patient.label[late & matched & ~scored]))
    lost_abnormal = lost[np.isin(lost, ["S", "V", "F"])]
    label = np.where(patient.label == "", "N", patient.label)
    ranked = Scored(
        record=patient.record,
        patient=patient.patient,
        fs_hz=patient.fs_hz,
        sample=np.concatenate((patient.sample[use], np.full(lost_abnormal.size, -1, dtype=np.int64))),
        label=np.concatenate((label[use], lost_abnormal)),
        scores={name: _with_lost(score[use], lost_abnormal.size) for name, score in columns.items()},
    )
    covered = use & matched
    abnormal = covered & (patient.label != "N")
    return EndToEnd(
        scored=ranked,
        beats=int(covered.sum()) + int(np.isin(lost, list(CLASSES)).sum()),
        covered=int(covered.sum()),
        abnormal=int(abnormal.sum()) + lost_abnormal.size,
        abnormal_covered=int(abnormal.sum()),
    )


def _with_lost(score: NDArray[np.float64], lost: int) -> NDArray[np.float64]:
    """Scores, and below them all those of beats that were lost."""
    return np.concatenate((score, np.full(lost, float(score.min(initial=0.0)) - 1.0)))


def _in_flutter(sample: NDArray[np.int64], record: Recorded) -> NDArray[np.bool_]:
    near = TOLERANCE_S * record.fs_hz
    inside = np.zeros(sample.size, dtype=np.bool_)
    for start, end in record.flutter:
        inside |= (sample >= start - near) & (sample <= end + near)
    for wave in record.flutter_waves:
        inside |= np.abs(sample - wave) <= near
    return inside
