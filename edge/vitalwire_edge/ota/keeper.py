"""Keeps the right model at work: takes a new one through its stages, watches it, confirms it or goes back.

What may happen by itself is little: a model that proved itself in every stage goes on probation, one that does worse
than the model before gives way to the last confirmed one. Versions only grow; going back further takes a new manifest
that names the older model. No method is thread-safe but through the slot.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference import selftest
from vitalwire_edge.inference.artifact import Artifact, Host, open_artifact
from vitalwire_edge.inference.keys import Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.inference.selftest import Load, SelfTest
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.probation import judge
from vitalwire_edge.ota.shelf import Shelf
from vitalwire_edge.ota.slot import Conduct, Loaded, ModelSlot
from vitalwire_edge.ota.state import ModelRef, OtaState, RefusedModel, StateFile
from vitalwire_edge.wire.models import MAX_DETAIL, ModelOffer, ModelReport

log = structlog.get_logger()

M = TypeVar("M")

_MAX_TESTS: Final = 2
_PASSING: Final = frozenset({Refusal.NO_ROOM, Refusal.EXPIRED, Refusal.OLDER_VERSION})
"""Reasons that lie in the moment rather than in the file: such a file may be offered again."""


class ModelKeeper(Generic[M]):
    """Models of one gateway. `build` makes of a verified artifact what scores; it may raise `ArtifactRefusedError`.

    `shipped` are artifact files that came with the software. Raises `OSError` where the folder cannot be used.
    """

    def __init__(
        self,
        config: OtaConfig,
        *,
        trust: Trust,
        slot: ModelSlot[M],
        load: Load,
        build: Callable[[Artifact], M],
        now: Callable[[], Stamp],
        shipped: tuple[bytes, ...] = (),
        host: Host | None = None,
        conduct: Callable[[], Conduct] | None = None,
    ) -> None:
        folder = Path(config.folder)
        self._config = config
        self._trust = trust
        self._slot = slot
        self._load = load
        self._build = build
        self._now = now
        self._shipped = shipped
        self._host = host or Host.here()
        self._conduct = conduct or (lambda: slot.conduct)
        self._shelf = Shelf(folder / "kept")
        self._file = StateFile(folder / "state.json")
        self._confirmed: Loaded[M] | None = None
        self._since_s = time.monotonic()

    @property
    def state(self) -> OtaState:
        """What is on disk."""
        return self._file.state

    def start(self) -> None:
        """Put a model to work: the candidate, else the confirmed, else a shipped one; none if none can be opened."""
        for data in self._shipped:
            self._take_shipped(data)
        self._confirmed = self._load_confirmed()
        candidate = self.state.candidate
        loaded = self._confirmed
        if candidate is not None:
            loaded = self._restart_candidate(candidate) or self._confirmed
        self._swap(loaded)
        self._shelf.keep_only(self.state.kept)
        if loaded is None:
            log.warning("no_model", effect="beats are not scored; rules and alarms go on")
        else:
            log.info("model_at_work", version=loaded.version, manifest=loaded.manifest_sha256[:16])

    def answer(self, offer: ModelOffer) -> ModelReport | None:
        """What can be said to an offer without fetching it; None when it is worth fetching."""
        for ref in (self.state.candidate, self.state.confirmed):
            if ref is not None and ref.sha256 == offer.sha256:
                return self.report()
        refused = self.state.refusal(offer.sha256)
        if refused is not None:
            return self._about(refused)
        if offer.version <= self.state.highest_version:
            return self.refuse(
                offer, Refusal.OLDER_VERSION, f"version {offer.version} after {self.state.highest_version}"
            )
        if offer.size > self._config.max_bytes:
            return self.refuse(
                offer, Refusal.TOO_LARGE, f"{offer.size} bytes: at most {self._config.max_bytes}"
            )
        return None

    def remember_offer(self, offer: ModelOffer | None) -> None:
        """What is being fetched, so that a restart goes on with it."""
        self._file.put(msgspec.structs.replace(self.state, offer=offer))

    def install(self, data: bytes, offer: ModelOffer) -> ModelReport:
        """Open, test, keep and swap in an artifact file. The running model goes on until the swap, and when refused."""
        try:
            artifact, tested, loaded = self._prove(data, offer)
            self._shelf.put(data)
        except ArtifactRefusedError as error:
            return self.refuse(
                offer, error.reason, error.detail, p99_us=error.p99_us, worst_error=error.worst_error
            )
        except OSError as error:
            return self.refuse(offer, Refusal.NO_ROOM, f"it cannot be kept: {error.strerror}")
        ref = _reference(artifact, tested)
        before = self.state.before if self.state.candidate is not None else self._conduct()
        candidate = msgspec.structs.replace(
            self.state,
            highest_version=ref.version,
            candidate=ref,
            before=before,
            starts=1,
            offer=None,
            testing=None,
            tests=0,
        )
        self._file.put(candidate)
        self._swap(loaded)
        swapped = msgspec.structs.replace(ref, swapped_at_ns=self._now().utc_ns)
        self._file.put(msgspec.structs.replace(candidate, candidate=swapped))
        self._shelf.keep_only(self.state.kept)
        log.info("model_on_probation", version=ref.version, manifest=ref.manifest_sha256[:16])
        report = self.report()
        assert report is not None
        return report

    def watch(self) -> tuple[ModelReport, ...]:
        """Look at a model on probation; reports when it was confirmed or gave way."""
        candidate = self.state.candidate
        if candidate is None:
            return ()
        served_s = time.monotonic() - self._since_s
        verdict = judge(self.state.before, self._conduct(), served_s, self._config.probation)
        match verdict.state:
            case "good":
                return (self._confirm(candidate),)
            case "worse":
                return self._go_back(candidate, Refusal.WORSE, verdict.why)
        return ()

    def refuse(
        self,
        offer: ModelOffer,
        reason: Refusal,
        detail: str,
        *,
        p99_us: float | None = None,
        worst_error: float | None = None,
        remember: bool = True,
    ) -> ModelReport:
        """Refuse what was offered, and remember it where the file itself is at fault."""
        refused = RefusedModel(
            name=offer.name,
            version=offer.version,
            manifest_sha256=offer.manifest_sha256,
            sha256=offer.sha256,
            reason=reason.value,
            detail=detail[:MAX_DETAIL],
            p99_us=p99_us,
            worst_error=worst_error,
        )
        log.warning("model_refused", version=offer.version, reason=reason.value, detail=refused.detail)
        state = msgspec.structs.replace(self.state, offer=None, testing=None, tests=0)
        self._file.put(state.with_refused(refused) if remember and reason not in _PASSING else state)
        return self._about(refused)

    def report(self) -> ModelReport | None:
        """The model at work, or None."""
        ref = self.state.candidate or self.state.confirmed
        loaded = self._slot.loaded
        if ref is None or loaded is None:
            return None
        return self._report("candidate" if self.state.candidate else "running", ref)

    def refusals(self) -> tuple[ModelReport, ...]:
        """Reports of all refusals that are remembered."""
        return tuple(self._about(refused) for refused in self.state.refused)

    def _prove(self, data: bytes, offer: ModelOffer) -> tuple[Artifact, SelfTest, Loaded[M]]:
        again = self.state.tests if self.state.testing == offer.sha256 else 0
        if again >= _MAX_TESTS:
            raise ArtifactRefusedError(
                Refusal.CRASHED, f"its test began {again} times and the process ended each time"
            )
        # On disk before the model runs for the first time: a runtime that crashes takes this process with it.
        self._file.put(msgspec.structs.replace(self.state, testing=offer.sha256, tests=again + 1))
        now = self._now()
        artifact = open_artifact(
            data,
            self._trust,
            now_ns=now.utc_ns if now.synchronised else None,
            running_version=self.state.highest_version,
            host=self._host,
            max_bytes=self._config.max_bytes,
        )
        manifest = artifact.manifest
        if (manifest.name, manifest.version, artifact.manifest_sha256) != (
            offer.name,
            offer.version,
            offer.manifest_sha256,
        ):
            raise ArtifactRefusedError(
                Refusal.HASH_MISMATCH,
                f"it is {manifest.name} {manifest.version} "
                f"({artifact.manifest_sha256[:16]}), not what was offered",
            )
        return artifact, self._test(artifact), self._loaded(artifact)

    def _test(self, artifact: Artifact) -> SelfTest:
        return selftest.run(artifact, self._load, max_p99_us=self._config.max_p99_us)

    def _loaded(self, artifact: Artifact) -> Loaded[M]:
        try:
            model = self._build(artifact)
        except ArtifactRefusedError:
            raise
        except Exception as error:
            # Whatever keeps a proven file from becoming a scorer, it cannot score here.
            raise ArtifactRefusedError(
                Refusal.SELF_TEST_OFF, f"the scorer does not take it: {error!r}"
            ) from error
        return Loaded(model, artifact.manifest_sha256, artifact.manifest.version, self._config.beat_us)

    def _opened(self, data: bytes) -> Artifact:
        """A file that was taken before: it must be whole and signed, but it may have become old or expired since."""
        return open_artifact(
            data, self._trust, now_ns=None, host=self._host, max_bytes=self._config.max_bytes
        )

    def _take_shipped(self, data: bytes) -> None:
        """A model that came with newer software is confirmed by having been shipped, if it passes here."""
        try:
            artifact = self._opened(data)
            if artifact.manifest.version <= self.state.highest_version:
                return
            ref = _reference(artifact, self._test(artifact))
            self._shelf.put(data)
        except (ArtifactRefusedError, OSError) as error:
            log.warning("shipped_model_refused", reason=str(error))
            return
        self._file.put(
            msgspec.structs.replace(
                self.state,
                highest_version=ref.version,
                previous=self.state.confirmed,
                confirmed=ref,
                candidate=None,
            )
        )

    def _load_confirmed(self) -> Loaded[M] | None:
        for ref in (self.state.confirmed, self.state.previous):
            if ref is None:
                continue
            try:
                loaded = self._loaded(self._opened(self._shelf.get(ref.sha256)))
            except (ArtifactRefusedError, OSError) as error:
                log.warning("kept_model_unusable", version=ref.version, reason=str(error))
                continue
            self._file.put(msgspec.structs.replace(self.state, confirmed=ref))
            return loaded
        return self._load_shipped()

    def _load_shipped(self) -> Loaded[M] | None:
        """The newest shipped model that opens, whatever ran since: when nothing else is left."""
        found: list[tuple[int, ModelRef, Loaded[M], bytes]] = []
        for data in self._shipped:
            try:
                artifact = self._opened(data)
                found.append((artifact.manifest.version, _reference(artifact), self._loaded(artifact), data))
            except ArtifactRefusedError as error:
                log.warning("shipped_model_refused", reason=str(error))
        if not found:
            self._file.put(msgspec.structs.replace(self.state, confirmed=None, previous=None))
            return None
        _, ref, loaded, data = max(found, key=lambda each: each[0])
        self._shelf.put(data)
        self._file.put(msgspec.structs.replace(self.state, confirmed=ref, previous=None))
        return loaded

    def _restart_candidate(self, candidate: ModelRef) -> Loaded[M] | None:
        starts = self.state.starts + 1
        if starts > self._config.probation.starts:
            why = f"the process was started {starts} times while it was on probation"
            self._drop(candidate, Refusal.CRASHED, why)
            return None
        self._file.put(msgspec.structs.replace(self.state, starts=starts))
        try:
            return self._loaded(self._opened(self._shelf.get(candidate.sha256)))
        except (ArtifactRefusedError, OSError) as error:
            reason = error.reason if isinstance(error, ArtifactRefusedError) else Refusal.NO_ROOM
            self._drop(candidate, reason, str(error))
            return None

    def _confirm(self, candidate: ModelRef) -> ModelReport:
        confirmed = msgspec.structs.replace(candidate, beats_missed_in_swap=self._slot.beats_missed_in_swap)
        self._file.put(
            msgspec.structs.replace(
                self.state, confirmed=confirmed, previous=self.state.confirmed, candidate=None, starts=0
            )
        )
        self._confirmed = self._slot.loaded
        self._shelf.keep_only(self.state.kept)
        log.info("model_confirmed", version=confirmed.version)
        return self._report("running", confirmed)

    def _go_back(self, candidate: ModelRef, reason: Refusal, why: str) -> tuple[ModelReport, ...]:
        missed = self._slot.beats_missed_in_swap
        refused = self._drop(msgspec.structs.replace(candidate, beats_missed_in_swap=missed), reason, why)
        self._swap(self._confirmed)
        self._shelf.keep_only(self.state.kept)
        now = self.report()
        said = msgspec.structs.replace(
            self._about(refused), swapped_at_ns=candidate.swapped_at_ns, beats_missed_in_swap=missed
        )
        return (said,) if now is None else (said, now)

    def _drop(self, candidate: ModelRef, reason: Refusal, why: str) -> RefusedModel:
        refused = RefusedModel(
            name=candidate.name,
            version=candidate.version,
            manifest_sha256=candidate.manifest_sha256,
            sha256=candidate.sha256,
            reason=reason.value,
            detail=why[:MAX_DETAIL],
            p99_us=candidate.p99_us,
            worst_error=candidate.worst_error,
        )
        self._file.put(msgspec.structs.replace(self.state.with_refused(refused), candidate=None, starts=0))
        log.warning("model_went_back", version=candidate.version, reason=reason.value, detail=refused.detail)
        return refused

    def _swap(self, loaded: Loaded[M] | None) -> None:
        self._slot.swap(loaded)
        self._since_s = time.monotonic()

    def _about(self, refused: RefusedModel) -> ModelReport:
        return self._report(
            "refused",
            refused,
            reason=refused.reason,
            detail=refused.detail,
            swapped_at_ns=None,
            beats_missed_in_swap=None,
        )

    def _report(self, state: Any, about: ModelRef | RefusedModel, **more: Any) -> ModelReport:
        loaded = self._slot.loaded
        if isinstance(about, ModelRef):
            missed = about.beats_missed_in_swap
            if missed is None and about.swapped_at_ns is not None:
                missed = self._slot.beats_missed_in_swap
            more = {"swapped_at_ns": about.swapped_at_ns, "beats_missed_in_swap": missed} | more
        return ModelReport(
            at_ns=self._now().utc_ns,
            state=state,
            name=about.name,
            version=about.version,
            manifest_sha256=about.manifest_sha256,
            sha256=about.sha256,
            running_version=0 if loaded is None else loaded.version,
            running_sha256="" if loaded is None else loaded.manifest_sha256,
            p99_us=about.p99_us,
            worst_error=about.worst_error,
            **more,
        )


def _reference(artifact: Artifact, tested: SelfTest | None = None) -> ModelRef:
    return ModelRef(
        name=artifact.manifest.name,
        version=artifact.manifest.version,
        manifest_sha256=artifact.manifest_sha256,
        sha256=artifact.sha256,
        p99_us=None if tested is None else tested.p99_us,
        worst_error=None if tested is None else tested.worst_error,
    )
