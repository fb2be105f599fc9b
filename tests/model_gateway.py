"""A gateway's model parts for tests, on real models: keeper, slot, a scorer, and a workshop that signs artifacts."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import tiny_model as tiny

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference.artifact import Artifact, Host, open_artifact, pack, read_manifest, sha256
from vitalwire_edge.inference.keys import Root
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.ota.config import OtaConfig, ProbationConfig
from vitalwire_edge.ota.keeper import ModelKeeper
from vitalwire_edge.ota.slot import ModelSlot
from vitalwire_edge.wire.models import CHUNK_BYTES, ModelChunk, ModelOffer, ModelReport, chunk_count

NOW_NS = 1_800_000_000 * 10**9
HOST = Host("x86_64", ("ai-edge-litert",))
QUICK = ProbationConfig(beats=40, seconds=1e-9, early_beats=20)
X = np.ones((1, tiny.WIDTH), dtype=np.float32)


class Workshop:
    """Makes signed artifacts; `y = a * x + version`, so a score tells which version made it."""

    def __init__(self) -> None:
        self.root = Root.new()
        self.signer = self.root.delegate(now_ns=NOW_NS, expires_ns=None)

    def make(self, version: int, *, a: float = 2.0, off: float = 0.0, ballast: int = 0, **manifest) -> bytes:
        parts = tiny.parts(a, float(version), off=off, ballast=ballast)
        return pack(parts, tiny.manifest(version, **manifest), self.signer)

    def offer(self, data: bytes, **changed) -> ModelOffer:
        manifest, manifest_sha256 = read_manifest(data, self.root.trust)
        offer = ModelOffer(
            manifest.name, manifest.version, manifest_sha256, sha256(data), len(data), chunk_count(len(data))
        )
        return msgspec.structs.replace(offer, **changed)

    def claim(self, data: bytes) -> ModelOffer:
        """Offer of a file that may not open: then with a made-up manifest hash."""
        try:
            return self.offer(data)
        except ArtifactRefusedError:
            return blind_offer(data)

    def manifest_hash(self, data: bytes) -> str:
        return open_artifact(data, self.root.trust, now_ns=None, host=HOST).manifest_sha256


def blind_offer(data: bytes, name: str = "beat", version: int = 2) -> ModelOffer:
    """Offer of a file that cannot be opened."""
    return ModelOffer(name, version, "0" * 64, sha256(data), len(data), chunk_count(len(data)))


def chunk(data: bytes, index: int) -> ModelChunk:
    return ModelChunk(sha256(data), index, data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES])


def build(artifact: Artifact):
    """What scores: the model itself."""
    return tiny.load(artifact.model, artifact.runtime)


@dataclass
class Gateway:
    """Keeper and slot over `folder`; `restart` is what a new process would be."""

    folder: Path
    workshop: Workshop
    shipped: tuple[bytes, ...] = ()
    probation: ProbationConfig = QUICK
    config: dict = field(default_factory=dict)
    synchronised: bool = True
    now_ns: int = NOW_NS
    load: object = staticmethod(tiny.load)
    build: object = staticmethod(build)
    host: Host = HOST

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> ModelReport | None:
        self.slot: ModelSlot = ModelSlot()
        self.settings = OtaConfig(folder=str(self.folder), probation=self.probation, **self.config)
        self.keeper = ModelKeeper(
            self.settings,
            trust=self.workshop.root.trust,
            slot=self.slot,
            load=self.load,
            build=self.build,
            now=lambda: Stamp(0, self.now_ns, self.synchronised),
            shipped=self.shipped,
            host=self.host,
        )
        self.keeper.start()
        return self.keeper.report()

    def install(self, data: bytes, **changed) -> ModelReport:
        return self.keeper.install(data, self.workshop.offer(data, **changed))

    def beat(self) -> int | None:
        """Score a beat of ones: the version that did it, or None where it was missed."""
        with self.slot.lease() as loaded:
            return None if loaded is None else round(float(loaded.model([X])[0][0, 0])) - 2

    def beats(self, count: int) -> set[int | None]:
        return {self.beat() for _ in range(count)}

    def confirm(self) -> None:
        self.beats(QUICK.beats)
        (report,) = self.keeper.watch()
        assert report.state == "running"
