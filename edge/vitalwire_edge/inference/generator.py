"""Beats of four classes in a person's style, from the generator of a verified artifact: made signals, never recorded.

A style is what a beat of nobody in particular lacks: the reference beat, and how much ordinary beats stray from it
along each of the generator's components. It is taken from a person's beats, or drawn for nobody from the spread of
styles that the artifact carries, which holds no person's own.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference import container
from vitalwire_edge.inference import shipped as models
from vitalwire_edge.inference.artifact import Artifact, open_artifact
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.inference.selftest import Runner
from vitalwire_edge.signal.beats import QRS_PART, WINDOW

NAME: Final = "generator"
CLASSES: Final = ("N", "S", "V", "F")
LATENT: Final = 16
COMPONENTS: Final = 64
NOISE: Final = LATENT + COMPONENTS
"""What is drawn for a beat: its latent, and a stray along the components, in the style's manner."""

MANNER: Final = 2 * COMPONENTS + 1

STYLES: Final = "styles.npz"
Family = Literal["gan", "vae"]
FILES: Final[dict[Family, str]] = {"gan": "generator.int8.tflite", "vae": "vae.int8.tflite"}
MIN_STYLE_BEATS: Final = 20

_SPREAD: Final = (1e-3, 3.0)
_SCALE_UV: Final = 1200.0
"""Peak to peak of an adult's QRS in a chest lead, about which the amplitudes of nobody are drawn."""

STRAYS: Final = 200
"""So many of a class's beats at most are kept to tell how they stray."""

MIXED: Final = 4
"""So many strays are mixed for a new one."""

_TRIES: Final = 50
_LEAST_QRS: Final = 0.7
_ORDINARY: Final = 0.9
_FEW: Final = 20
"""A class that was seen fewer times strays as ordinary beats do, too."""

_MIN_CLASS_BEATS: Final = 3
_NEAR: Final = np.float32(0.95)
_APART: Final = np.float32(0.31)
"""Shares of the common and the own latent of beats of one focus; their squares add up to 1."""


class StyleError(ValueError):
    """Too few beats to tell a style by, or an artifact without styles."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a person's beats of one class differ from the person's reference beat, along the generator's components.

    Attributes:
        mean: (COMPONENTS,) float32; zeros where the class was not seen.
        strays: (n, COMPONENTS) float32, what beats were seen to stray by about that mean.
        known: whether the class was seen.

    """

    mean: NDArray[np.float32]
    strays: NDArray[np.float32]
    known: bool

    @property
    def given(self) -> NDArray[np.float32]:
        """(MANNER,) what the network is told: mean, log of the spreads, and whether it is known."""
        low, high = np.quantile(self.strays, (0.1, 0.9), axis=0)
        # So far apart are these quantiles of a Gaussian, in standard deviations.
        spread = np.log(np.clip((high - low) / 2.563, *_SPREAD))
        return np.concatenate((self.mean, spread, [float(self.known)])).astype(np.float32)

    @property
    def unknown(self) -> "Manner":
        """As for a class that was not seen: strays as here, about nothing known."""
        return Manner(np.zeros_like(self.mean), self.strays, known=False)

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """A stray (COMPONENTS,) that nobody's beat had: some that were seen, mixed, as wide as they are.

        A Gaussian of the same covariance fits less well: beats keep close together most of the time.
        """
        share = rng.dirichlet(np.ones(MIXED)) * rng.choice((-1.0, 1.0), size=MIXED, p=(0.1, 0.9))
        mixed = share @ self.strays[rng.integers(self.strays.shape[0], size=MIXED)]
        stray: NDArray[np.float32] = (mixed / np.linalg.norm(share)).astype(np.float32)
        return stray


@dataclass(frozen=True, slots=True)
class Style:
    """How a person's beats look.

    Attributes:
        reference: (WINDOW,) float32, the reference beat in units of its QRS amplitude.
        manners: of class N, and of the other classes that were seen.
        scale_uv: the unit of `reference`.
        rr_s: the interval between beats at which the reference was taken.

    """

    reference: NDArray[np.float32]
    manners: Mapping[str, Manner]
    scale_uv: float
    rr_s: float

    def manner(self, label: str) -> Manner:
        """Of a class, seen or not."""
        return self.manners.get(label) or self.manners["N"].unknown


