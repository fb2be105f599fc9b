"""A generated patient: a style of nobody or of a recording, a rhythm, a seed; the same request gives the same strip."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from vitalwire_edge.inference.beat_model import CLIP
from vitalwire_edge.inference.generator import BeatGenerator, Style, StyleError, StylePrior, manners_of
from vitalwire_edge.recordings.recording import Recording, RhythmMark, TrueBeat
from vitalwire_edge.signal.beats import in_own_scale
from vitalwire_edge.signal.chain import BeatWindow, EcgChain
from vitalwire_edge.signal.resample import ANALYSIS_HZ
from vitalwire_edge.synthesis.rhythm import plan
from vitalwire_edge.synthesis.strip import compose

STYLE_S: Final = 300.0
"""So much of a recording is read for its style."""

_MATCH_S: Final = 0.05
"""A beat that was found farther from where the recording has it is cut out at another place than the others."""

_LIKE: Final = 0.8
_CLASS: Final = {
    symbol: name
    for name, symbols in {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F"}.items()
    for symbol in symbols
}


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What strip to make.

    `shares` of the classes overrule the ectopy that the rhythm brings along. `rate_bpm` None is the style's own.
    """

    rhythm: str = "sinus"
    seconds: float = 60.0
    rate_bpm: float | None = None
    shares: dict[str, float] | None = None
    fs_hz: float = float(ANALYSIS_HZ)
    seed: int = 1


def generated(generator: BeatGenerator, wish: Wish, *, style: Style | None = None, name: str) -> Recording:
    """The strip that was wished for, of nobody unless a style is given. Raises `RhythmError`."""
    rng = np.random.default_rng(wish.seed)
    style = style or generator.styles.draw(rng)
    planned = plan(
        wish.rhythm,
        seconds=wish.seconds,
        rate_bpm=wish.rate_bpm or round(60.0 / style.rr_s, 1),
        rng=rng,
        shares=wish.shares,
    )
    made = compose(generator, style, planned, seconds=wish.seconds, rng=rng, name=name)
    return _at_rate(made, wish.fs_hz)


def style_of(recording: Recording, styles: StylePrior) -> Style:
    """The style of a recording's first five minutes. Raises `StyleError`.

    Beats are of the class that the recording says; where it says nothing, those like the running reference are ordinary
    and the others do not count.
    """
    count = round(STYLE_S * recording.fs_hz)
    chain = EcgChain(fs_hz=recording.fs_hz)
    # Two seconds of nothing let the last beats out.
    blank = np.full(round(2 * recording.fs_hz), np.nan, dtype=np.float32)
    out = chain.push(0, np.concatenate((recording.uv[:count].astype(np.float32), blank)))
    like = {beat.sample: beat.reference_corr >= _LIKE and not beat.wide for beat in out.beats}
    windows, labels = list[BeatWindow](), list[str]()
    for window in out.windows:
        label = _label(window.sample, recording, like=like.get(window.sample, False))
        if window.reference is not None and label is not None:
            windows.append(window)
            labels.append(label)
    reference = chain.reference.current
    if reference is None or not windows:
        raise StyleError(f"recording {recording.name}: too few beats were found to tell a style by")
    beat = _scaled(windows, [w.ecg_uv for w in windows])
    own = _scaled(windows, [w.reference.beat_uv for w in windows if w.reference is not None])
    manners = manners_of(styles.parts(beat.clip(-CLIP, CLIP), own), np.array(labels))
    rr_s = float(np.median(np.diff([each.sample for each in out.beats]))) / recording.fs_hz
    scaled = in_own_scale(reference.beat_uv, reference.scale_uv)
    return Style(scaled, manners, reference.scale_uv, float(np.clip(rr_s, 0.35, 2.0)))


def shares_of(text: str) -> Mapping[str, float]:
    """Shares of the classes as in "N:0.9,V:0.1". Raises `ValueError`."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, share = part.partition(":")
        if not colon:
            raise ValueError(f"classes {text!r}: write them as N:0.9,V:0.1")
        found[name.strip().upper()] = float(share)
    return found


def _label(sample: int, recording: Recording, *, like: bool) -> str | None:
    if not recording.beats:
        return "N" if like else None
    at = np.array([beat.sample for beat in recording.beats])
    nearest = int(np.argmin(np.abs(at - sample)))
    if abs(int(at[nearest]) - sample) > _MATCH_S * recording.fs_hz:
        return None
    return _CLASS.get(recording.beats[nearest].symbol)


def _scaled(windows: list[BeatWindow], uv: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    scale = [w.reference.scale_uv for w in windows if w.reference is not None]
    return np.stack([in_own_scale(each, by) for each, by in zip(uv, scale, strict=True)])


def _at_rate(recording: Recording, fs_hz: float) -> Recording:
    if fs_hz == recording.fs_hz:
        return recording
    ratio = Fraction(fs_hz / recording.fs_hz).limit_denominator(500)
    factor = float(ratio)
    return replace(
        recording,
        fs_hz=recording.fs_hz * factor,
        uv=resample_poly(recording.uv, ratio.numerator, ratio.denominator, padtype="line"),
        beats=tuple(TrueBeat(round(beat.sample * factor), beat.symbol) for beat in recording.beats),
        rhythms=tuple(RhythmMark(round(mark.sample * factor), mark.name) for mark in recording.rhythms),
    )
