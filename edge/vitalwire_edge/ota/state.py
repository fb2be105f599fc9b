"""What a gateway knows about its models over a restart: one small JSON file, replaced atomically before each step."""

from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.ota.slot import Conduct
from vitalwire_edge.process.durable import write_durably
from vitalwire_edge.wire.messages import UNREADABLE
from vitalwire_edge.wire.models import ModelOffer

log = structlog.get_logger()

FORMAT: Final = 1
MAX_REFUSED: Final = 16


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is, or was, at work here, with the figures of its self-test on this gateway."""

    name: str
    version: int
    manifest_sha256: str
    sha256: str
    p99_us: float | None = None
    worst_error: float | None = None
    swapped_at_ns: int | None = None
    beats_missed_in_swap: int | None = None


class RefusedModel(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact file that is not taken again: told by its own hash, for what it says of itself may be a lie."""

    name: str
    version: int
    manifest_sha256: str
    sha256: str
    reason: str
    detail: str
    p99_us: float | None = None
    worst_error: float | None = None


class OtaState(msgspec.Struct, frozen=True, kw_only=True):
    """`highest_version` ever at work: only higher ones are taken. `candidate` is at work on probation.

    `before` is what the confirmed model did until the candidate came. `starts` counts starts of the process with the
    candidate. `testing` is the artifact file under test and `tests` how often its test began: one that takes the
    process down is not tried for ever.
    """

    format: int = FORMAT
    highest_version: int = 0
    confirmed: ModelRef | None = None
    previous: ModelRef | None = None
    candidate: ModelRef | None = None
    before: Conduct = Conduct()
    starts: int = 0
    offer: ModelOffer | None = None
    testing: str | None = None
    tests: int = 0
    refused: tuple[RefusedModel, ...] = ()

    def refusal(self, sha256: str) -> RefusedModel | None:
        """Why the artifact file was refused, if it was."""
        return next((each for each in self.refused if each.sha256 == sha256), None)

    def with_refused(self, refused: RefusedModel) -> "OtaState":
        """The state that remembers the refusal; the oldest of more than 16 is forgotten."""
        others = tuple(each for each in self.refused if each.sha256 != refused.sha256)
        return msgspec.structs.replace(self, refused=(*others, refused)[-MAX_REFUSED:])

    @property
    def kept(self) -> set[str]:
        """Hashes of the artifact files that must stay on disk."""
        return {ref.sha256 for ref in (self.confirmed, self.previous, self.candidate) if ref is not None}


class StateFile:
    """The state and its file; `put` returns when it is on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.state = self._load()

    def put(self, state: OtaState) -> None:
        """Make `state` the state. Raises `OSError`, and then it is not."""
        if state != self.state:
            write_durably(self._path, msgspec.json.format(msgspec.json.encode(state), indent=1))
            self.state = state

    def _load(self) -> OtaState:
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=OtaState)
        except FileNotFoundError:
            return OtaState()
        except UNREADABLE as error:
            aside = self._path.with_suffix(".damaged")
            self._path.replace(aside)
            log.warning(
                "model_state_damaged", set_aside=str(aside), reason=str(error), effect="shipped model"
            )
            return OtaState()
        if state.format != FORMAT:
            aside = self._path.with_suffix(f".format{state.format}")
            self._path.replace(aside)
            log.warning("model_state_of_other_format", set_aside=str(aside), effect="shipped model")
            return OtaState()
        return state
