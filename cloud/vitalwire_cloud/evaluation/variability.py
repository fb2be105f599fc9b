"""`vitalwire evaluate hrv`: HRV terms of real intervals, ours beside NeuroKit2's on the same normal intervals."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.delineators import Floats
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.train.dataset import NoRecordError
from vitalwire_edge.signal.hrv import SEGMENT_S, nn_intervals, spectrum, variability

BAR: Final[Metrics] = {"sdnn_agreement": 0.99, "rmssd_agreement": 0.95}
TERMS: Final = ("mean_nn", "sdnn", "rmssd", "pnn50", "sdann", "sdnn_index", "lf", "hf")
_THEIRS: Final = (
    *("HRV_MeanNN", "HRV_SDNN", "HRV_RMSSD", "HRV_pNN50", "HRV_SDANN5", "HRV_SDNNI5", "HRV_LF", "HRV_HF"),
)


def hrv(
    data: Path,
    *,
    names: Iterable[str] = (),
    seed: int = 1,
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run it on annotated beats. `*_agreement` is the median over records of 1 - |ours - theirs| / theirs.

    Raises `NoRecordError`, `OSError`.
    """
    paths = records.paths(data, paced=False, names=names)
    advance = steps(len(paths))
    peer = importlib.util.find_spec("neurokit2") is not None
    rows: list[tuple[str, ...]] = []
    ratios: list[list[float]] = []
    for path in paths:
        record = records.read(path)
        time_s = record.beats / record.fs_hz
        if not time_s.size:
            raise NoRecordError(f"record {record.name} has no annotated beat: leave it out with --records")
        rr_s = np.append(np.nan, np.diff(time_s))
        nn = nn_intervals(rr_s, np.isin(record.symbol[record.is_beat], list("NLR")))
        ours = _ours(time_s, rr_s, nn.astype(np.bool_))
        theirs = _theirs(time_s, rr_s, nn) if peer else [float("nan")] * len(TERMS)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios.append(
                [1 - abs(a - b) / b if b else float("nan") for a, b in zip(ours, theirs, strict=True)]
            )
        rows.append((record.name, *(f"{a:.1f} / {b:.1f}" for a, b in zip(ours, theirs, strict=True))))
        advance(record.name)
    agreement = np.asarray(ratios)
    metrics: Metrics = {}
    for column, name in enumerate(TERMS):
        known = agreement[:, column][np.isfinite(agreement[:, column])]
        if known.size:
            metrics[f"{name}_agreement"] = float(np.median(known))
    return Outcome(
        Report(
            protocol="hrv",
            model="HRV terms of the gateway",
            data=str(data),
            records=[path.name for path in paths],
            seed=seed,
            metrics=metrics,
            peers={},
            bar=BAR,
            passed=meets(metrics, BAR),
        ),
        notes=() if peer else ("neurokit2 was not run: install neurokit2",),
        tables=(Grid("ours / NeuroKit2; LF and HF of the first 5 minutes", ("record", *TERMS), tuple(rows)),),
    )


def _ours(time_s: Floats, rr_s: Floats, nn: Any) -> list[float]:
    found = variability(time_s, rr_s, nn)
    first = time_s < time_s[0] + SEGMENT_S
    bands = spectrum(time_s[first], rr_s[first], nn[first])
    return [
        *(found.mean_nn_ms, found.sdnn_ms, found.rmssd_ms, found.pnn50_percent),
        *(found.sdann_ms, found.sdnn_index_ms, bands.lf_ms2, bands.hf_ms2),
    ]


def _theirs(time_s: Floats, rr_s: Floats, nn: Any) -> list[float]:
    nk: Any = importlib.import_module("neurokit2")
    if nn.sum() < 10:
        return [float("nan")] * len(TERMS)
    whole = nk.hrv_time({"RRI": rr_s[nn] * 1000, "RRI_Time": time_s[nn]}, sampling_rate=1000)
    first = nn & (time_s < time_s[0] + SEGMENT_S)
    bands = nk.hrv_frequency(
        {"RRI": rr_s[first] * 1000, "RRI_Time": time_s[first]},
        sampling_rate=1000, psd_method="welch", normalize=False, silent=True,
    ) if first.sum() > 60 else {}  # fmt: skip
    return [
        float((whole if name in whole else bands)[name].iloc[0])
        if name in whole or name in bands
        else float("nan")
        for name in _THEIRS
    ]
