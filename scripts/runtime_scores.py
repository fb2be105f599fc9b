"""What the shipped beat model says of a record's beats in the runtime installed, or how far two runtimes differ.

Used by tflite_runtime.sh, in two environments. `prepare` needs vitalwire[train], `score` only what a gateway has.
"""

import argparse
import sys
from pathlib import Path

import msgspec
import numpy as np

from vitalwire_edge.inference import selftest, shipped
from vitalwire_edge.inference.artifact import PARAMETERS, Host, open_artifact
from vitalwire_edge.inference.beat_model import BeatScorer
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.inference.score import ScoreParameters

BEATS = 1000
SAME = 1e-4
"""In units of the score: what one and the same file may differ by between runtimes, by the order of sums alone.

Each runtime's own file rounds differently; how far is told here and judged by `vitalwire evaluate int8`.
"""


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
        normal=patient.normal[some],
    )


def score(beats: Path, runtime: str, out: Path) -> None:
    installed = Host.here().runtimes
    if installed != (runtime,):
        raise SystemExit(f"this environment has {installed}, not {runtime} alone")
    artifact = open_artifact(shipped.first(), shipped.trust(), now_ns=None)
    proved = selftest.run(artifact, load)
    common = artifact.parts[artifact.manifest.hardware.variants["tflite-runtime"]]
    parameters = msgspec.json.decode(artifact.parts[PARAMETERS], type=ScoreParameters)
    scorers = (BeatScorer.of(artifact), BeatScorer(load(common, runtime), parameters))
    with np.load(beats, allow_pickle=False) as stored:
        rows = zip(stored["sample"], stored["beat"], stored["reference"], stored["context"], strict=True)
        given = [BeatInput(int(at), beat, own, context, 1.0) for at, beat, own, context in rows]
        normal = stored["normal"]
    shipped_file, same_file = (np.array(_scores(scorer, given)) for scorer in scorers)
    np.savez(out, shipped_file=shipped_file, same_file=same_file, normal=normal)
    sys.stdout.write(
        f"{runtime}: {artifact.file_name} passed its self-test ({proved.worst_error:.2f} of the tolerance, "
        f"{proved.p99_us:.0f} us at the 99th percentile); {len(given)} beats scored\n"
    )


def _scores(scorer: BeatScorer, beats: list[BeatInput]) -> list[float]:
    history = scorer.begin()
    scores = []
    for beat in beats:
        said = scorer.score(beat, history)
        if said is None:
            raise SystemExit(
                f"no score for the beat at {beat.sample}: every beat of the record must have one"
            )
        scores.append(said.score)
    return scores


def compare(ours: Path, theirs: Path) -> int:
    with np.load(ours, allow_pickle=False) as one, np.load(theirs, allow_pickle=False) as other:
        usual = one["shipped_file"][one["normal"]]
        spread = float(np.subtract(*np.percentile(usual, (75, 25)))) / 1.349
        same = np.abs(one["same_file"] - other["same_file"])
        off = np.abs(one["shipped_file"] - other["shipped_file"]) / spread
    sys.stdout.write(
        f"{off.size} beats: one file in both runtimes differs by {same.max():.2g} at most (allowed {SAME}); each "
        f"runtime's own file by {off.max():.3g} of the spread over normal beats at most, {off.mean():.2g} on average\n"
    )
    return int(off.size < BEATS or not same.max() <= SAME)


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
