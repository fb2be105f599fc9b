"""What the store holds, as patients to learn from: who wore the devices, or the devices where nobody was assigned.

The stored waveform goes through the gateway's own chain and features, so a beat looks here as it did beside the bed.
Nobody labelled it. A beat is taken for normal when nothing speaks against it:

- the gateway marked it too, did not call it wide, and the second it lies in was analysable;
- it lies in no alarm episode of the patient's ECG, nor beside a beat that the model alerted for, with a margin;
- its QRS is like the patient's running reference, and it comes about when that patient's beats come.

A model alert that staff rejected turns this around: what it was about is an unusual but normal beat of this patient,
and just what the model must learn. The rules drop normal beats (sinus arrhythmia, a cough) rather than let an ectopic
one in: a model that learned from ectopy stops noticing it, one that saw a little less variety alerts a little more.
A patient whose beats mostly fail is left out, for then the reference beat itself may not be a normal one.

So that a head has something to learn from, ectopy is simulated in the longest unbroken stretch of each strip.
"""

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from vitalwire_cloud.alerts.ledger import AlarmLedger
from vitalwire_cloud.config import ENV_PREFIX, CloudConfig
from vitalwire_cloud.metadata.register import Assignment, RegisterError, open_register
from vitalwire_cloud.store.interface import DeviceRecord, Segment, StoreError, StoreReading
from vitalwire_cloud.store.opening import open_reader
from vitalwire_cloud.train.dataset import DRAWS, Patient, drawn, patient_of_strip
from vitalwire_cloud.train.simulated_ectopy import Strip
from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.process import config as layers
from vitalwire_edge.signal.chain import BeatWindow, EcgChain, SignalSecond
from vitalwire_edge.wire.codes import LEADS, Code
from vitalwire_edge.wire.messages import Flag

MODEL_ALERT: Final = "beat_anomaly"
OF_OTHER_SIGNS: Final = frozenset(
    {
        *("spo2_low", "temperature_high", "temperature_low", "respiration_high", "respiration_low"),
        *("pressure_high", "pressure_low", "news2", "battery_low", "device_silent", "gateway_silent"),
        "gateway_twice",
    }
)
"""Alarms that say nothing about a heart beat."""

MIN_BEATS: Final = 10
MIN_SHARE: Final = 0.5
MIN_CORRELATION: Final = 0.9
MAX_EARLY_OR_LATE: Final = 0.2
MARGIN_NS: Final = 3_000_000_000
_MARKED_NS: Final = 60_000_000
"""How far a stored beat may stand from the one found here: a strip keeps time to 40 ms (`segments.DRIFT_NS`)."""
_DESK_FILE: Final = "desk.sqlite"
_PATIENTS_FILE: Final = "patients.sqlite"
_STRIP_NS: Final = 600 * 1_000_000_000
_ALARMS: Final = 1000
_SEAM: Final = 2
_DRAWN_S: Final = 1800
"""At most so much of a device's strip has ectopy simulated in it: as much as a record of a database."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Episode:
    device: str
    alarm_id: str
    kind: str
    start_ns: int
    end_ns: int | None

    def covers(self, at_ns: NDArray[np.int64], margin_ns: int) -> NDArray[np.bool_]:
        end_ns = np.iinfo(np.int64).max - margin_ns if self.end_ns is None else self.end_ns
        held: NDArray[np.bool_] = (at_ns >= self.start_ns - margin_ns) & (at_ns <= end_ns + margin_ns)
        return held


@dataclass(frozen=True, slots=True)
class _Heard:
    """A device's strip after the chain: model inputs with the time of each, and the seconds that were judged."""

    inputs: list[BeatInput]
    at_ns: NDArray[np.int64]
    analysable: NDArray[np.bool_]
    fs_hz: float
    digest: str
    stretch: tuple[int, NDArray[np.float32]]
    """First sample and samples of the longest unbroken stretch, at most `_DRAWN_S` of it."""


def read_store(folder: Path, *, hours: float = 24.0) -> list[Patient]:
    """`load_store` of a service's data folder with what staff said of its model alerts, also while the service runs.

    Which backend it has stands in the environment, as for the service. Raises `StoreError`, `ConfigError`.
    """
    config = layers.load(CloudConfig, env_prefix=ENV_PREFIX, flags={"data_dir": str(folder)})
    reader = open_reader(config)
    try:
        return load_store(
            reader,
            until_ns=time.time_ns(),
            hours=hours,
            rejected=_rejected(config),
            assignments=_assignments(config),
            to_learn=True,
        )
    finally:
        reader.close()


