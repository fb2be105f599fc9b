"""The registry at work: offers models, serves their chunks, listens to reports, moves rollouts on and stops them.

It owns a thread and no connection: whoever hosts it hands in messages (`heard`, `gateway_seen`) and gives it a way to
publish. Versions that the command line publishes into the same ledger are found within a second.
"""

import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Literal, Protocol

import structlog

from vitalwire_cloud.registry.config import RolloutConfig
from vitalwire_cloud.registry.ledger import Model, ModelLedger, RegistryError, Reported
from vitalwire_cloud.registry.publishing import newest, rollback
from vitalwire_cloud.registry.rollout import (
    Key,
    Progress,
    choose_first,
    next_stage,
    progress,
    stranded,
    wants,
)
from vitalwire_edge.inference.keys import Signer
from vitalwire_edge.wire.messages import MessageError, seal, unseal
from vitalwire_edge.wire.models import (
    CHUNK_BYTES,
    ModelChunk,
    ModelOffer,
    ModelReport,
    ModelRequest,
    ToGateway,
    chunk_count,
    decode_from_gateway,
    encode_model,
)
from vitalwire_edge.wire.topics import TopicError, gateway_topic, parse

log = structlog.get_logger()

_QUEUED: Final = 1024
_TURN_S: Final = 0.25
_TICK_S: Final = 1.0
_EXPIRY_S: Final = 30
_PRESENT_S: Final = 60.0
_KNOWN: Final = 10_000
_CACHED: Final = 2
_CHUNKS_PER_S: Final = 64.0
"""What one gateway is served, 3.8 MB/s: its patients' data share the broker."""


Kind = Literal["model", "software"]


