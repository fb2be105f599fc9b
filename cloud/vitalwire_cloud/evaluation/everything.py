"""`vitalwire evaluate all`: every protocol that a folder of databases allows, on one page."""

import hashlib
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from vitalwire_cloud.evaluation.abstention import quality
from vitalwire_cloud.evaluation.beatgan import beatgan
from vitalwire_cloud.evaluation.calibration import calibration
from vitalwire_cloud.evaluation.delineation import delineation
from vitalwire_cloud.evaluation.ectopy import ectopy
from vitalwire_cloud.evaluation.int8 import int8
from vitalwire_cloud.evaluation.inter_patient import inter_patient
from vitalwire_cloud.evaluation.judged import JudgedModel
from vitalwire_cloud.evaluation.judged_generator import JudgedGenerator
from vitalwire_cloud.evaluation.naming import naming
from vitalwire_cloud.evaluation.page import page
from vitalwire_cloud.evaluation.qrs import KINDS, qrs
from vitalwire_cloud.evaluation.report import Advance, Outcome, encoded
from vitalwire_cloud.evaluation.rhythm import rhythm
from vitalwire_cloud.evaluation.synthesis import synthesis
from vitalwire_cloud.evaluation.variability import hrv
from vitalwire_cloud.evaluation.vitals import vitals

BEATS: Final = "mitdb"
NOISE: Final = "nstdb"
PAGE: Final = "report.html"
SOFTWARE: Final = ("vitalwire", "numpy", "scipy", "scikit-learn", "torch", "ai-edge-litert")

Steps = Callable[[int], Advance]


class UnknownProtocolError(ValueError):
    """What shall be run is no protocol."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the protocols share; without a model or a generator one is trained where it is judged."""

    seed: int
    epochs: int
    model: JudgedModel | None
    generator: JudgedGenerator | None
    cache: Path | None
    names: tuple[str, ...]


def protocols(data: Path, options: Options) -> dict[str, Callable[[Steps], Outcome]]:
    """The protocols by name, ready to run on DATA/mitdb, DATA/nstdb and the folders of vitals."""
    beats = data / BEATS
    noise = data / NOISE if (data / NOISE).is_dir() else None
    seed, epochs, model, names = options.seed, options.epochs, options.model, options.names
    cache = options.cache
    found: dict[str, Callable[[Steps], Outcome]] = {
        "beatgan": lambda steps: beatgan(beats, seed=seed, names=names, steps=steps),
        "inter-patient": lambda steps: inter_patient(
            beats, seed=seed, epochs=epochs, model=model, cache=cache, names=names, steps=steps
        ),
        "naming": lambda steps: naming(
            beats, seed=seed, epochs=epochs, cache=cache, names=names, steps=steps
        ),
        "qrs": lambda steps: qrs(beats, noise=noise, seed=seed, names=names, steps=steps),
        "calibration": lambda steps: calibration(
            beats, noise=noise, seed=seed, epochs=epochs, model=model, cache=cache, names=names, steps=steps
        ),
        "synthesis": lambda steps: synthesis(
            beats, model=options.generator, seed=seed, cache=cache, names=names, progress=steps
        ),
        "vitals": lambda steps: vitals(data, seed=seed, steps=steps),
        "int8": lambda steps: int8(
            beats, seed=seed, epochs=epochs, model=model, cache=cache, names=names, steps=steps
        ),
        "rhythm": lambda steps: rhythm(beats, noise=noise, seed=seed, names=names, steps=steps),
        "delineation": lambda steps: delineation(beats, names=names, seed=seed, steps=steps),
        "ectopy": lambda steps: ectopy(beats, names=names, seed=seed, steps=steps),
        "hrv": lambda steps: hrv(beats, names=names, seed=seed, steps=steps),
    }
    if noise is not None:
        found["quality"] = lambda steps: quality(beats, noise=noise, names=names, seed=seed, steps=steps)
    return found


def run_all(
    data: Path,
    report: Path,
    *,
    options: Options,
    only: Iterable[str],
    created: str,
    progress: Callable[[str], Steps],
) -> tuple[list[Outcome], dict[str, str]]:
    """Run the protocols and write `report.html` and a JSON file each. Returns outcomes, and why others were not run.

    Raises `UnknownProtocolError`, and `OSError` where the report cannot be written.
    """
    every = protocols(data, options)
    wanted = set(only)
    if unknown := sorted(wanted - set(every)):
        raise UnknownProtocolError(f"no protocol {', '.join(unknown)} here: there are {', '.join(every)}")
    report.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    failed: dict[str, str] = {}
    for name, run in every.items():
        if wanted and name not in wanted:
            continue
        try:
            outcome = run(progress(name))
        except (ValueError, OSError) as error:
            # A folder without a database, too few records, or one that cannot be read says nothing about the others.
            failed[name] = str(error)
            continue
        outcomes.append(outcome)
        (report / f"{name}.json").write_bytes(encoded(outcome.report))
    made = page(outcomes, failed=failed, created=created, software=software(), noise=_noise(data / NOISE))
    (report / PAGE).write_text(made, encoding="utf-8")
    return outcomes, failed


def software() -> str:
    """What computed the figures, and on what."""
    found = []
    for package in SOFTWARE:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return f"{', '.join(found)}; Python {platform.python_version()} on {platform.machine()}"


def _noise(folder: Path) -> dict[str, str]:
    found = [path for kind in KINDS if (path := folder / f"{kind}.dat").is_file()]
    return {f"{NOISE}/{path.stem}": hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
