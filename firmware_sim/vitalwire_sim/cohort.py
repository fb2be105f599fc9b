"""Simulated patients as annotated recordings: something to train and judge on where no recordings are at hand.

They are all easier than people: one kind of ectopic beat, white noise, no disease of conduction. What is measured on
them says that a model works, never how well.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from vitalwire_edge.recordings.recording import Recording
from vitalwire_edge.recordings.writing import write
from vitalwire_sim.physiology.patient import Patient
from vitalwire_sim.scenario import Device
from vitalwire_sim.script import Script
from vitalwire_sim.synthetic import synthetic

_FS_HZ: Final = 250


def cohort(patients: int, *, seconds: float, seed: int, prefix: str) -> Iterator[Recording]:
    """Resting adults with a few ventricular beats a minute, named `prefix` and a number."""
    for number in range(1, patients + 1):
        name = f"{prefix}{number:03d}"
        own = zlib.crc32(f"{seed}/{name}".encode())
        rng = np.random.default_rng(own)
        patient = Patient(
            age_years=float(rng.integers(25, 90)),
            hr_bpm=float(rng.integers(52, 95)),
            pvc_per_min=float(rng.uniform(4, 12)),
            amplitude=float(rng.uniform(0.5, 1.5)),
            noise_uv=float(rng.uniform(4, 30)),
        )
        device = Device(name=name, gateway="none", patient=patient, fs_hz=_FS_HZ)
        yield synthetic(device, Script(), seconds=seconds, seed=own)


def write_cohort(folder: Path, patients: int, *, seconds: float, seed: int, prefix: str) -> list[Path]:
    """Write them as WFDB with true beats, marked as synthetic; their headers. Raises `RecordingError`, `OSError`."""
    return [
        write(
            folder / each.name, "wfdb", [each], note=f"SYNTHETIC ECG, no patient: cohort {seed} {each.name}"
        )[0]
        for each in cohort(patients, seconds=seconds, seed=seed, prefix=prefix)
    ]