def _rejected(config: CloudConfig) -> frozenset[str]:
    """Model alerts that staff called false."""
    if config.alerts.url is None and not (config.data / _DESK_FILE).is_file():
        return frozenset()
    ledger = AlarmLedger(config.desk_url, read_only=True)
    try:
        with ledger.transaction() as connection:
            alarms = [record.alarm for record in ledger.of_kind(connection, MODEL_ALERT)]
    finally:
        ledger.close()
    return frozenset(a.alarm_id for a in alarms if a.label is not None and a.label.verdict == "rejected")


def _assignments(config: CloudConfig) -> list[Assignment]:
    """Who wore what; empty where nobody was ever admitted."""
    if config.patients.url is None and not (config.data / _PATIENTS_FILE).is_file():
        return []
    try:
        with closing(open_register(config.data, config.patients.url)) as register:
            return register.assignments()
    except RegisterError as error:
        raise StoreError(str(error)) from error


def load_store(
    store: StoreReading,
    *,
    until_ns: int,
    hours: float = 24.0,
    rejected: Collection[str] = (),
    assignments: Sequence[Assignment] = (),
    to_learn: bool = False,
) -> list[Patient]:
    """The patients of a store with enough normal beats, from the last `hours` before `until_ns`.

    `to_learn` from, each is followed by `DRAWS` with simulated ectopy.

    Where there are `assignments`, a patient is who wore the devices, and what nobody's device sent is left out; where
    there are none, a device is a patient. `rejected` are the ids of model alerts that staff called false. Beats that
    were not chosen carry the label Q. Raises `StoreError`.
    """
    episodes = list(_episodes(store))
    found = []
    for record in store.devices():
        mine = [each for each in episodes if each.device == record.device]
        spans = _spans(record.device, assignments, until_ns - int(hours * 3600e9), until_ns)
        for number, (person, from_ns, to_ns) in enumerate(spans, 1):
            name = record.device if len(spans) == 1 else f"{record.device}.{number}"
            draws = DRAWS if to_learn else 0
            found += _prepared(
                store, record, name, person, (from_ns, to_ns), mine, frozenset(rejected), draws
            )
    return found


def _spans(
    device: str, assignments: Sequence[Assignment], from_ns: int, until_ns: int
) -> list[tuple[str, int, int]]:
    """Whose the device was, and from when until when."""
    if not assignments:
        return [(device, from_ns, until_ns)]
    return [
        (
            each.patient,
            max(from_ns, each.start_ns),
            until_ns if each.end_ns is None else min(until_ns, each.end_ns),
        )
        for each in assignments
        if each.device == device and each.meets(from_ns, until_ns)
    ]


def _prepared(
    store: StoreReading,
    record: DeviceRecord,
    name: str,
    person: str,
    span: tuple[int, int],
    mine: Sequence[_Episode],
    rejected: frozenset[str],
    draws: int,
) -> list[Patient]:
    """A stretch of a device's data, if enough of it can be learned from, and so many with simulated ectopy.

    `name` never tells the person's.
    """
    heard = _hear(store, record, *span)
    if heard is None:
        return []
    marked = _marked(store, record.device, heard.at_ns)
    clear = _clear(heard, mine, rejected)
    normal = clear & ((marked & _ordinary(heard)) | _called_false(heard, mine, rejected))
    if normal.sum() < max(MIN_BEATS, MIN_SHARE * clear.sum()):
        _log.info("device left out", device=record.device, beats=marked.size, normal=int(normal.sum()))
        return []
    _log.info("device prepared", device=record.device, beats=normal.size, normal=int(normal.sum()))
    whole = _patient(name, person, heard, normal)
    return [whole, *(_drawn(whole, heard.stretch, draw) for draw in range(1, draws + 1))]


def _drawn(whole: Patient, stretch: tuple[int, NDArray[np.float32]], draw: int) -> Patient:
    """The patient's stretch with simulated ectopy."""
    first, ecg_uv = stretch
    inside = (whole.sample >= first) & (whole.sample < first + ecg_uv.size)
    strip = Strip(ecg_uv, whole.sample[inside] - first, whole.label[inside])
    simulated = drawn(strip, fs_hz=whole.fs_hz, digest=whole.digest, lead=whole.lead, draw=draw)
    patient = patient_of_strip(
        simulated, fs_hz=whole.fs_hz, record=whole.record, patient=whole.patient, digest=whole.digest
    )
    return replace(patient, draw=draw)


