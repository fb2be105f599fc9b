"""Models over the air on a thread of their own: offers and chunks in, requests and reports out.

The link hands over what came (`receive`) and takes what is to be said (`take`); neither ever waits for a disk or for a
model. Files are fetched a window at a time and asked for again with growing pauses, so an update neither fills a
broker nor hurries a broken link.
"""

import queue
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from vitalwire_edge.inference.artifact import sha256
from vitalwire_edge.inference.refusal import Refusal
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.download import Download
from vitalwire_edge.ota.state import OtaState
from vitalwire_edge.wire.messages import MessageError
from vitalwire_edge.wire.models import (
    ModelChunk,
    ModelOffer,
    ModelReport,
    ModelRequest,
    decode_to_gateway,
    encode_model,
)

log = structlog.get_logger()

_QUEUED: Final = 64
_TURN_S: Final = 0.25
_WATCH_S: Final = 1.0
_REPEAT_FIRST_S: Final = 5.0
_REPEAT_MAX_S: Final = 300.0
"""What was said of models is said again after 5 s, 10 s, and so on up to every 5 minutes."""

_MAX_FETCHES: Final = 3
_SPARE_BYTES: Final = 16 * 1024 * 1024
"""Disk that an update leaves free beside the file it fetches and the copy it keeps."""


class Keeper(Protocol):
    """Who decides about what was fetched; `ModelKeeper` says what each is for. Called on the updater's thread."""

    @property
    def state(self) -> OtaState:
        """What is on disk."""

    def start(self) -> None:
        """Put to work what is there."""

    def answer(self, offer: ModelOffer) -> ModelReport | None:
        """What can be said without fetching."""

    def remember_offer(self, offer: ModelOffer | None) -> None:
        """What is being fetched."""

    def install(self, data: bytes, offer: ModelOffer) -> ModelReport:
        """Take what was fetched."""

    def watch(self) -> tuple[ModelReport, ...]:
        """Look at what is on probation."""

    def refuse(
        self, offer: ModelOffer, reason: Refusal, detail: str, *, remember: bool = True
    ) -> ModelReport:
        """Refuse what was offered."""

    def report(self) -> ModelReport | None:
        """What is at work."""

    def refusals(self) -> tuple[ModelReport, ...]:
        """What was refused."""


