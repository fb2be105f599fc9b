"""Beat-by-beat comparison of detections with annotations, after ANSI/AAMI EC57."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

TOLERANCE_S: Final = 0.15


@dataclass(frozen=True, slots=True)
class BeatMatch:
    """Which beats found each other, one to one.

    Attributes:
        detected_of: (n_reference,) index of the matching detection, -1 for a miss.
        reference_of: (n_detected,) index of the matching reference beat, -1 for an extra detection.

    """

    detected_of: NDArray[np.int64]
    reference_of: NDArray[np.int64]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _match(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    tolerance: float,
    of_a: NDArray[np.int64],
    of_b: NDArray[np.int64],
) -> None:
    i = 0
    j = 0
    while i < a.shape[0] and j < b.shape[0]:
        distance = b[j] - a[i]
        if distance < -tolerance:
            j += 1
        elif distance > tolerance:
            i += 1
        elif j + 1 < b.shape[0] and abs(b[j + 1] - a[i]) < abs(distance):
            j += 1
        elif i + 1 < a.shape[0] and abs(b[j] - a[i + 1]) < abs(distance):
            i += 1
        else:
            of_a[i] = j
            of_b[j] = i
            i += 1
            j += 1


def match_beats(
    reference: NDArray[np.float64],
    detected: NDArray[np.float64],
    *,
    fs_hz: float,
    tolerance_s: float = TOLERANCE_S,
) -> BeatMatch:
    """Pair sorted reference beats with sorted detections (samples at fs_hz), nearest first, each used once."""
    found = np.full(reference.size, -1, dtype=np.int64)
    known = np.full(detected.size, -1, dtype=np.int64)
    _match(reference.astype(np.float64), detected.astype(np.float64), tolerance_s * fs_hz, found, known)
    return BeatMatch(detected_of=found, reference_of=known)


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """Counts that add up over records."""

    true_positives: int = 0
    misses: int = 0
    extras: int = 0

    def __add__(self, other: "DetectionScore") -> "DetectionScore":
        return DetectionScore(
            self.true_positives + other.true_positives, self.misses + other.misses, self.extras + other.extras
        )

    @property
    def se(self) -> float:
        """Sensitivity in percent."""
        return 100.0 * self.true_positives / max(1, self.true_positives + self.misses)

    @property
    def ppv(self) -> float:
        """Positive predictivity in percent."""
        return 100.0 * self.true_positives / max(1, self.true_positives + self.extras)

    @property
    def f1(self) -> float:
        """Harmonic mean of both in percent."""
        return 200.0 * self.true_positives / max(1, 2 * self.true_positives + self.misses + self.extras)