def manners_of(parts: NDArray[np.float32], label: NDArray[np.str_]) -> dict[str, Manner]:
    """Manners of each class from the components (n, COMPONENTS) of a person's beats. Raises `StyleError`."""
    normal = parts[label == "N"]
    if normal.shape[0] < MIN_STYLE_BEATS:
        raise StyleError(
            f"{normal.shape[0]} ordinary beats tell no style: at least {MIN_STYLE_BEATS} are needed"
        )
    own = _strays(normal)
    found = {"N": Manner(np.median(normal, axis=0), own, known=True)}
    for name in CLASSES[1:]:
        seen = parts[label == name]
        if seen.shape[0] >= _MIN_CLASS_BEATS:
            lent = own[:: max(1, own.shape[0] // _FEW)] if seen.shape[0] < _FEW else own[:0]
            strays = np.concatenate((_strays(seen), lent))
            found[name] = Manner(np.median(seen, axis=0), strays, known=True)
    return found


def _strays(parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """What beats stray by about their median, without the tenth that strays most: noise, or beats of another kind."""
    away = parts - np.median(parts, axis=0)
    size = np.square(away).sum(axis=1)
    away = away[size <= np.quantile(size, _ORDINARY)]
    kept: NDArray[np.float32] = away[
        np.linspace(0, away.shape[0] - 1, min(STRAYS, away.shape[0])).astype(np.int64)
    ]
    return kept


@dataclass(frozen=True, slots=True)
class StylePrior:
    """Where styles lie: a Gaussian along few directions, fitted to those of the training patients.

    Attributes:
        basis: (COMPONENTS, WINDOW) orthonormal components of what beats differ by from their references.
        centre: (WINDOW + COMPONENTS + 1,) mean of the references, log spreads and log RR in s.
        directions: (k, WINDOW + COMPONENTS + 1) principal directions, each as long as its standard deviation.
        correlation: (COMPONENTS, COMPONENTS) of ordinary beats' components, averaged over patients.

    """

    basis: NDArray[np.float32]
    centre: NDArray[np.float32]
    directions: NDArray[np.float32]
    correlation: NDArray[np.float32]

    def draw(self, rng: np.random.Generator) -> Style:
        """A style of nobody."""
        for _ in range(_TRIES):
            # Far out the few training patients say nothing about what exists.
            along = np.clip(0.8 * rng.standard_normal(self.directions.shape[0]), -1.2, 1.2)
            vector = (self.centre + along @ self.directions).astype(np.float64)
            reference, spread, rr = np.split(vector, (WINDOW, WINDOW + COMPONENTS))
            qrs = float(np.ptp(reference[QRS_PART]))
            # Upright and inverted patients between whom a style lies may cancel each other.
            if qrs >= _LEAST_QRS:
                break
        reference = reference / qrs
        deviation = np.clip(np.exp(spread), *_SPREAD)
        covariance = self.correlation * np.outer(deviation, deviation) + _SPREAD[0] ** 2 * np.eye(COMPONENTS)
        strays = rng.standard_normal((STRAYS, COMPONENTS)) @ np.linalg.cholesky(covariance).T
        nothing = np.zeros(COMPONENTS, dtype=np.float32)
        ordinary = Manner(nothing, strays.astype(np.float32), known=True)
        scale_uv = float(np.clip(_SCALE_UV * np.exp(0.3 * rng.standard_normal()), 500.0, 2500.0))
        rr_s = float(np.clip(np.exp(rr[0]), 0.5, 1.3))
        return Style(reference.astype(np.float32), {"N": ordinary}, scale_uv, rr_s)

    def parts(self, beat: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float32]:
        """Components (n, COMPONENTS) of beats (n, WINDOW)."""
        found: NDArray[np.float32] = ((beat - reference) @ self.basis.T).astype(np.float32)
        return found

    def pack(self) -> bytes:
        """The part `STYLES` of an artifact."""
        parts = {}
        for name in StylePrior.__slots__:
            file = io.BytesIO()
            array = np.ascontiguousarray(getattr(self, name))
            np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
            parts[f"{name}.npy"] = file.getvalue()
        return container.write(parts)

    @classmethod
    def unpack(cls, data: bytes) -> "StylePrior":
        """Read what `pack` wrote. Raises `StyleError`."""
        try:
            parts = container.read(data)
            arrays = {
                name: np.lib.format.read_array(io.BytesIO(parts[f"{name}.npy"]), allow_pickle=False)
                for name in StylePrior.__slots__
            }
        except (ValueError, KeyError) as error:
            raise StyleError(f"{STYLES} cannot be read: {error}") from error
        width = WINDOW + COMPONENTS + 1
        found = [arrays[name].shape[-2:] for name in ("basis", "centre", "correlation")]
        if found != [(COMPONENTS, WINDOW), (width,), (COMPONENTS, COMPONENTS)]:
            raise StyleError(f"{STYLES} holds arrays of {found}; export the generator anew")
        return cls(**{name: array.astype(np.float32) for name, array in arrays.items()})


class BeatGenerator:
    """Makes beats one at a time; used by one thread."""

    def __init__(self, runner: Runner, styles: StylePrior) -> None:
        self._runner = runner
        self.styles: Final = styles

    @classmethod
    def of(cls, artifact: Artifact, family: Family = "gan") -> "BeatGenerator":
        """The generator of a verified artifact. Raises `StyleError`, `ModelFileError`, `RuntimeMissingError`."""
        missing = sorted({FILES[family], STYLES} - set(artifact.parts))
        if missing:
            raise StyleError(f"{artifact.file_name} holds no {', '.join(missing)}: it is no generator")
        return cls(
            load(artifact.parts[FILES[family]], artifact.runtime), StylePrior.unpack(artifact.parts[STYLES])
        )

    def beats(
        self,
        labels: Sequence[str],
        styles: Sequence[Style],
        rng: np.random.Generator,
        *,
        one_focus: bool = False,
    ) -> NDArray[np.float32]:
        """Beats (n, WINDOW) of the classes `labels`, each in its style and in that style's unit.

        With `one_focus` the latents of a class stay near one another: beats that one focus in a heart makes are alike.
        """
        made = np.empty((len(labels), WINDOW), dtype=np.float32)
        known = Known()
        foci = {name: rng.standard_normal(LATENT).astype(np.float32) for name in CLASSES}
        for row, (label, style) in enumerate(zip(labels, styles, strict=True)):
            inputs = network_inputs([label], [style], rng, known)
            if one_focus:
                inputs[0][0, :LATENT] = _NEAR * foci[label] + _APART * inputs[0][0, :LATENT]
            made[row] = self._runner(inputs)[0][0]
        return made


def network_inputs(
    labels: Sequence[str],
    styles: Sequence[Style],
    rng: np.random.Generator,
    known: "Known | None" = None,
) -> list[NDArray[np.float32]]:
    """What the network takes for n beats: noise (n, NOISE), one-hot class, reference, manner (n, MANNER).

    `known` keeps what the network is told of manners, for who asks again and again.
    """
    known = Known() if known is None else known
    manners = [known.of(style, label) for label, style in zip(labels, styles, strict=True)]
    noise = rng.standard_normal((len(labels), NOISE)).astype(np.float32)
    for row, (manner, _) in zip(noise, manners, strict=True):
        row[LATENT:] = manner.draw(rng)
    kinds = np.eye(len(CLASSES), dtype=np.float32)[[CLASSES.index(label) for label in labels]]
    references = np.stack([style.reference for style in styles])
    return [noise, kinds, references, np.stack([given for _, given in manners])]


class Known:
    """Manners with what the network is told of them, worked out once for each style and class."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], tuple[Mapping[str, Manner], Manner, NDArray[np.float32]]] = {}

    def of(self, style: Style, label: str) -> tuple[Manner, NDArray[np.float32]]:
        """The manner of a class in a style, and `Manner.given` of it."""
        key = (id(style.manners), label)
        if key not in self._found:
            manner = style.manner(label)
            # The mapping is kept, so that no other can come to have its id.
            self._found[key] = (style.manners, manner, manner.given)
        return self._found[key][1:]


def shipped() -> Artifact:
    """The verified generator that ships with the software. Raises `OSError`, `ArtifactRefusedError`."""
    found = models.folder().glob(f"{NAME}-*.vwm")
    newest = max(found, key=lambda path: int(path.stem.rsplit("-", 1)[1]))
    return open_artifact(newest.read_bytes(), models.trust(), now_ns=None)