class Publish(Protocol):
    """How messages get to gateways."""

    def __call__(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        """Whether the message is on its way."""


class ModelDesk:
    """Works on `ledger` until `stop`. `key_of` gives a gateway's key, or None: then it is not talked to.

    `kind` is what it keeps gateways in, and so its topics: models, or releases of their software.
    With `signer`, gateways that are left on a model whose rollout was stopped are brought back by themselves.
    """

    def __init__(
        self,
        ledger: ModelLedger,
        publish: Publish,
        key_of: Callable[[str], bytes | None],
        *,
        config: RolloutConfig | None = None,
        signer: Signer | None = None,
        kind: Kind = "model",
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._ledger = ledger
        self._publish = publish
        self._key_of = key_of
        self._config = config or RolloutConfig()
        self._signer = signer
        self._kind: Kind = kind
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue(_QUEUED)
        self._stop = threading.Event()
        self._seeing = threading.Lock()
        self._seen_s: OrderedDict[Key, float] = OrderedDict()
        self._offered_s: dict[tuple[Key, str], float] = {}
        self._served: dict[Key, tuple[float, float]] = {}
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._tick_s = 0.0
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"{kind}-desk", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout_s)

    @property
    def ledger(self) -> ModelLedger:
        """What it keeps."""
        return self._ledger

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def problem(self) -> str | None:
        """None while the ledger answers, else what it said."""
        return self._problem

    def gateway_seen(self, site: str, gateway: str) -> None:
        """A gateway said something of any kind, so an offer would reach it. Any thread, never waits long."""
        with self._seeing:
            self._seen_s[site, gateway] = time.monotonic()
            self._seen_s.move_to_end((site, gateway))
            while len(self._seen_s) > _KNOWN:
                self._seen_s.popitem(last=False)

    def heard(self, topic: str, payload: bytes) -> None:
        """A message on a gateway's `model-state` topic. Any thread, never waits: gateways say it again."""
        try:
            self._queue.put_nowait((topic, payload))
        except queue.Full:
            self.counters["dropped"] += 1

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                topic, payload = self._queue.get(timeout=_TURN_S)
            except queue.Empty:
                self._guarded(self._tick)
            else:
                self._guarded(lambda topic=topic, payload=payload: self._handle(topic, payload))  # type: ignore[misc]
                self._guarded(self._tick)

    def _guarded(self, work: Callable[[], None]) -> None:
        """A bad message or a ledger that does not answer must not end the desk."""
        try:
            work()
        except (MessageError, TopicError) as error:
            self.counters["rejected"] += 1
            log.warning("update_message_rejected", what=self._kind, reason=str(error))
        except RegistryError as error:
            self.counters["registry_errors"] += 1
            if self._problem is None:
                log.warning("registry_unavailable", what=self._kind, reason=str(error))
            self._problem = str(error)
        except Exception as error:
            self.counters["errors"] += 1
            self._problem = repr(error)
            log.exception("desk_error", what=self._kind)

    def _handle(self, topic_text: str, sealed: bytes) -> None:
        topic = parse(topic_text)
        key = self._key_of(topic.gateway)
        if key is None or topic.device is not None or topic.verb != f"{self._kind}-state":
            self.counters["unknown"] += 1
            return
        gateway: Key = (topic.site, topic.gateway)
        match decode_from_gateway(unseal(key, topic_text, sealed)):
            case ModelRequest() as request:
                self._serve(gateway, request)
            case ModelReport() as report:
                self._record(gateway, report)
        self.gateway_seen(*gateway)

    def _serve(self, gateway: Key, request: ModelRequest) -> None:
        """Send the chunks that were asked for, of a model that this gateway may have."""
        model = next((each for each in self._ledger.models() if each.sha256 == request.sha256), None)
        if model is None or model.stage not in ("first", "all"):
            self.counters["requests_refused"] += 1
            return
        data = self._data(model)
        for index in request.chunks:
            start = index * CHUNK_BYTES
            if start >= len(data) or not self._may_serve(gateway):
                self.counters["chunks_refused"] += 1
                return
            if not self._say(gateway, ModelChunk(request.sha256, index, data[start : start + CHUNK_BYTES])):
                return
            self.counters["chunks"] += 1

    def _may_serve(self, gateway: Key) -> bool:
        """One token of the gateway's bucket, which holds what two seconds give."""
        now = time.monotonic()
        tokens, since = self._served.get(gateway, (2 * _CHUNKS_PER_S, now))
        tokens = min(2 * _CHUNKS_PER_S, tokens + (now - since) * _CHUNKS_PER_S)
        self._served[gateway] = (max(tokens - 1, 0.0), now)
        return tokens >= 1

    def _record(self, gateway: Key, report: ModelReport) -> None:
        if self._ledger.record(*gateway, report, time.time_ns()):
            log.info(
                "update_report",
                what=self._kind,
                gateway="/".join(gateway),
                state=report.state,
                version=report.version,
                reason=report.reason,
                running=report.running_version,
            )
        self._tick_s = 0.0

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._tick_s:
            return
        self._tick_s = now + _TICK_S
        models = self._ledger.models()
        target = next((model for model in models if model.stage in ("first", "all")), None)
        if target is not None:
            self._roll_out(target, self._ledger.reports(target.sha256), now)
        elif models:
            self._bring_back(models[0])
        self._problem = None

    def _roll_out(self, target: Model, reports: list[Reported], now: float) -> None:
        made = progress(reports)
        present = self._present(now)
        if target.stage == "first":
            first = choose_first(target, present, made, self._config)
            if first != target.first:
                self._ledger.set_first(target.version, first)
                target = self._ledger.model(target.version)
        step = next_stage(target, made, self._config)
        if step is not None:
            stage, why = step
            self._ledger.set_stage(target.version, stage, why)
            log.info("rollout", what=self._kind, version=target.version, stage=stage, why=why)
            self._tick_s = 0.0
            return
        for gateway in present:
            if wants(target, gateway, made):
                self._offer(gateway, target, made, now)

    def _offer(self, gateway: Key, target: Model, made: Progress, now: float) -> None:
        every = self._config.offer_again_s if gateway in made.refused else self._config.offer_every_s
        offered = self._offered_s.get((gateway, target.sha256))
        if offered is not None and now - offered < every:
            return
        offer = ModelOffer(
            target.name,
            target.version,
            target.manifest_sha256,
            target.sha256,
            target.size,
            chunk_count(target.size),
        )
        if self._say(gateway, offer):
            self.counters["offers"] += 1
            self._offered_s = {
                key: since for key, since in self._offered_s.items() if key[1] == target.sha256
            } | {(gateway, target.sha256): now}

    def _bring_back(self, halted: Model) -> None:
        """Roll back by itself, once: a rollback that is refused as well needs a person."""
        if self._signer is None or halted.manifest.names_model is not None:
            return
        older = newest(self._ledger)
        left = stranded(halted, self._ledger.gateways())
        if left and older is not None:
            why = f"{len(left)} gateways still ran version {halted.version}: {halted.why}"
            model = rollback(self._ledger, older.version, self._signer, now_ns=time.time_ns(), why=why)
            log.warning("model_rolled_back", version=model.version, names=older.version, why=why)

    def _present(self, now: float) -> list[Key]:
        with self._seeing:
            return sorted(key for key, seen in self._seen_s.items() if now - seen < _PRESENT_S)

    def _say(self, gateway: Key, message: ToGateway) -> bool:
        key = self._key_of(gateway[1])
        if key is None:
            return False
        topic = gateway_topic(*gateway, self._kind)
        return self._publish(topic, seal(key, topic, encode_model(message)), expiry_s=_EXPIRY_S)

    def _data(self, model: Model) -> bytes:
        data = self._cache.get(model.sha256)
        if data is None:
            data = self._ledger.data(model)
            self._cache[model.sha256] = data
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return data
