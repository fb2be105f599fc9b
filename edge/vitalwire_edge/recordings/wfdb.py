"""WFDB records (PhysioNet), single and multi-segment."""

from pathlib import Path
from typing import Any

import numpy as np
import wfdb

from vitalwire_edge.recordings.leads import choose, microvolts_per
from vitalwire_edge.recordings.recording import (
    BEAT_SYMBOLS,
    RHYTHM_SYMBOL,
    Floats,
    Recording,
    RecordingError,
    RhythmMark,
    TrueBeat,
)

_ANNOTATORS = ("atr", "ari", "qrs")
_MAX_SAMPLES = 50_000_000
"""400 MB of float64; longer records are read by naming a segment."""


def read_wfdb(header: Path, channel: str | None) -> Recording:
    """One lead of the record of `header` (.hea). Raises `RecordingError`.

    A record of segments is read segment by segment: those that lack their signal file, or the lead, are gaps (NaN),
    because the master header of a record in pieces cannot be read as a whole when one piece is missing.
    """
    record = str(header.with_suffix(""))
    try:
        head = wfdb.rdheader(record)
        if isinstance(head, wfdb.MultiRecord):
            lead, fs_hz, uv = _segments(header, head, channel)
        else:
            lead, fs_hz, uv = _signal(header, channel)
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"WFDB record {header}: {error}; is its signal file complete?") from error
    beats, rhythms = _annotations(record, fs_hz, float(head.fs))
    return Recording(name=header.stem, lead=lead, fs_hz=fs_hz, uv=uv, beats=beats, rhythms=rhythms)


def _signal(header: Path, channel: str | None) -> tuple[str, float, Floats]:
    record = str(header.with_suffix(""))
    head = wfdb.rdheader(record)
    if not head.sig_name:
        raise RecordingError(f"WFDB record {header} has no signals")
    index = choose(head.sig_name, channel, source=f"WFDB record {header}")
    lead = head.sig_name[index]
    factor = microvolts_per(head.units[index], source=f"WFDB record {header}", channel=lead)
    per_frame = (head.samps_per_frame or [1] * head.n_sig)[index]
    if head.sig_len is not None and head.sig_len * per_frame > _MAX_SAMPLES:
        raise RecordingError(
            f"WFDB record {header} is too long to replay ({head.sig_len} frames); name a segment"
        )
    read = wfdb.rdrecord(record, channels=[index], smooth_frames=False, return_res=64)
    samples: Floats = np.asarray(read.e_p_signal[0], dtype=np.float64) * factor
    return lead, float(head.fs) * per_frame, samples


def _segments(header: Path, head: Any, channel: str | None) -> tuple[str, float, Floats]:
    pieces: list[tuple[int, Floats | None]] = []
    lead, fs_hz, per_frame = channel, 0.0, 1
    for name, frames in zip(head.seg_name, head.seg_len, strict=True):
        piece = None
        segment = header.with_name(f"{name}.hea")
        if name != "~" and frames and segment.is_file():
            try:
                found, rate, piece = _signal(segment, lead)
            except (OSError, RecordingError):
                # No signal file, or not this lead: a gap, as it is for every reader of this record.
                piece = None
            else:
                lead, fs_hz, per_frame = found, rate, round(rate / head.fs)
        pieces.append((frames, piece))
    if lead is None or fs_hz == 0:
        raise RecordingError(f"WFDB record {header}: no segment can be read; are the .dat files there?")
    total = sum(frames for frames, _ in pieces) * per_frame
    if total > _MAX_SAMPLES:
        names = ", ".join(name for name in head.seg_name if name != "~")
        raise RecordingError(f"WFDB record {header} is too long to replay; name one segment: {names}")
    uv = np.full(total, np.nan)
    at = 0
    for frames, piece in pieces:
        if piece is not None:
            uv[at : at + piece.size] = piece
        at += frames * per_frame
    return lead, fs_hz, uv


def _annotations(
    record: str, fs_hz: float, frame_hz: float
) -> tuple[tuple[TrueBeat, ...], tuple[RhythmMark, ...]]:
    """Reference beats and rhythms, where the record has any; annotations count frames, not samples."""
    annotator = next((a for a in _ANNOTATORS if Path(f"{record}.{a}").is_file()), None)
    if annotator is None:
        return (), ()
    marks = wfdb.rdann(record, annotator)
    samples = [round(sample * fs_hz / frame_hz) for sample in marks.sample]
    beats = tuple(
        TrueBeat(sample, symbol)
        for sample, symbol in zip(samples, marks.symbol, strict=True)
        if symbol in BEAT_SYMBOLS
    )
    rhythms = tuple(
        RhythmMark(sample, note.rstrip("\0"))
        for sample, symbol, note in zip(samples, marks.symbol, marks.aux_note, strict=True)
        if symbol == RHYTHM_SYMBOL
    )
    return beats, rhythms
