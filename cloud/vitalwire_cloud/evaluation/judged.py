"""The model that `--model` names: the shipped artifact or a file, as a gateway would run it."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from vitalwire_cloud.evaluation.beats import records_of_card
from vitalwire_cloud.train.dataset import patient_of
from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import MANIFEST, PARAMETERS, RUNTIMES, Host, Manifest, sha256
from vitalwire_edge.inference.beat_model import BeatScorer, ModelParametersError
from vitalwire_edge.inference.container import ContainerError
from vitalwire_edge.inference.runtime import LoadedModel, ModelFileError, RuntimeMissingError, load
from vitalwire_edge.inference.score import FeatureVersionError, ScoreParameters
from vitalwire_edge.inference.sequence import SequenceWeightsError

SHIPPED: Final = "shipped"


class JudgedModelError(ValueError):
    """`--model` names nothing that can be scored with."""


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """An artifact as a gateway runs it.

    Attributes:
        title: name, version and identity, to print.
        learned_from: records with the SHA-256 of each, after its card; empty where the card does not say.
        size: bytes of the model file and of what else has weights.
        network, parameters: the model file alone, and the constants around it.

    """

    title: str
    scorer: BeatScorer
    network: LoadedModel
    parameters: ScoreParameters
    learned_from: dict[str, str]
    size: int

    @property
    def patients(self) -> tuple[str, ...]:
        """People it learned from."""
        return tuple(sorted({patient_of(record) for record in self.learned_from}))

    @property
    def told(self) -> str:
        """Title, and which patients it learned from."""
        return (
            f"{self.title}, learned from {' '.join(self.patients) or 'patients that its card does not name'}"
        )


def judged_model(given: str) -> JudgedModel:
    """The model that `--model` names. Raises `JudgedModelError`, `OSError`.

    The parts are checked against their manifest. Nobody's signature is asked for: that is what a gateway does before
    it runs a model, not what its figures depend on.
    """
    path = _shipped() if given == SHIPPED else Path(given)
    return judged_artifact(path.read_bytes(), path.name)


def judged_artifact(data: bytes, name: str) -> JudgedModel:
    """The model of an artifact's bytes. Raises `JudgedModelError`."""
    try:
        parts = container.read(data)
        manifest = msgspec.json.decode(parts[MANIFEST], type=Manifest)
        off = [each for each, info in manifest.parts.items() if sha256(parts[each]) != info.sha256]
        if off:
            raise JudgedModelError(f"{name}: {', '.join(off)} is not what its manifest says")
        model = _variant(manifest, parts)
        scorer = scorer_of(model[1], model[0], parts[PARAMETERS])
        parameters = msgspec.json.decode(parts[PARAMETERS], type=ScoreParameters)
    except (ContainerError, msgspec.MsgspecError, KeyError) as error:
        raise JudgedModelError(f"{name} is no model artifact: {error}") from error
    identity = sha256(parts[MANIFEST])[:12]
    return JudgedModel(
        title=f"{manifest.name} {manifest.version} ({identity}) in int8",
        scorer=scorer,
        network=load(model[1], model[0]),
        parameters=parameters,
        learned_from=records_of_card(parts[manifest.card]),
        size=len(model[1]) + parameters.bytes,
    )


def scorer_of(model: bytes, runtime: str, parameters: bytes) -> BeatScorer:
    """The gateway's scorer of a model file and its `parameters.json`. Raises `JudgedModelError`."""
    try:
        return BeatScorer(load(model, runtime), msgspec.json.decode(parameters, type=ScoreParameters))
    except (
        *(
            ModelParametersError,
            FeatureVersionError,
            ModelFileError,
            RuntimeMissingError,
            SequenceWeightsError,
        ),
        msgspec.MsgspecError,
    ) as error:
        raise JudgedModelError(f"the model cannot be run here: {error}") from error


def _variant(manifest: Manifest, parts: dict[str, bytes]) -> tuple[str, bytes]:
    installed = Host.here().runtimes
    for runtime in RUNTIMES:
        if runtime in installed and runtime in manifest.hardware.variants:
            return runtime, parts[manifest.hardware.variants[runtime]]
    raise JudgedModelError(
        f"{manifest.name} {manifest.version} wants {', '.join(manifest.hardware.variants)}; installed: "
        f"{', '.join(installed) or 'none'}: install vitalwire[edge]"
    )


def _shipped() -> Path:
    folder = Path(str(resources.files("vitalwire_edge.inference") / "shipped"))
    found = sorted(folder.glob("beat-*.vwm"), key=lambda path: int(path.stem.rpartition("-")[2]))
    if not found:
        raise JudgedModelError(f"no shipped beat model in {folder}: install the package again")
    return found[-1]