def _episodes(store: StoreReading) -> Iterator[_Episode]:
    """Alarm episodes that say something about heart beats; one that was not cleared has no end."""
    open_now: dict[str, _Episode] = {}
    after = 0
    while page := store.alarm_messages(after, _ALARMS):
        after = page[-1].position
        for stored in page:
            said = stored.message
            if said.kind in OF_OTHER_SIGNS:
                continue
            known = open_now.get(said.alarm_id)
            start_ns = said.onset_ns if known is None else min(known.start_ns, said.onset_ns)
            end_ns = said.at_ns if said.phase == "cleared" else None
            open_now[said.alarm_id] = _Episode(stored.device, said.alarm_id, said.kind, start_ns, end_ns)
    yield from open_now.values()


def _hear(store: StoreReading, record: DeviceRecord, from_ns: int, until_ns: int) -> _Heard | None:
    """What the gateway's chain makes of a device's strip; None where there is no ECG or no scored beat in it."""
    lead = next((c.code for c in record.birth.channels if c.code in {int(code) for code in LEADS}), None)
    marks = [] if lead is None else store.beats(record.device, from_ns, until_ns)
    if lead is None or not marks:
        return None
    segments = list(_segments(store, record.device, Code(lead), marks[0].r_ns, marks[-1].r_ns))
    if not segments:
        return None
    fs_hz = segments[-1].rate_hz
    segments = [segment for segment in segments if segment.rate_hz == fs_hz]
    windows, seconds, clock = _through_chain(segments, fs_hz)
    inputs = list(features.inputs(windows, fs_hz=fs_hz))
    if not inputs:
        return None
    sample = np.array([each.sample for each in inputs], dtype=np.int64)
    digest = hashlib.sha256()
    for segment in segments:
        digest.update(segment.samples.tobytes())
    analysable = _analysable(seconds, sample, fs_hz)
    stretch = _longest(segments, clock.first, fs_hz)
    return _Heard(inputs, clock.ns(sample), analysable, fs_hz, digest.hexdigest(), stretch)


def _longest(
    segments: Sequence[Segment], first: NDArray[np.int64], fs_hz: float
) -> tuple[int, NDArray[np.float32]]:
    """The longest run of segments without a gap: its first sample, and its samples, at most `_DRAWN_S`.

    Clocks drift, so that a sample or two may be missing between two segments: they are interpolated.
    """
    ends = first + np.array([segment.samples.size for segment in segments])
    breaks = np.flatnonzero(first[1:] - ends[:-1] > _SEAM) + 1
    run = max(np.split(np.arange(first.size), breaks), key=lambda of: int(ends[of[-1]] - first[of[0]]))
    begun = int(first[run[0]])
    ecg_uv = np.full(min(int(ends[run[-1]]) - begun, int(_DRAWN_S * fs_hz)), np.nan, dtype=np.float32)
    for k in run:
        at = int(first[k]) - begun
        there = ecg_uv[at : at + segments[k].samples.size]
        there[:] = segments[k].samples[: there.size]
    missing = np.isnan(ecg_uv)
    ecg_uv[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), ecg_uv[~missing])
    return begun, ecg_uv


