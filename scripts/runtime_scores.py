"""What the shipped beat model says of a record's beats in the runtime installed, or how far two runtimes differ.

Used by tflite_runtime.sh, in two environments. `prepare` needs vitalwire[train], `score` only what a gateway has.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from vitalwire_edge.inference import selftest, shipped
from vitalwire_edge.inference.artifact import Host, open_artifact
from vitalwire_edge.inference.beat_model import BeatScorer
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.inference.runtime import load

BEATS = 1000
CLOSE = 0.2
"""In units of the score, whose robust spread over normal beats is above 1: the two runtimes run two quantisations of
one model (docs/decisions/int8-variants.md), so their scores are close and not the same."""


def prepare(record: Path, out: Path) -> None:
    from vitalwire_cloud.train.dataset import load_record  # noqa: PLC0415 - absent where only the gateway's part is

    patient = load_record(record)
    some = slice(0, BEATS)
    np.savez(
        out,
        sample=patient.sample[some],
        beat=patient.beat[some],
        reference=patient.reference[some],
        context=patient.context[some],
    )


def score(beats: Path, runtime: str, out: Path) -> None:
    installed = Host.here().runtimes
    if installed != (runtime,):
        raise SystemExit(f"this environment has {installed}, not {runtime} alone")
    artifact = open_artifact(shipped.first(), shipped.trust(), now_ns=None)
    proved = selftest.run(artifact, load)
    scorer = BeatScorer.of(artifact)
    with np.load(beats, allow_pickle=False) as stored:
        rows = zip(stored["sample"], stored["beat"], stored["reference"], stored["context"], strict=True)
        said = [scorer.score(BeatInput(int(at), beat, own, context, 1.0)) for at, beat, own, context in rows]
    np.savez(out, score=[each.score for each in said if each is not None])
    sys.stdout.write(
        f"{runtime}: {artifact.file_name} passed its self-test ({proved.worst_error:.2f} of the tolerance, "
        f"{proved.p99_us:.0f} us at the 99th percentile); {len(said)} beats scored\n"
    )


def compare(ours: Path, theirs: Path) -> int:
    with np.load(ours, allow_pickle=False) as one, np.load(theirs, allow_pickle=False) as other:
        off = np.abs(one["score"] - other["score"])
    sys.stdout.write(
        f"{off.size} beats: scores differ by {off.max():.4g} at most (allowed {CLOSE}), {off.mean():.4g} on average\n"
    )
    return int(off.size < BEATS or not off.max() <= CLOSE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare")
    one.add_argument("record", type=Path)
    one.add_argument("out", type=Path)
    two = commands.add_parser("score")
    two.add_argument("beats", type=Path)
    two.add_argument("runtime", choices=("ai-edge-litert", "tflite-runtime"))
    two.add_argument("out", type=Path)
    three = commands.add_parser("compare")
    three.add_argument("ours", type=Path)
    three.add_argument("theirs", type=Path)
    given = vars(parser.parse_args())
    command = {"prepare": prepare, "score": score, "compare": compare}[given.pop("command")]
    return command(**given) or 0


if __name__ == "__main__":
    sys.exit(main())
