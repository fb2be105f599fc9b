"""A patient whom the beat generator makes, for a simulated wearable to wear."""

from vitalwire_edge.inference.generator import BeatGenerator, StyleError, shipped
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.inference.runtime import ModelFileError, RuntimeMissingError
from vitalwire_edge.recordings.recording import Recording
from vitalwire_edge.synthesis.patient import Wish
from vitalwire_edge.synthesis.patient import generated as make
from vitalwire_edge.synthesis.rhythm import RhythmError
from vitalwire_sim.scenario import Device, Generated, ScenarioError


def generated_ecg(device: Device, wanted: Generated, *, seed: int) -> Recording:
    """The ECG of a device that wears a generated patient, at the device's rate; same seed, same ECG.

    Raises `ScenarioError`.
    """
    wish = Wish(
        rhythm=wanted.rhythm,
        seconds=wanted.seconds,
        rate_bpm=wanted.rate_bpm,
        shares=wanted.classes,
        fs_hz=float(device.fs_hz),
        seed=seed if wanted.seed is None else wanted.seed,
    )
    try:
        generator = BeatGenerator.of(shipped(), wanted.family)
        return make(generator, wish, name=f"generated {wanted.rhythm}")
    except (
        *(RhythmError, StyleError, ArtifactRefusedError, ModelFileError, RuntimeMissingError),
        OSError,
    ) as error:
        raise ScenarioError(f"device {device.name!r} wears a generated patient: {error}") from error