@dataclass(frozen=True, slots=True)
class _StripClock:
    """Where each segment begins, in samples and in time."""

    first: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    fs_hz: float

    def ns(self, sample: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.maximum(np.searchsorted(self.first, sample, side="right") - 1, 0)
        passed = np.rint((sample - self.first[at]) * 1e9 / self.fs_hz)
        times: NDArray[np.int64] = self.start_ns[at] + passed.astype(np.int64)
        return times


def _through_chain(
    segments: Sequence[Segment], fs_hz: float
) -> tuple[list[BeatWindow], list[SignalSecond], _StripClock]:
    chain = EcgChain(fs_hz=fs_hz)
    windows: list[BeatWindow] = []
    seconds: list[SignalSecond] = []
    first: list[int] = []
    for segment in segments:
        since_ns = segment.start_ns - segments[0].start_ns
        index = max(round(since_ns * fs_hz / 1e9), chain.next_sample or 0)
        first.append(index)
        out = chain.push(index, segment.samples, lead_off=bool(segment.flags & Flag.LEAD_OFF))
        windows += out.windows
        seconds += out.seconds
    starts_ns = np.array([segment.start_ns for segment in segments], dtype=np.int64)
    return windows, seconds, _StripClock(np.array(first, dtype=np.int64), starts_ns, fs_hz)


def _segments(store: StoreReading, device: str, code: Code, first_ns: int, last_ns: int) -> Iterator[Segment]:
    start_ns, end_ns = first_ns - MARGIN_NS, last_ns + MARGIN_NS
    while start_ns < end_ns:
        yield from store.strip(device, int(code), start_ns, min(start_ns + _STRIP_NS, end_ns))
        start_ns += _STRIP_NS


def _analysable(
    seconds: Sequence[SignalSecond], sample: NDArray[np.int64], fs_hz: float
) -> NDArray[np.bool_]:
    """Whether the second that each sample lies in was good enough to score beats in."""
    first = np.array([each.first_sample for each in seconds], dtype=np.int64)
    good = np.array([each.analysable for each in seconds], dtype=np.bool_)
    if first.size == 0:
        return np.zeros(sample.size, dtype=np.bool_)
    at = np.searchsorted(first, sample, side="right") - 1
    inside: NDArray[np.bool_] = (at >= 0) & (sample - first[at] <= fs_hz) & good[at]
    return inside


def _marked(store: StoreReading, device: str, at_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the gateway marked a narrow beat there."""
    marks = store.beats(device, int(at_ns[0]) - _MARKED_NS, int(at_ns[-1]) + _MARKED_NS)
    narrow = np.array([mark.r_ns for mark in marks if not mark.wide], dtype=np.int64)
    if narrow.size == 0:
        return np.zeros(at_ns.size, dtype=np.bool_)
    after = np.searchsorted(narrow, at_ns).clip(max=narrow.size - 1)
    before = np.maximum(after - 1, 0)
    off_ns = np.minimum(np.abs(narrow[after] - at_ns), np.abs(narrow[before] - at_ns))
    close: NDArray[np.bool_] = off_ns <= _MARKED_NS
    return close


def _clear(heard: _Heard, episodes: Sequence[_Episode], rejected: frozenset[str]) -> NDArray[np.bool_]:
    """Beats in good signal that no alarm speaks of. A model alert lasts a while, but speaks of its first beat only."""
    clear = heard.analysable.copy()
    for each in episodes:
        if each.kind != MODEL_ALERT:
            clear &= ~each.covers(heard.at_ns, MARGIN_NS)
        elif each.alarm_id not in rejected:
            clear &= ~replace(each, end_ns=each.start_ns).covers(heard.at_ns, MARGIN_NS)
    return clear


def _called_false(heard: _Heard, episodes: Sequence[_Episode], rejected: frozenset[str]) -> NDArray[np.bool_]:
    """Beats of model alerts that staff rejected: all that the alert lasted for."""
    found = np.zeros(heard.at_ns.size, dtype=np.bool_)
    for each in episodes:
        if each.kind == MODEL_ALERT and each.alarm_id in rejected:
            found |= each.covers(heard.at_ns, _MARKED_NS)
    return found


def _ordinary(heard: _Heard) -> NDArray[np.bool_]:
    """Beats like the patient's reference that come when they should."""
    context = np.stack([each.context for each in heard.inputs])
    column = {name: context[:, index] for index, name in enumerate(features.CONTEXT)}
    ordinary: NDArray[np.bool_] = column["corr_qrs"] >= np.arctanh(MIN_CORRELATION)
    for name in ("rr_before", "rr_after"):
        ordinary &= np.abs(column[name]) <= np.log1p(MAX_EARLY_OR_LATE)
    return ordinary


def _patient(name: str, person: str, heard: _Heard, normal: NDArray[np.bool_]) -> Patient:
    return Patient(
        record=name,
        patient=person,
        digest=heard.digest,
        fs_hz=heard.fs_hz,
        sample=np.array([each.sample for each in heard.inputs], dtype=np.int64),
        beat=np.stack([each.beat for each in heard.inputs]),
        reference=np.stack([each.reference for each in heard.inputs]),
        context=np.stack([each.context for each in heard.inputs]),
        label=np.where(normal, "N", "Q").astype("<U1"),
        unscored=np.empty(0, dtype="<U1"),
    )