class Updater:
    """Keeps `keeper` in models, or whatever `kind` says; that is also how its counters and log lines begin.

    `wake` tells the link that `take` has something; any thread may call either.

    The gateway's topic and seal are the link's business: payloads come in unsealed and go out unsealed.
    """

    def __init__(
        self,
        config: OtaConfig,
        keeper: Keeper,
        *,
        wake: Callable[[], None] = lambda: None,
        kind: str = "model",
    ) -> None:
        self._kind = kind
        self.counters: Counter[str] = Counter()
        self._config = config
        self._keeper = keeper
        self._wake = wake
        self._folder = Path(config.folder) / "incoming"
        self._queue: queue.Queue[bytes] = queue.Queue(_QUEUED)
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._saying = threading.Lock()
        self._reports: dict[str, ModelReport] = {}
        self._request: ModelRequest | None = None
        self._download: Download | None = None
        self._fetches = 0
        self._asked: set[int] = set()
        self._ask_s = 0.0
        self._pause_s = config.retry_first_s
        self._watch_s = 0.0
        self._repeat_s = float("inf")
        self._repeat_pause_s = _REPEAT_FIRST_S
        self._thread = threading.Thread(target=self._run, name=kind, daemon=True)

    def start(self) -> None:
        """Put a model to work, then go on with what a restart interrupted."""
        self._keeper.start()
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread; what was fetched stays."""
        self._stop.set()
        self._thread.join(timeout_s)

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def connected(self) -> None:
        """The link is up (again): say what is at work and what is missing."""
        self._connected.set()

    def receive(self, payload: bytes) -> None:
        """An unsealed payload from the gateway's `model` topic. Never waits: what does not fit is asked for again."""
        try:
            self._queue.put_nowait(payload)
        except queue.Full:
            self.counters[f"{self._kind}_messages_dropped"] += 1

    def take(self) -> list[bytes]:
        """Payloads for the gateway's `model-state` topic, to be sealed; they are gone from here."""
        with self._saying:
            said: list[bytes] = [encode_model(report) for report in self._reports.values()]
            if self._request is not None:
                said.append(encode_model(self._request))
            self._reports.clear()
            self._request = None
        return said

    def _run(self) -> None:
        self._guarded(self._resume)
        while not self._stop.is_set():
            try:
                payload = self._queue.get(timeout=_TURN_S)
            except queue.Empty:
                self._guarded(self._turn)
            else:
                self._guarded(lambda payload=payload: self._handle(payload))  # type: ignore[misc]
                self._guarded(self._turn)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong with an update costs the update, never the thread or the model at work."""
        try:
            work()
        except MessageError as error:
            self.counters[f"{self._kind}_messages_rejected"] += 1
            log.warning("update_message_rejected", what=self._kind, reason=str(error))
        except Exception as error:
            self.counters[f"{self._kind}_update_errors"] += 1
            log.exception("update_error", what=self._kind)
            self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        if self._download is None:
            return
        offer, self._download = self._download.offer, None
        try:
            self._say(self._keeper.refuse(offer, Refusal.NO_ROOM, why))
        except OSError as error:
            log.error("update_state_not_written", what=self._kind, reason=str(error))  # noqa: TRY400 - the cause is logged already

    def _turn(self) -> None:
        if self._connected.is_set():
            self._connected.clear()
            self._say(*self._keeper.refusals(), self._keeper.report())
            self._ask_s = 0.0
            self._pause_s = self._config.retry_first_s
        now = time.monotonic()
        if now >= self._watch_s:
            self._watch_s = now + _WATCH_S
            self._say(*self._keeper.watch())
        if now >= self._repeat_s:
            # The cloud may have been away when it was said, and no broker has to have kept it.
            pause_s = min(2 * self._repeat_pause_s, _REPEAT_MAX_S)
            self._say(*self._keeper.refusals(), self._keeper.report())
            self._repeat_s, self._repeat_pause_s = now + pause_s, pause_s
        if self._download is not None and now >= self._ask_s:
            self._ask(again=True)

    def _resume(self) -> None:
        offer = self._keeper.state.offer
        if offer is not None:
            self._download = Download(self._folder, offer)
            log.info(
                "update_download_resumed",
                what=self._kind,
                version=offer.version,
                missing=len(self._download.missing(10**6)),
            )
            self._after_chunk()

    def _handle(self, payload: bytes) -> None:
        match decode_to_gateway(payload):
            case ModelOffer() as offer:
                self._consider(offer)
            case ModelChunk() as chunk:
                if self._download is None or not self._download.put(chunk):
                    self.counters[f"{self._kind}_chunks_unwanted"] += 1
                    return
                self.counters[f"{self._kind}_chunks"] += 1
                self._asked.discard(chunk.index)
                self._pause_s = self._config.retry_first_s
                self._after_chunk()

    def _consider(self, offer: ModelOffer) -> None:
        if self._download is not None:
            under_way = self._download.offer
            if offer.sha256 == under_way.sha256 or offer.version <= under_way.version:
                return
        answer = self._keeper.answer(offer)
        if answer is None and shutil.disk_usage(self._config.folder).free < 2 * offer.size + _SPARE_BYTES:
            answer = self._keeper.refuse(offer, Refusal.NO_ROOM, "the disk is full")
        if answer is not None:
            self._say(answer)
            return
        log.info("update_offered", what=self._kind, name=offer.name, version=offer.version, size=offer.size)
        self._keeper.remember_offer(offer)
        self._download = Download(self._folder, offer)
        self._fetches = 1
        self._after_chunk()

    def _after_chunk(self) -> None:
        download = self._download
        assert download is not None
        if not download.complete:
            if not self._asked:
                self._ask(again=False)
            return
        data = download.read()
        self._asked.clear()
        if sha256(data) != download.offer.sha256 and self._fetches < _MAX_FETCHES:
            log.warning(
                "update_download_damaged",
                what=self._kind,
                version=download.offer.version,
                fetches=self._fetches,
            )
            self._fetches += 1
            download.discard()
            self._download = Download(self._folder, download.offer)
            self._ask(again=False)
            return
        if sha256(data) != download.offer.sha256:
            why = f"what was sent is not what was offered, {self._fetches} times"
            report = self._keeper.refuse(download.offer, Refusal.HASH_MISMATCH, why, remember=False)
        else:
            report = self._keeper.install(data, download.offer)
        self._download = None
        download.discard()
        self._say(report)

    def _ask(self, *, again: bool) -> None:
        """Ask for a window of what is missing; what was asked for and did not come is asked for later and later."""
        assert self._download is not None
        if again and self._asked:
            self._pause_s = min(2 * self._pause_s, self._config.retry_max_s)
            self.counters[f"{self._kind}_requests_repeated"] += 1
        missing = self._download.missing(self._config.window_chunks)
        self._asked = set(missing)
        self._ask_s = time.monotonic() + self._pause_s
        with self._saying:
            self._request = ModelRequest(self._download.offer.sha256, missing)
        self._wake()

    def _say(self, *reports: ModelReport | None) -> None:
        said = [report for report in reports if report is not None]
        if not said:
            return
        with self._saying:
            for report in said:
                self._reports[report.sha256] = report
        self._repeat_s, self._repeat_pause_s = time.monotonic() + _REPEAT_FIRST_S, _REPEAT_FIRST_S
        self._wake()
