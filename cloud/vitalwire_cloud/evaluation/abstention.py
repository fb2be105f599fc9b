"""`vitalwire evaluate quality`: what abstaining on poor signal is worth, under noise of known strength.

Noise of nstdb is added as protocol P3 has it, two of every four minutes from minute 5 on. Of those minutes: sensitivity
and positive predictivity of all beats, of the beats in seconds whose quality allows model scores, and the share of
beats that lie in such seconds.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.qrs import KINDS, SNRS_DB, noisy_part, score, with_noise
from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.train.dataset import NoRecordError
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.scoring import DetectionScore

BAR: Final[Metrics] = {"em6_on_ppv": 97.0, "em6_on_se": 97.0, "em24_coverage": 0.95, "clean_coverage": 0.95}
_BLOCK_S: Final = 10


def quality(
    data: Path,
    *,
    noise: Path,
    names: Iterable[str] = (),
    seed: int = 1,
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run it. Raises `NoRecordError`, `OSError`."""
    found = [records.read(path, channel=0) for path in records.paths(data, paced=True, names=names)]
    if not any(record.beats.size for record in found):
        raise NoRecordError(
            f"no annotated beat in the {len(found)} records of {data}: there is nothing to compare with"
        )
    advance = steps(1 + len(KINDS) * len(SNRS_DB))
    metrics: Metrics = {}
    rows = [_row("clean", found, lambda record: record.ecg_uv, metrics)]
    advance("clean")
    for kind in KINDS:
        for snr in SNRS_DB:
            rows.append(
                _row(
                    f"{kind}{snr}",
                    found,
                    lambda record, of=kind, db=snr: with_noise(  # type: ignore[misc]
                        record, records.noise(noise, of, fs_hz=record.fs_hz), db
                    ),
                    metrics,
                )
            )
            advance(f"{kind} at {snr} dB")
    columns = ("noise", "all beats: Se / PPV", "abstaining: Se / PPV", "beats judged")
    return Outcome(
        Report(
            protocol="quality",
            model="signal quality of the gateway",
            data=str(data),
            records=[record.name for record in found],
            seed=seed,
            metrics=metrics,
            peers={},
            bar=BAR,
            passed=meets(metrics, BAR),
        ),
        tables=(Grid("in the noisy stretches (dB of nst)", columns, tuple(rows)),),
        digests={record.name: record.digest for record in found},
    )


def _row(
    name: str,
    found: list[Recorded],
    make: Callable[[Recorded], NDArray[np.float32]],
    metrics: Metrics,
) -> tuple[str, ...]:
    everything, judged = DetectionScore(), DetectionScore()
    beats = kept = 0
    for record in found:
        detected, analysable = analysed(make(record), record.fs_hz)
        part = noisy_part(record)
        inside = part & analysable
        everything += score(record, detected, part)
        judged += score(record, detected, inside)
        at = record.beats[record.beats < part.size]
        beats += int(part[at].sum())
        kept += int(inside[at].sum())
    coverage = kept / max(1, beats)
    metrics |= {
        f"{name}_off_se": everything.se,
        f"{name}_off_ppv": everything.ppv,
        f"{name}_on_se": judged.se,
        f"{name}_on_ppv": judged.ppv,
        f"{name}_coverage": coverage,
    }
    return (
        name,
        f"{everything.se:.2f} / {everything.ppv:.2f}",
        f"{judged.se:.2f} / {judged.ppv:.2f}",
        f"{100 * coverage:.1f} %",
    )


def analysed(ecg_uv: NDArray[np.float32], fs_hz: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """R peaks in samples, and which samples lie in a second that may be scored."""
    chain = EcgChain(fs_hz=fs_hz)
    block = round(_BLOCK_S * fs_hz)
    detected: list[int] = []
    analysable = np.zeros(ecg_uv.size, dtype=np.bool_)
    for start in range(0, ecg_uv.size, block):
        out = chain.push(start, ecg_uv[start : start + block])
        detected += [beat.sample for beat in out.beats]
        for second in out.seconds:
            analysable[second.first_sample : second.first_sample + round(fs_hz)] = second.analysable
    return np.asarray(detected, dtype=np.float64), analysable
