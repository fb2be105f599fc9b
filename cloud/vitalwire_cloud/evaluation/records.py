"""Annotated WFDB recordings as the protocols read them: one channel in microvolts, its labels, its hash."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import wfdb
from numpy.typing import NDArray
from scipy.signal import resample_poly

from vitalwire_cloud.train.dataset import NoRecordError, first_lead, known, read_lead

PACED: Final = frozenset(("102", "104", "107", "217"))
BEATS: Final = frozenset("NLRBAaJSVrFejnE/fQ?")
CLASSES: Final = {
    symbol: name
    for name, symbols in {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}.items()
    for symbol in symbols
}
"""ANSI/AAMI EC57, as the protocols name them."""

_TO_UV: Final = {"mV": 1000.0, "V": 1e6, "uV": 1.0, "µV": 1.0}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One annotated recording; positions in samples.

    Attributes:
        name: of the record; digest: SHA-256 of its signal file.
        ecg_uv: (n,) one channel; missing samples are NaN.
        sample, symbol, aux: every annotation, in order.
        noise: spans in which the annotators call this channel noisy or unreadable.

    """

    name: str
    digest: str
    fs_hz: float
    ecg_uv: NDArray[np.float32]
    sample: NDArray[np.int64]
    symbol: NDArray[np.str_]
    aux: tuple[str, ...]
    noise: tuple[tuple[int, int], ...] = ()

    @property
    def is_beat(self) -> NDArray[np.bool_]:
        """Which annotations are beats."""
        chosen: NDArray[np.bool_] = np.isin(self.symbol, sorted(BEATS))
        return chosen

    @property
    def beats(self) -> NDArray[np.int64]:
        """R peaks as annotated."""
        return np.compress(self.is_beat, self.sample)

    @property
    def flutter(self) -> tuple[tuple[int, int], ...]:
        """Spans of ventricular flutter or fibrillation, `[` to `]`."""
        starts, ends = self.sample[self.symbol == "["], self.sample[self.symbol == "]"]
        return tuple((int(s), int(min(ends[ends > s], default=self.ecg_uv.size))) for s in starts)

    @property
    def flutter_waves(self) -> NDArray[np.int64]:
        """The waves marked `!`."""
        return np.compress(self.symbol == "!", self.sample)

    @property
    def length_s(self) -> float:
        """Duration."""
        return self.ecg_uv.size / self.fs_hz


def paths(folder: Path, *, paced: bool, names: Iterable[str] = ()) -> list[Path]:
    """The annotated records of a folder, without suffix. Raises `NoRecordError` where there is none."""
    wanted = set(names)
    found = [p.with_suffix("") for p in sorted(folder.glob("*.atr")) if p.with_suffix(".hea").is_file()]
    if found:
        known(wanted, found, folder)
    found = [p for p in found if (paced or p.name not in PACED) and (not wanted or p.name in wanted)]
    if not found:
        raise NoRecordError(
            f"no annotated record (.hea with .atr) in {folder}: give a WFDB folder such as mitdb/; "
            "`vitalwire data convert` makes one of EDF or CSV"
        )
    return found


def read(path: Path, *, channel: int | None = None, seconds: float | None = None) -> Recorded:
    """Read a record (path without suffix), its first ECG lead unless its leads are known to be swapped.

    With `seconds` only its beginning. Raises `NoRecordError`.
    """
    lead = read_lead(path, first_lead(path.name) if channel is None else channel, seconds=seconds)
    note, end = lead.annotation, lead.ecg_uv.size
    inside = np.asarray(note.sample, dtype=np.int64) < end
    return Recorded(
        name=path.name,
        digest=lead.digest,
        fs_hz=lead.fs_hz,
        ecg_uv=lead.ecg_uv,
        sample=np.asarray(note.sample, dtype=np.int64)[inside],
        symbol=np.asarray(note.symbol, dtype=np.str_)[inside],
        aux=tuple(a.strip("\0") for a, use in zip(note.aux_note or [], inside, strict=True) if use),
        noise=noisy_spans(note, lead.channel, end),
    )


def noisy_spans(note: wfdb.Annotation, channel: int, end: int) -> tuple[tuple[int, int], ...]:
    """Spans up to `end` in which a channel is annotated as noisy or unreadable.

    The subtype of a change of signal quality (`~`) has a bit for each noisy channel, from the lowest, and four bits on
    one for each that cannot be read; -1 says that nothing can be read, 0 that all is clean (WFDB software, `pschart`).
    """
    changes = [
        (int(at), int(subtype))
        for at, symbol, subtype in zip(note.sample, note.symbol, note.subtype, strict=True)
        if symbol == "~" and at < end
    ]
    until = [*(at for at, _ in changes[1:]), end][: len(changes)]
    marks = (1 << channel) | (16 << channel)
    return tuple((at, to) for (at, subtype), to in zip(changes, until, strict=True) if subtype & marks)


@lru_cache(maxsize=6)
def noise(folder: Path, kind: str, *, fs_hz: float | None = None) -> NDArray[np.float64]:
    """First channel of a noise record (`bw`, `ma`, `em`) in microvolts, at a rate if given. Raises `NoRecordError`."""
    if not (folder / f"{kind}.hea").is_file():
        raise NoRecordError(f"no noise record {kind} in {folder}: give a folder such as nstdb/")
    record = wfdb.rdrecord(str(folder / kind), channels=[0])
    values: NDArray[np.float64] = record.p_signal[:, 0] * _TO_UV[record.units[0]]
    if fs_hz is None or fs_hz == record.fs:
        return values
    ratio = Fraction(fs_hz / record.fs).limit_denominator(1000)
    resampled: NDArray[np.float64] = resample_poly(values, ratio.numerator, ratio.denominator)
    return resampled
