"""The circle of a model in a running demo: learn from the store, judge, sign, update the gateways, refuse what is bad.

Every step is the real command in a process of its own, at a low priority, because the stream goes on meanwhile. The
people that a candidate is judged on are simulated and so are most of those that it learns from: a ward of five gives
too few beats in half a minute, and a machine need not have any recordings. The demo shows that the parts work
together; how good a model is, `vitalwire evaluate` measures on recordings.
"""

import contextlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.markup import escape

from vitalwire_edge.inference import container, shipped
from vitalwire_edge.inference.artifact import MANIFEST, sha256
from vitalwire_edge.wire.models import ModelReport
from vitalwire_sim.demo.processes import Child, ProcessError, run_command
from vitalwire_sim.demo.witness import Witness, tampered

BEGIN_S: Final = 22.0
"""Into the stream: by then patients have a reference beat and a few beats behind it."""
NEEDED_S: Final = 80.0
"""A shorter run is over before the gateways have confirmed what was trained in it."""

TAMPERED: Final = "tampered file"
DEGRADED: Final = "degraded candidate"
_EPOCHS: Final = 8
_STEP_S: Final = 90.0
_TURN_S: Final = 0.2
_WARMING_S: Final = 60.0
_NICE: Final = 1
_KEPT: Final = 64
_PACKAGES: Final = ("torch", "litert_torch", "ai_edge_quantizer", "sklearn", "wfdb")
_ABOUT: Final = "simulated patients"

Say = Callable[[str], None]


class ModelUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway that took a model over the air. `before` and `after` are versions, the hashes those of manifests.

    `patients` and `beats` are what the model learned from and `sources` where they came from, `judged_on` says whom it
    was judged on, `gate` holds the answers that it was signed for. `why` says why nothing was trained, where nothing
    was.
    """

    gateway: str
    before: int
    after: int
    parent_hash: str | None
    child_hash: str
    patients: int
    beats: int
    sources: list[str]
    judged_on: str
    gate: list[dict[str, Any]]
    beats_missed_in_swap: int
    why: str = ""


class RefusedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was not taken: `by` is the gate or a gateway."""

    what: str
    by: str
    reason: str
    detail: str


class Retrained(msgspec.Struct, kw_only=True):
    """What came of it. `wanted` is False in a run that is too short for it; `to_refuse` is what shall be refused.

    `unfinished`: the run ended first.
    """

    wanted: bool = False
    unfinished: bool = False
    to_refuse: set[str] = set()
    updates: list[ModelUpdate] = []
    refused: list[RefusedModel] = []
    problems: list[str] = []


class _StoppedError(Exception):
    """The demo ends."""


class _Gate(msgspec.Struct, frozen=True):
    checks: list[dict[str, Any]]


class _Published(msgspec.Struct, frozen=True):
    """What `model publish --json` says."""

    published: bool
    version: int | None
    manifest_sha256: str | None
    parent_hash: str | None
    file: str | None
    gate: _Gate | None
    why: str


class _Evidence(msgspec.Struct, frozen=True):
    """What is read of `evidence.json`."""

    source: str


class _Run(msgspec.Struct, frozen=True):
    """What is read of `run.json`."""

    records: dict[str, str]
    normal_beats: int
    sources: list[str]


