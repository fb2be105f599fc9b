"""The generator that `--model` names: the shipped artifact or a file, as a gateway would run it."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

from vitalwire_cloud.evaluation.beats import records_of_card
from vitalwire_cloud.evaluation.judged import SHIPPED, JudgedModelError
from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import MANIFEST, RUNTIMES, Host, Manifest, sha256
from vitalwire_edge.inference.container import ContainerError
from vitalwire_edge.inference.generator import (
    FILES,
    NAME,
    STYLES,
    BeatGenerator,
    Family,
    StyleError,
    StylePrior,
)
from vitalwire_edge.inference.runtime import ModelFileError, RuntimeMissingError, load


@dataclass(frozen=True, slots=True)
class JudgedGenerator:
    """An artifact's generators as a gateway runs them.

    Attributes:
        title: name, version and identity, to print.
        learned_from: records after its card; empty where the card does not say.
        files: the model files.

    """

    title: str
    runners: dict[Family, BeatGenerator]
    styles: StylePrior
    files: dict[Family, bytes]
    learned_from: tuple[str, ...]


def judged_generator(given: str) -> JudgedGenerator:
    """The generator that `--model` names. Raises `JudgedModelError`, `OSError`.

    The parts are checked against their manifest; nobody's signature is asked for, as for `judged_model`.
    """
    path = _shipped() if given == SHIPPED else Path(given)
    try:
        parts = container.read(path.read_bytes())
        manifest = msgspec.json.decode(parts[MANIFEST], type=Manifest)
        off = [name for name, info in manifest.parts.items() if sha256(parts[name]) != info.sha256]
        if off:
            raise JudgedModelError(f"{path.name}: {', '.join(off)} is not what its manifest says")
        styles = StylePrior.unpack(parts[STYLES])
        runtime = next((name for name in RUNTIMES if name in Host.here().runtimes), "none")
        runners = {
            family: BeatGenerator(load(parts[file], runtime), styles) for family, file in FILES.items()
        }
    except (
        *(ContainerError, StyleError, ModelFileError, RuntimeMissingError),
        *(msgspec.MsgspecError, KeyError),
    ) as error:
        raise JudgedModelError(f"{path.name} is no generator that can be run here: {error}") from error
    return JudgedGenerator(
        title=f"{manifest.name} {manifest.version} ({sha256(parts[MANIFEST])[:12]}) in int8",
        runners=runners,
        styles=styles,
        files={family: parts[file] for family, file in FILES.items()},
        learned_from=tuple(records_of_card(parts[manifest.card])),
    )


def _shipped() -> Path:
    folder = Path(str(resources.files("vitalwire_edge.inference") / "shipped"))
    found = sorted(folder.glob(f"{NAME}-*.vwm"), key=lambda path: int(path.stem.rpartition("-")[2]))
    if not found:
        raise JudgedModelError(f"no shipped generator in {folder}: install the package again")
    return found[-1]
