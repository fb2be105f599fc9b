from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

EcgMaker = Callable[..., tuple[NDArray[np.float32], NDArray[np.float64]]]


@pytest.fixture(scope="session")
def ecg_maker() -> EcgMaker:
    """Make (microvolts, R peaks in samples): P, QRS and T as Gaussians, RR with a slow swing."""

    def make(
        *,
        fs_hz: float,
        seconds: float,
        rr_s: float = 0.8,
        gain_uv: float = 1000.0,
        noise_uv: float = 5.0,
        seed: int = 0,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        t = np.arange(round(seconds * fs_hz)) / fs_hz
        peaks = [0.5]
        while peaks[-1] < seconds:
            peaks.append(peaks[-1] + rr_s * (1 + 0.04 * np.sin(2 * np.pi * 0.25 * peaks[-1])))
        r_s = np.asarray(peaks)
        r_s = r_s[r_s < seconds - 0.4]
        x = np.zeros_like(t)
        for r in r_s:
            for offset, sigma, height in (
                (-0.16, 0.02, 0.12),
                (-0.025, 0.008, -0.1),
                (0.0, 0.011, 1.0),
                (0.03, 0.009, -0.2),
                (0.25, 0.045, 0.25),
            ):
                x += height * np.exp(-0.5 * ((t - r - offset) / sigma) ** 2)
        x = gain_uv * x + noise_uv * rng.standard_normal(t.size)
        return x.astype(np.float32), r_s * fs_hz

    return make
