"""Scores of a model file on prepared beats in one runtime, or the comparison of two such files.

Used by tflite_runtime_check.sh, in two environments. `prepare` needs the extra `train`, `score` only the edge's.
"""

import argparse
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from vitalwire_edge.inference.beat_model import network_inputs
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.inference.score import ScoreParameters, Scoring

BEATS = 1000
CLOSE = 0.05
"""Of a spread over normal beats: what two runtimes may differ by in a score, by rounding of int8 alone."""


def prepare(record: Path, out: Path) -> None:
    from vitalwire_cloud.train.dataset import load_record  # noqa: PLC0415 - absent where only the gateway's part is

    patient = load_record(record)
    chosen = slice(0, BEATS)
    np.savez(
        out, beat=patient.beat[chosen], reference=patient.reference[chosen], context=patient.context[chosen]
    )


def score(model: Path, runtime: str, parameters: Path, beats: Path, out: Path) -> None:
    scoring = Scoring(msgspec.json.decode(parameters.read_bytes(), type=ScoreParameters))
    with np.load(beats, allow_pickle=False) as stored:
        beat, reference, context = stored["beat"], stored["reference"], stored["context"]
    runner = load(model.read_bytes(), runtime)
    inputs = network_inputs(scoring, beat, reference, context)
    rows, took = [], []
    for k in range(beat.shape[0]):
        one = [each[k : k + 1] for each in inputs]
        began = time.perf_counter_ns()
        rows.append(runner(one))
        took.append(time.perf_counter_ns() - began)
    expected, width, timing, latent = (np.concatenate([row[k] for row in rows]) for k in range(4))
    views = scoring.views(beat, context, (expected, width, timing, latent))
    np.savez(out, score=views.score, latent=latent, p50_us=np.percentile(took, 50) / 1000)


def compare(ours: Path, theirs: Path) -> int:
    with np.load(ours, allow_pickle=False) as one, np.load(theirs, allow_pickle=False) as other:
        off = np.abs(one["score"] - other["score"])
        sys.stdout.write(
            f"{off.size} beats: scores differ by {off.max():.4g} at most (allowed {CLOSE}), "
            f"{off.mean():.4g} on average; "
            f"latents by {np.abs(one['latent'] - other['latent']).max():.4g}; "
            f"{float(one['p50_us']):.0f} us and {float(other['p50_us']):.0f} us per beat\n"
        )
    return int(off.max() > CLOSE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare")
    one.add_argument("record", type=Path)
    one.add_argument("out", type=Path)
    two = commands.add_parser("score")
    for name, kind in (
        ("model", Path),
        ("runtime", str),
        ("parameters", Path),
        ("beats", Path),
        ("out", Path),
    ):
        two.add_argument(name, type=kind)
    three = commands.add_parser("compare")
    three.add_argument("ours", type=Path)
    three.add_argument("theirs", type=Path)
    given = vars(parser.parse_args())
    command = {"prepare": prepare, "score": score, "compare": compare}[given.pop("command")]
    return command(**given) or 0


if __name__ == "__main__":
    sys.exit(main())
