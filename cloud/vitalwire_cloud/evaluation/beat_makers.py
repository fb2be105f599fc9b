"""Who makes beats for protocol P4: our GAN and VAE, in float and int8, and peers on the same beats.

A maker is fitted on training patients (or an artifact) and makes beats of given classes: for given styles, or of
nobody. Peers without styles make what they know, whoever is asked for.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from vitalwire_cloud.evaluation.report import Metrics
from vitalwire_cloud.models import beat_gan
from vitalwire_cloud.train.dataset import Patient
from vitalwire_cloud.train.export import RUNTIME
from vitalwire_edge.inference.generator import (
    CLASSES,
    FILES,
    BeatGenerator,
    Family,
    Style,
    StylePrior,
    network_inputs,
)
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.signal.beats import AFTER, BEFORE, WINDOW, beat_scale_uv
from vitalwire_edge.synthesis.rhythm import plan
from vitalwire_edge.synthesis.strip import compose

STRIP_S: Final = 10.0
_COPIES: Final = 40
"""Of a model, loaded to see what one takes."""

_MEASURE: Final = """
import resource, sys
from vitalwire_edge.inference.runtime import load
def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
model, runtime, copies = sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2])
kept = [load(model, runtime)]
before = resident()
kept += [load(model, runtime) for _ in range(copies)]
print((resident() - before) / copies)
"""

_PCA: Final = 24
_MIXTURE: Final = 8
_MAX_FIT: Final = 4000


class Maker(Protocol):
    """Makes beats (n, WINDOW) of EC57 classes in the unit of a reference beat."""

    def beats(
        self, labels: Sequence[str], styles: Sequence[Style], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """One beat for each label, in its style if the maker has styles."""


class FloatMaker:
    """A network in float."""

    def __init__(self, network: beat_gan.BeatGenerator) -> None:
        self._network = network

    def beats(
        self, labels: Sequence[str], styles: Sequence[Style], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """As `Maker.beats`."""
        with torch.inference_mode():
            made = self._network(*(torch.from_numpy(each) for each in network_inputs(labels, styles, rng)))
        beats: NDArray[np.float32] = made.numpy()
        return beats


class MixtureMaker:
    """A Gaussian mixture over principal components for each class: a peer without styles."""

    def __init__(self, patients: Sequence[Patient], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._models: dict[str, tuple[PCA, GaussianMixture]] = {}
        for name in CLASSES:
            beats = np.concatenate([p.beat[p.label == name] for p in patients]).clip(-6, 6).astype(np.float64)
            beats = beats[rng.permutation(beats.shape[0])[:_MAX_FIT]]
            count = min(_PCA, beats.shape[0] - 1)
            if count < 2:
                continue
            axes = PCA(count, random_state=seed).fit(beats)
            mixture = GaussianMixture(
                min(_MIXTURE, beats.shape[0] // 4 or 1), reg_covar=1e-4, random_state=seed
            )
            self._models[name] = (axes, mixture.fit(axes.transform(beats)))

    def beats(
        self,
        labels: Sequence[str],
        styles: Sequence[Style],  # noqa: ARG002 - a peer without styles
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """As `Maker.beats`; the styles are not looked at, and a class that was not learned comes out as N."""
        made = np.empty((len(labels), WINDOW), dtype=np.float32)
        wanted = np.array([name if name in self._models else "N" for name in labels])
        for name, (axes, mixture) in self._models.items():
            rows = np.flatnonzero(wanted == name)
            if rows.size:
                mixture.random_state = int(rng.integers(2**31))
                drawn = mixture.sample(rows.size)[0]
                made[rows] = axes.inverse_transform(drawn[rng.permutation(rows.size)])
        return made


class SimulatedMaker:
    """Beats cut out of `neurokit2.ecg_simulate` (McSharry's dynamical model): a peer of class N only.

    Raises `ModuleNotFoundError` where neurokit2 is not installed.
    """

    def __init__(self, seed: int, *, minutes: float = 10.0) -> None:
        import neurokit2  # noqa: PLC0415 - a peer, in the extra `bench`

        rng = np.random.default_rng(seed)
        found = []
        for _ in range(round(minutes * 2)):
            ecg = neurokit2.ecg_simulate(
                duration=30,
                sampling_rate=250,
                heart_rate=float(rng.uniform(55, 95)),
                noise=float(rng.uniform(0.005, 0.05)),
                random_state=int(rng.integers(2**31)),
                method="ecgsyn",
            )
            peaks = neurokit2.ecg_peaks(ecg, sampling_rate=250)[1]["ECG_R_Peaks"]
            cut = [ecg[p - BEFORE : p + AFTER] for p in peaks if BEFORE <= p <= ecg.size - AFTER]
            beats = np.array(cut, dtype=np.float32)
            beats -= np.median(beats[:, BEFORE - 30 : BEFORE - 15], axis=1, keepdims=True)
            found.append(beats / beat_scale_uv(1000 * beats.mean(axis=0)) * 1000)
        self._beats = np.concatenate(found)

    def beats(
        self,
        labels: Sequence[str],
        styles: Sequence[Style],  # noqa: ARG002 - likewise
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """As `Maker.beats`; every beat is an ordinary one of nobody."""
        chosen: NDArray[np.float32] = self._beats[rng.integers(self._beats.shape[0], size=len(labels))]
        return chosen


def cost(file: bytes, styles: StylePrior, *, rounds: int = 20) -> Metrics:
    """What a model file costs: microseconds for a strip of ten seconds, bytes of the file and, loaded, of memory."""
    runner = BeatGenerator(load(file, RUNTIME), styles)
    rng = np.random.default_rng(0)
    took = []
    for _ in range(rounds):
        style = styles.draw(rng)
        began = time.perf_counter_ns()
        planned = plan("pvc", seconds=STRIP_S, rate_bpm=72.0, rng=rng)
        compose(runner, style, planned, seconds=STRIP_S, rng=rng, name="strip")
        took.append(time.perf_counter_ns() - began)
    return {
        "us_per_strip": float(np.median(took)) / 1000,
        "bytes": float(len(file)),
        "memory_bytes": memory_bytes(file),
    }


def memory_bytes(file: bytes) -> float:
    """What a loaded model takes, in a process of its own: here what others gave back would be used again."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, RUNTIME, str(_COPIES)], input=file, capture_output=True, check=True
    )
    return float(done.stdout)


def float_makers(networks: Mapping[Family, beat_gan.BeatGenerator]) -> dict[str, Maker]:
    """The networks in float, by name."""
    return {f"{family} float": FloatMaker(networks[family]) for family in FILES}
