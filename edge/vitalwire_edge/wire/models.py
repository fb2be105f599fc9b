"""Messages about models: offers and chunks to a gateway, requests and reports from it.

All four are MessagePack and travel sealed with the gateway's key (`messages.seal`), in both directions: a report moves
a rollout, so it needs a proof as much as an offer does. A gateway asks for the chunks it lacks and for few at a time;
nothing is pushed at it, so an update resumes wherever it stopped and never fills a broker's queue.
"""

import re
from typing import Final, Literal

import msgspec

from vitalwire_edge.wire.messages import MAX_MESSAGE_BYTES, UNREADABLE, MessageError

CHUNK_BYTES: Final = 60 * 1024
"""Bytes of an artifact in one message; tag, hash, index and seal fit into what remains of 64 KiB."""
MAX_ARTIFACT_BYTES: Final = 16 * 1024 * 1024
MAX_REQUESTED: Final = 16
"""Chunks that one request may name."""
MAX_DETAIL: Final = 400

_INT64: Final = 2**63
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")

ModelState = Literal["running", "candidate", "refused"]
"""`running`: confirmed and at work. `candidate`: at work on probation. `refused`: not at work, or not any more."""


class ModelOffer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mo"):
    """The cloud wants this model to run: `sha256` and `size` are those of the whole artifact file."""

    name: str
    version: int
    manifest_sha256: str
    sha256: str
    size: int
    chunks: int


class ModelChunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mc"):
    """Bytes of the artifact file `sha256` from `index * CHUNK_BYTES` on."""

    sha256: str
    index: int
    data: bytes


class ModelRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="mr"):
    """The gateway lacks these chunks of the artifact file `sha256`."""

    sha256: str
    chunks: tuple[int, ...]


class ModelReport(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ms"):
    """What became of a model on a gateway, and which one scores there now.

    `name`, `version` and `manifest_sha256` say which model this is about; of a file that could not be opened they are
    what the offer claimed. `sha256` is the artifact file. `reason` is one of `inference.refusal.Refusal`, `detail` is
    for people. `p99_us` and `worst_error` come from the self-test on the gateway (the error as a share of the tolerance
    that was shipped with the vector). `running_version` is 0 where no model scores.
    """

    at_ns: int
    state: ModelState
    name: str
    version: int
    manifest_sha256: str
    sha256: str
    running_version: int
    running_sha256: str
    reason: str | None = None
    detail: str = ""
    p99_us: float | None = None
    worst_error: float | None = None
    swapped_at_ns: int | None = None
    beats_missed_in_swap: int | None = None


ToGateway = ModelOffer | ModelChunk
FromGateway = ModelRequest | ModelReport

_pack: Final = msgspec.msgpack.Encoder()
_to_gateway: Final = msgspec.msgpack.Decoder(ToGateway)
_from_gateway: Final = msgspec.msgpack.Decoder(FromGateway)


def chunk_count(size: int) -> int:
    """Chunks of an artifact file of `size` bytes."""
    return -(-size // CHUNK_BYTES)


def encode_model(message: ToGateway | FromGateway) -> bytes:
    """MessagePack of a message about a model, to be sealed."""
    return _pack.encode(message)


def decode_to_gateway(payload: bytes) -> ToGateway:
    """Offer or chunk of an unsealed payload. Raises `MessageError` for anything else or out of bounds."""
    _fits(payload)
    try:
        message: ToGateway = _to_gateway.decode(payload)
    except UNREADABLE as error:
        raise MessageError(f"not an offer or chunk of a model: {error}") from error
    match message:
        case ModelOffer():
            _named(message.name, message.version, message.manifest_sha256, message.sha256)
            if not 0 < message.size < _INT64 or message.chunks != chunk_count(message.size):
                raise MessageError(
                    f"model offer of {message.size} bytes in {message.chunks} chunks of {CHUNK_BYTES}"
                )
        case ModelChunk():
            _hashed(message.sha256)
            if message.index not in range(chunk_count(MAX_ARTIFACT_BYTES)):
                raise MessageError(f"model chunk {message.index}: beyond {MAX_ARTIFACT_BYTES} bytes")
            if not 0 < len(message.data) <= CHUNK_BYTES:
                raise MessageError(f"model chunk of {len(message.data)} bytes: use 1 to {CHUNK_BYTES}")
    return message


def decode_from_gateway(payload: bytes) -> FromGateway:
    """Request or report of an unsealed payload. Raises `MessageError` for anything else or out of bounds."""
    _fits(payload)
    try:
        message: FromGateway = _from_gateway.decode(payload)
    except UNREADABLE as error:
        raise MessageError(f"not a request or report of a model: {error}") from error
    match message:
        case ModelRequest():
            _hashed(message.sha256)
            if not 0 < len(message.chunks) <= MAX_REQUESTED:
                raise MessageError(f"request of {len(message.chunks)} model chunks: use 1 to {MAX_REQUESTED}")
            if any(index not in range(chunk_count(MAX_ARTIFACT_BYTES)) for index in message.chunks):
                raise MessageError(f"request of model chunks beyond {MAX_ARTIFACT_BYTES} bytes")
        case ModelReport():
            _named(message.name, message.version, message.manifest_sha256, message.sha256)
            if message.running_version != 0:
                _hashed(message.running_sha256)
            if len(message.detail) > MAX_DETAIL or len(message.reason or "") > MAX_DETAIL:
                raise MessageError(f"model report with a text of more than {MAX_DETAIL} characters")
            numbers = (message.at_ns, message.running_version, message.swapped_at_ns or 0)
            if not all(0 <= number < _INT64 for number in (*numbers, message.beats_missed_in_swap or 0)):
                raise MessageError("a time or counter of a model report is negative or beyond 64 bits")
    return message


def _fits(payload: bytes) -> None:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message of {len(payload)} bytes: at most {MAX_MESSAGE_BYTES}")


def _hashed(text: str) -> None:
    if not _HASH.fullmatch(text):
        raise MessageError(f"hash {text[:80]!r}: use 64 hexadecimal digits")


def _named(name: str, version: int, manifest_sha256: str, sha256: str) -> None:
    if not _NAME.fullmatch(name):
        raise MessageError(f"model name {name[:80]!r}: use 1 to 32 characters of a-z, 0-9 and inner hyphens")
    if not 0 < version < _INT64:
        raise MessageError(f"model version {version}: use 1 or more")
    _hashed(manifest_sha256)
    _hashed(sha256)