class Retraining:
    """Works on a thread of its own from `start` to `stop`; `result` is complete then."""

    def __init__(self, folder: Path, data_dir: Path, *, seed: int, say: Say) -> None:
        self.result = Retrained()
        self._folder = folder / "models"
        self._data_dir = data_dir
        self._seed = seed
        self._say = say
        self._why_not = why_not()
        self._gateways: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._children: list[Child] = []
        self._witness: Witness | None = None
        self._warming: subprocess.Popen[bytes] | None = None
        self._hearing = threading.Condition()
        self._heard: dict[str, list[ModelReport]] = {}
        self._thread = threading.Thread(target=self._guarded, name="retraining", daemon=True)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of its processes."""
        return sum(child.cpu_s for child in self._children)

    def prepare(self, port: int, site: str, keys: dict[str, bytes]) -> list[str]:
        """Make keys and simulated patients, listen to gateways; flags for `edge run`. Raises `ProcessError`."""
        self.result.wanted = True
        self.result.to_refuse = {TAMPERED} if self._why_not else {TAMPERED, DEGRADED}
        self._folder.mkdir(parents=True)
        own = self._folder / "keys"
        run_command(["model", "keys", "init", str(own)])
        signing = ["--root", str(own / "root.key"), "--out", str(self._signing_key), "--days", "1"]
        run_command(["model", "keys", "delegate", *signing])
        if self._why_not is None:
            for name, patients, seconds in (("train", 8, 240), ("held-out", 6, 420)):
                size = ["--patients", str(patients), "--seconds", str(seconds)]
                whose = ["--seed", str(self._seed), "--prefix", f"{name}-"]
                run_command(["sim", "cohort", str(self._folder / name), *size, *whose])
            # The first import of the exporter after an installation takes several times as long as later ones.
            self._warming = subprocess.Popen(
                [sys.executable, "-c", f"import {', '.join(_PACKAGES)}"], stderr=subprocess.DEVNULL
            )
        self._gateways = tuple(keys)
        self._witness = Witness(port, site, keys, self._on_report)
        config = self._folder / "gateway.toml"
        # A ward confirms a model over hundreds of beats. A demo has seconds, in which its script spoils the signal of
        # some patients: that a model abstains there says nothing of the model.
        config.write_text(
            f"[models]\ntrust_files = [{msgspec.json.encode(str(own / 'trust.json')).decode()}]\n"
            "[models.probation]\nbeats = 8\nseconds = 2.0\nearly_beats = 6\nabstained_more = 1.0\n"
        )
        return ["--config", str(config)]

    def start(self) -> None:
        """Begin when the stream has run for a while."""
        self._thread.start()

    def await_warm(self) -> None:
        """Wait until what will be imported was imported once."""
        if self._warming is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._warming.wait(_WARMING_S)

    def stop(self) -> None:
        """End what is still under way."""
        self._stop.set()
        with self._hearing:
            self._hearing.notify_all()
        if self._warming is not None:
            self._warming.kill()
            self._warming.wait()
        if self._thread.is_alive():
            self._thread.join()
        for child in self._children:
            if child.exit_code is None:
                child.kill()
        if self._witness is not None:
            self._witness.close()

    @property
    def _signing_key(self) -> Path:
        return self._folder / "keys" / "signing.key"

    def _guarded(self) -> None:
        try:
            self._work()
        except _StoppedError:
            self.result.unfinished = True
        except (ProcessError, OSError, msgspec.MsgspecError) as error:
            self.result.problems.append(f"retraining: {error}")
            self._say(f"[red]retraining: {escape(str(error))}[/red]")

    def _work(self) -> None:
        if self._stop.wait(BEGIN_S):
            raise _StoppedError
        if self._why_not is None:
            learned = self._train()
            published, evidence = self._judge("candidate")
            if not published.published:
                raise ProcessError(f"the retrained model was not signed: {published.why}")
        else:
            self._say(f"no retraining, the second shipped model instead: {escape(self._why_not)}")
            learned, evidence = _Run({}, 0, []), _Evidence("")
            published = self._publish_shipped()
        self._say(f"published version {published.version}")
        # The gateways take the new model by themselves while a bad one is judged.
        degraded = self._evaluation(self._degrade()) if self._why_not is None else None
        self._await_gateways(published, learned, evidence)
        self._offer_tampered(published)
        if degraded is not None:
            self._finish(degraded)
            self._put_degraded_before_the_gate()

    def _train(self) -> _Run:
        fitted = self._folder / "run"
        self._say("retraining on what the store holds")
        train = ["train", "beat", "--store", str(self._data_dir), "--data", str(self._folder / "train")]
        train += ["--out", str(fitted), "--epochs", str(_EPOCHS), "--seed", str(self._seed)]
        self._command("train", train)
        learned = msgspec.json.decode((fitted / "run.json").read_bytes(), type=_Run)
        self._say(
            f"retrained on {learned.normal_beats} beats of {len(learned.records)} patients: "
            + "; ".join(learned.sources)
        )
        self._command("export", ["export", "--from", str(fitted), "--out", str(self._folder / "candidate")])
        return learned

    def _evaluation(self, name: str) -> Child:
        """A candidate's evaluation beside the model at work, under way."""
        evaluate = ["evaluate", "candidate", str(self._folder / name), "--from", str(self._folder / "run")]
        evaluate += ["--data", str(self._folder / "held-out"), "--data-dir", str(self._data_dir)]
        evaluate += ["--cache", str(self._folder / "cache"), "--about", _ABOUT]
        return self._begin(f"evaluate-{name}", evaluate)

    def _judge(self, name: str) -> tuple[_Published, _Evidence]:
        """Put a candidate before the gate."""
        self._finish(self._evaluation(name))
        candidate = self._folder / name
        evidence = msgspec.json.decode((candidate / "evidence.json").read_bytes(), type=_Evidence)
        return self._sign(name), evidence

    def _sign(self, name: str) -> _Published:
        return self._publish(name, [str(self._folder / name), "--key", str(self._signing_key)])

    def _publish_shipped(self) -> _Published:
        file, trust = self._folder / "shipped.vwm", self._folder / "shipped-trust.json"
        file.write_bytes(shipped.successor())
        trust.write_bytes(shipped.trust().to_json())
        return self._publish("shipped", [str(file), "--signed", "--trust", str(trust)])

    def _publish(self, name: str, what: list[str]) -> _Published:
        # Short, and it times the model as a gateway does: not at a low priority.
        command = ["model", "publish", *what, "--data-dir", str(self._data_dir), "--json"]
        said = self._finish(self._begin(f"publish-{name}", command, nice=0), codes=(0, 1))
        answer = next((line for line in said.splitlines() if line.startswith('{"published"')), None)
        if answer is None:
            raise ProcessError(f"model publish said nothing:\n{said}")
        return msgspec.json.decode(answer, type=_Published)

    def _await_gateways(self, published: _Published, learned: _Run, evidence: _Evidence) -> None:
        """Until every gateway confirmed the model, or refused it."""
        waiting = set(self._gateways)
        while waiting:
            for gateway in sorted(waiting):
                said = self._said(gateway, published.manifest_sha256)
                if said is None:
                    continue
                waiting.discard(gateway)
                if said.state == "refused":
                    refused = f"{gateway} refused version {said.version}: {said.reason}, {said.detail}"
                    self.result.problems.append(refused)
                    self._say(f"[red]{escape(refused)}[/red]")
                    continue
                update = self._update(gateway, said, published, learned, evidence)
                self.result.updates.append(update)
                missed = f"{update.beats_missed_in_swap} beats missed in the swap"
                self._say(f"[green]{gateway} confirmed version {update.after}[/green], {missed}")
            self._hear()

    def _said(self, gateway: str, manifest_sha256: str | None) -> ModelReport | None:
        """The report that ends a gateway's try of a model."""
        with self._hearing:
            return next(
                (
                    each
                    for each in reversed(self._heard.get(gateway, []))
                    if each.manifest_sha256 == manifest_sha256 and each.state != "candidate"
                ),
                None,
            )

    def _update(
        self, gateway: str, said: ModelReport, published: _Published, learned: _Run, evidence: _Evidence
    ) -> ModelUpdate:
        with self._hearing:
            others = [r for r in self._heard[gateway] if r.running_sha256 != published.manifest_sha256]
        assert said.beats_missed_in_swap is not None
        return ModelUpdate(
            gateway=gateway,
            before=others[-1].running_version if others else 0,
            after=said.running_version,
            parent_hash=published.parent_hash,
            child_hash=said.manifest_sha256,
            patients=len(learned.records),
            beats=learned.normal_beats,
            sources=learned.sources,
            judged_on=evidence.source,
            gate=[] if published.gate is None else published.gate.checks,
            beats_missed_in_swap=said.beats_missed_in_swap,
            why=self._why_not or "",
        )

    def _offer_tampered(self, published: _Published) -> None:
        """A gateway is offered the signed artifact with one bit changed, as if it were a newer version."""
        assert self._witness is not None
        assert published.version is not None
        assert published.file is not None
        data = tampered((self._data_dir / "models" / published.file).read_bytes())
        gateway = self._gateways[0]
        self._say(f"offering {gateway} the signed file with one bit changed")
        identity = sha256(container.read(data)[MANIFEST])
        self._witness.offer(gateway, data, version=published.version + 1, identity=identity)
        while (said := self._said(gateway, identity)) is None:
            self._hear()
        self._say(f"[green]{gateway} refused it[/green]: {said.reason}, {escape(said.detail)}")
        self.result.refused.append(
            RefusedModel(what=TAMPERED, by=gateway, reason=said.reason or said.state, detail=said.detail)
        )

    def _degrade(self) -> str:
        """Leave the candidate again, with a fault in its score that no self-test of the network would see."""
        name = "degraded"
        shutil.copytree(self._folder / "candidate", self._folder / name)
        parameters = self._folder / name / "parameters.json"
        values = msgspec.json.decode(parameters.read_bytes())
        values["view_width"] = [-width for width in values["view_width"]]
        parameters.write_bytes(msgspec.json.encode(values))
        self._say("judging a candidate whose score has the wrong sign")
        return name

    def _put_degraded_before_the_gate(self) -> None:
        published = self._sign("degraded")
        if published.published or published.gate is None:
            self.result.problems.append(f"the gate let a degraded model pass as version {published.version}")
            return
        failed = [check["name"] for check in published.gate.checks if not check["passed"]]
        self._say(f"[green]the gate refused it[/green]: {escape(published.why)}")
        self.result.refused.append(
            RefusedModel(what=DEGRADED, by="gate", reason=", ".join(failed), detail=published.why)
        )

    def _on_report(self, gateway: str, report: ModelReport) -> None:
        with self._hearing:
            self._heard.setdefault(gateway, []).append(report)
            del self._heard[gateway][:-_KEPT]
            self._hearing.notify_all()

    def _hear(self) -> None:
        """Wait for a report. Raises `_StoppedError` when the demo ends."""
        with self._hearing:
            if self._stop.is_set() or (self._hearing.wait(_TURN_S) and self._stop.is_set()):
                raise _StoppedError

    def _command(self, name: str, arguments: list[str]) -> None:
        self._finish(self._begin(name, arguments))

    def _begin(self, name: str, arguments: list[str], *, nice: int = _NICE) -> Child:
        child = Child(name, arguments, self._folder, nice=nice, environment={"OMP_NUM_THREADS": "1"})
        self._children.append(child)
        child.start()
        return child

    def _finish(self, child: Child, *, codes: tuple[int, ...] = (0,)) -> str:
        """What a command printed. Raises `ProcessError`, `_StoppedError`."""
        code = child.outcome(self._stop, _STEP_S)
        if self._stop.is_set():
            raise _StoppedError
        if code not in codes:
            raise ProcessError(f"{child.name} ended with {code}:\n{child.last_words()}")
        return child.output()


def why_not() -> str | None:
    """Why nothing can be trained on this machine; None where it can."""
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    if platform.machine() != "x86_64":
        return f"the exporter cannot be installed on {platform.machine()} ({', '.join(absent)} missing)"
    return f"{', '.join(absent)} missing: install vitalwire[train]"
