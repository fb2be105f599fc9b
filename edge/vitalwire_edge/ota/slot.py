"""The place of the model that scores. A swap happens between two beats, and what each model did there is counted.

The scoring thread leases the model for one beat; a swap waits for the beat in progress and then exchanges a reference,
so no beat ever sees half of each model. A swap resets the calibration but not the patient's reference beat: whoever
keeps a calibration compares `Loaded.generation`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

_PATIENCE_S: Final = 0.05

M = TypeVar("M")


class Conduct(msgspec.Struct, frozen=True):
    """What a model did in the slot, in beats: `failed` raised an error, `slow` took longer than allowed.

    `beats` is all that were presented: scored, abstained, failed or missed.
    """

    beats: int = 0
    scored: int = 0
    abstained: int = 0
    failed: int = 0
    slow: int = 0
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A model ready to score. `generation` differs after every swap; `slow_us` is what a beat may take."""

    model: M
    manifest_sha256: str
    version: int
    slow_us: float
    generation: int = 0


class ModelSlot(Generic[M]):
    """Holds at most one model. `lease` and `abstain` belong to the scoring thread, the rest to any."""

    def __init__(
        self, *, patience_s: float = _PATIENCE_S, clock_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._patience_s = patience_s
        self._clock_ns = clock_ns
        self._in_use = threading.Lock()
        self._counting = threading.Lock()
        self._loaded: Loaded[M] | None = None
        self._generation = 0
        self._counts = dict.fromkeys(Conduct.__struct_fields__, 0)
        self._missed = 0
        self._missed_before_swap = 0
        self._missed_in_swap: int | None = None

    @property
    def loaded(self) -> Loaded[M] | None:
        """The model that scores now, to look at; to score with it use `lease`."""
        return self._loaded

    @property
    def conduct(self) -> Conduct:
        """What the present model did so far."""
        with self._counting:
            return Conduct(**self._counts)

    @property
    def beats_missed_in_swap(self) -> int:
        """Beats that found no model from the beginning of the last swap to the first beat after it."""
        with self._counting:
            if self._missed_in_swap is not None:
                return self._missed_in_swap
            return self._missed - self._missed_before_swap

    @contextmanager
    def lease(self) -> Iterator[Loaded[M] | None]:
        """The model for one beat, or None: then the beat is missed, and counted.

        An error that leaves the block counts as a failed beat and goes on to the caller.
        """
        if not self._in_use.acquire(timeout=self._patience_s):
            self._miss()
            yield None
            return
        try:
            loaded = self._loaded
            if loaded is None:
                self._miss()
                yield None
                return
            began = self._clock_ns()
            try:
                yield loaded
            except BaseException:
                self._count("failed")
                raise
            took_us = (self._clock_ns() - began) / 1000
            self._count("scored", "slow") if took_us > loaded.slow_us else self._count("scored")
        finally:
            self._in_use.release()

    def abstain(self) -> None:
        """A beat came that may not be scored, for its quality or its patient."""
        self._count("abstained")

    def swap(self, new: Loaded[M] | None) -> Conduct:
        """Let `new` score from the next beat on (None: nothing does). Returns what the model before it did."""
        with self._counting:
            self._missed_before_swap = self._missed
            self._missed_in_swap = None
        with self._in_use, self._counting:
            self._generation += 1
            before = Conduct(**self._counts)
            self._counts = dict.fromkeys(self._counts, 0)
            self._loaded = None if new is None else _numbered(new, self._generation)
            return before

    def _miss(self) -> None:
        with self._counting:
            self._missed += 1
            self._counts["missed"] += 1
            self._counts["beats"] += 1

    def _count(self, *names: str) -> None:
        with self._counting:
            if self._missed_in_swap is None:
                self._missed_in_swap = self._missed - self._missed_before_swap
            self._counts["beats"] += 1
            for name in names:
                self._counts[name] += 1


def _numbered(loaded: Loaded[M], generation: int) -> Loaded[M]:
    return Loaded(loaded.model, loaded.manifest_sha256, loaded.version, loaded.slow_us, generation)
