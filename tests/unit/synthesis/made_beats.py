"""Patients out of a formula: enough like hearts to train and judge tiny generators on, in no time."""

import numpy as np

from vitalwire_cloud.train.dataset import Patient
from vitalwire_edge.inference.features import CONTEXT
from vitalwire_edge.signal.beats import BEFORE, WINDOW

T = (np.arange(WINDOW) - BEFORE) / 250


def bump(at_s, width_s, size):
    return size * np.exp(-0.5 * ((T - at_s) / width_s) ** 2)


def patient(number: int, count: int = 240, *, shares=(0.7, 0.1, 0.15, 0.05)) -> Patient:
    rng = np.random.default_rng(number)
    p, q, t = rng.uniform(0.05, 0.2), rng.uniform(0.01, 0.016), rng.uniform(0.15, 0.4)
    late, deep = rng.uniform(0.2, 0.32), rng.uniform(0.1, 0.4)
    normal = bump(-0.17, 0.02, p) + bump(0, q, 1) - bump(0.03, 0.012, deep) + bump(late, 0.05, t)
    early = bump(-0.12, 0.025, -p) + bump(0, q, 1) - bump(0.03, 0.012, deep) + bump(late, 0.05, t)
    wide = bump(0.02, rng.uniform(0.035, 0.055), rng.choice((-1.6, 1.6))) - bump(0.25, 0.07, t)
    shapes = {"N": normal, "S": early, "V": wide, "F": (normal + wide) / 2}
    label = rng.choice(list(shapes), size=count, p=shares)
    label[:60:6] = "V"
    reference = np.tile(normal, (count, 1))
    beat = np.stack([shapes[name] for name in label]) * rng.normal(1, 0.05, (count, 1))
    slow = np.cumsum(rng.normal(0, 0.006, (count, WINDOW)), axis=1)
    context = np.zeros((count, len(CONTEXT)), dtype=np.float32)
    return Patient(
        record=f"p{number}",
        patient=f"p{number}",
        digest="0" * 64,
        fs_hz=250.0,
        sample=np.arange(count, dtype=np.int64) * 200 * 5,
        beat=(beat + slow - slow[:, BEFORE - 20 : BEFORE - 19]).astype(np.float32),
        reference=reference.astype(np.float32),
        context=context,
        label=label,
        unscored=np.array([], dtype="<U1"),
    )
