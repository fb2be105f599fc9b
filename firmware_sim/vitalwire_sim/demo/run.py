"""One demo from start to end: what is started in which order, what is broken when, and how it all stops."""

import json
import os
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from vitalwire_edge.recordings.locate import TOY
from vitalwire_sim.demo.processes import Child, ProcessError, answers, fetch_json, run_command
from vitalwire_sim.demo.relay import Relay
from vitalwire_sim.demo.retraining import NEEDED_S, Retrained, Retraining
from vitalwire_sim.scenario import CloudRestart, LinkLoss, Scenario

_START_S: Final = 60.0
_LEAD_IN_S: Final = 3.0
_TICK_S: Final = 0.25
_DRAIN_S: Final = 45.0
_PREFERRED_WEB_PORT: Final = 8800
_DOWN_S: Final = 2.0
_OFFER_EVERY_S: Final = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for.

    `seconds` None runs until it is interrupted. `recording` is replayed in place of the one that comes along.
    """

    scenario_name: str
    scenario: Scenario
    seconds: float | None
    seed: int
    folder: Path
    browser: bool
    web_port: int | None = None
    recording: Path | None = None


@dataclass(slots=True)
class Evidence:
    """What a finished run leaves behind for the report."""

    truth_files: list[Path] = field(default_factory=list)
    counter_files: list[Path] = field(default_factory=list)
    audit: dict[str, object] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    disturbances: list[dict[str, object]] = field(default_factory=list)
    elapsed_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    retrained: Retrained = field(default_factory=Retrained)


class Demo:
    """A site on one machine."""

    def __init__(self, plan: Plan, say: Say, stop: threading.Event) -> None:
        self._plan = plan
        self._say = say
        self._stop = stop
        self._keys = plan.folder / "keys"
        self._data_dir = plan.folder / "cloud"
        self._children: list[Child] = []
        self._relays: dict[str, Relay] = {}
        self._announced: set[str] = set()
        self._web_port = plan.web_port or _web_port()
        self._cloud: Child | None = None
        self._retraining: Retraining | None = None
        if plan.seconds is None or plan.seconds >= NEEDED_S:
            self._retraining = Retraining(plan.folder, self._data_dir, seed=plan.seed, say=say)
        self.evidence = Evidence()

    @property
    def page(self) -> str:
        """Address of the live page."""
        return f"http://127.0.0.1:{self._web_port}/"

    def run(self) -> Evidence:
        """Start, play, stop and audit. Raises `ProcessError` when a part does not start or dies."""
        with ExitStack() as stack:
            stack.callback(self._end_relays)
            stack.callback(self._kill_all)
            stack.callback(self._end_retraining)
            broker, cloud, gateways, wearables, start_ns = self._start()
            if self._plan.browser:
                webbrowser.open(self.page)
            if self._retraining is not None:
                self._retraining.start()
            self._play(cloud, wearables, start_ns)
            self._end_retraining()
            self._finish(wearables, gateways, cloud)
            self.evidence.audit = json.loads(
                run_command(["cloud", "audit", "--json", "--values", "--data-dir", str(self._data_dir)])
            )
            with self._noting_problems():
                broker.stop()
            self.evidence.cpu_s = {child.name: round(child.cpu_s, 2) for child in self._children}
            if self._retraining is not None:
                self.evidence.cpu_s["retraining"] = round(self._retraining.cpu_s, 2)
        return self.evidence

    def _start(self) -> tuple[Child, Child, list[Child], list[Child], int]:
        plan = self._plan
        self._keys.mkdir(parents=True, exist_ok=True)
        broker_port = free_port()
        self._say("starting the broker")
        broker = self._child("broker", ["broker", "run", "--port", str(broker_port)])
        broker.start()
        broker.wait_until(lambda: _listens(broker_port), "listening", _START_S)

        self._say("starting the cloud service")
        keys = {gateway: secrets.token_bytes(32) for gateway in plan.scenario.gateways}
        for gateway, key in keys.items():
            _write_secret(self._keys / f"{gateway}.key", key.hex())
        cloud = self._child(
            "cloud",
            [
                "cloud",
                "run",
                *("--broker", f"127.0.0.1:{broker_port}"),
                *("--web", f"127.0.0.1:{self._web_port}"),
                *("--data-dir", str(self._data_dir)),
                *("--keys-dir", str(self._keys)),
                *("--set", f"site={plan.scenario.site}"),
                *("--set", f"models.rollout.offer_every_s={_OFFER_EVERY_S}"),
            ],
        )
        self._cloud = cloud
        cloud.start()
        cloud.wait_until(lambda: answers(f"{self.page}readyz"), "becoming ready", _START_S)

        flags = []
        if self._retraining is not None:
            self._say("making keys for models and simulated patients to judge them on")
            flags = self._retraining.prepare(broker_port, plan.scenario.site, keys)
        self._say("starting the gateways (the first time compiles the signal code, about half a minute)")
        gateways, addresses = self._start_gateways(broker_port, flags)
        if self._retraining is not None:
            self._retraining.await_warm()
        start_ns = time.time_ns() + int(_LEAD_IN_S * 1e9)
        self._say(f"starting {len(plan.scenario.devices)} wearables")
        wearables = [
            self._wearable(device.name, addresses[device.gateway], start_ns)
            for device in plan.scenario.devices
        ]
        for wearable in wearables:
            wearable.start()
        self._say(f"live page: {self.page}")
        return broker, cloud, gateways, wearables, start_ns

    def _start_gateways(self, broker_port: int, flags: list[str]) -> tuple[list[Child], dict[str, str]]:
        gateways, addresses, ready = [], {}, {}
        for name in self._plan.scenario.gateways:
            relay = self._relays[name] = Relay(broker_port)
            addresses[name] = f"127.0.0.1:{free_port()}"
            health_port = free_port()
            counters = self._plan.folder / f"{name}.counters.json"
            self.evidence.counter_files.append(counters)
            gateway = self._child(
                name,
                [
                    "edge",
                    "run",
                    *("--site", self._plan.scenario.site),
                    *("--gateway", name),
                    *("--broker", f"127.0.0.1:{relay.port}"),
                    *("--listen", addresses[name]),
                    *("--spool", str(self._plan.folder / f"{name}.spool")),
                    *("--health-port", str(health_port)),
                    *("--counters", str(counters)),
                    *("--set", f"key_file={self._keys / name}.key"),
                    *("--set", "clock.trust_system=true"),
                    *("--set", "telemetry.simulated=true"),
                    *flags,
                ],
            )
            gateway.start()
            gateways.append(gateway)
            ready[gateway] = f"http://127.0.0.1:{health_port}/readyz"
        for gateway, url in ready.items():
            gateway.wait_until(partial(answers, url), "becoming ready", 2 * _START_S)
        return gateways, addresses

    def _wearable(self, device: str, gateway_address: str, start_ns: int) -> Child:
        plan = self._plan
        truth = plan.folder / f"{device}.truth.jsonl"
        replaces = plan.recording is not None and plan.scenario.device(device).recording == TOY
        self.evidence.truth_files.append(truth)
        return self._child(
            device,
            [
                "sim",
                "run",
                *("--scenario", plan.scenario_name),
                *("--device", device),
                *("--gateway-address", gateway_address),
                *("--truth", str(truth)),
                *("--seed", str(plan.seed)),
                *("--start-at", str(start_ns)),
                *(("--seconds", str(plan.seconds)) if plan.seconds is not None else ()),
                *(("--recording", str(plan.recording)) if replaces else ()),
            ],
        )

    def _play(self, cloud: Child, wearables: list[Child], start_ns: int) -> None:
        """Wait for the end, break things on time, tell what happens."""
        plan = self._plan
        steps = self._steps(cloud)
        step = next(steps, None)
        begin = time.monotonic() + (start_ns - time.time_ns()) / 1e9
        next_look = begin
        while not self._stop.is_set():
            now_s = time.monotonic() - begin
            while step is not None and now_s >= step[0]:
                step[1]()
                step = next(steps, None)
            if plan.seconds is not None and now_s >= plan.seconds:
                break
            if now_s + begin >= next_look:
                next_look += 1.0
                self._look(now_s, wearables)
            self._stop.wait(_TICK_S)
        self.evidence.elapsed_s = max(time.monotonic() - begin, 0.0)
        if self._stop.is_set():
            self._say("stopping")

    def _steps(self, cloud: Child) -> Iterator[tuple[float, Callable[[], None]]]:
        """What breaks and heals, in order of time."""
        todo: list[tuple[float, Callable[[], None]]] = []
        for event in self._plan.scenario.site_events(self._plan.seconds):
            match event:
                case LinkLoss(gateway=gateway, start_s=start_s, duration_s=duration_s):
                    todo.append((start_s, partial(self._cut, gateway, duration_s)))
                    todo.append((start_s + duration_s, partial(self._restore, gateway)))
                case CloudRestart(start_s=start_s):
                    todo.append((start_s, partial(self._kill_cloud, cloud)))
                    todo.append((start_s + _DOWN_S, partial(self._restart_cloud, cloud)))
        return iter(sorted(todo, key=lambda step: step[0]))

    def _cut(self, gateway: str, duration_s: float) -> None:
        self._say(f"[red]cutting the link of {gateway} for {duration_s:.0f} s[/red]")
        self._note("link_loss", gateway, duration_s)
        self._relays[gateway].cut()

    def _restore(self, gateway: str) -> None:
        self._relays[gateway].restore()
        self._say(f"[green]the link of {gateway} is back[/green]")

    def _kill_cloud(self, cloud: Child) -> None:
        self._say("[red]killing the cloud service (SIGKILL)[/red]")
        self._note("cloud_restart", None, _DOWN_S)
        cloud.kill()

    def _restart_cloud(self, cloud: Child) -> None:
        self._say("[green]starting the cloud service again[/green]")
        cloud.start()

    def _note(self, kind: str, gateway: str | None, duration_s: float) -> None:
        self.evidence.disturbances.append(
            {"kind": kind, "gateway": gateway, "start_ns": time.time_ns(), "duration_s": duration_s}
        )

    def _look(self, now_s: float, wearables: list[Child]) -> None:
        """Note CPU time, notice dead processes, tell new alarms."""
        for child in self._children:
            child.measure()
            code = child.exit_code
            ended_early = code is not None and (child not in wearables or code != 0)
            if ended_early and not (child is self._cloud and code is not None and code < 0):
                raise ProcessError(f"{child.name} ended ({code}):\n{child.last_words()}")
        alarms = fetch_json(f"{self.page}api/v1/alarms?open=false")
        for alarm in alarms or ():
            if alarm["alarm_id"] not in self._announced:
                self._announced.add(alarm["alarm_id"])
                who = alarm["device"] or alarm["gateway"]
                self._say(f"{max(now_s, 0):5.0f} s  {alarm['priority']:<6} {who}: {alarm['text']}")

    def _finish(self, wearables: list[Child], gateways: list[Child], cloud: Child) -> None:
        """Stop from the source to the sink, so that everything has time to arrive."""
        self._say("letting everything arrive")
        for relay in self._relays.values():
            relay.restore()
        if cloud.exit_code is not None:
            cloud.start()
        for wearable in wearables:
            with self._noting_problems():
                wearable.stop() if self._stop.is_set() else wearable.wait(_DRAIN_S)
        for gateway in gateways:
            with self._noting_problems():
                gateway.stop(_DRAIN_S)
        with self._noting_problems():
            cloud.stop()

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        try:
            yield
        except ProcessError as error:
            self.evidence.problems.append(str(error))
            self._say(f"[red]{error}[/red]")

    def _child(self, name: str, arguments: list[str]) -> Child:
        child = Child(name, arguments, self._plan.folder)
        self._children.append(child)
        return child

    def _kill_all(self) -> None:
        for child in self._children:
            if child.exit_code is None:
                child.kill()

    def _end_retraining(self) -> None:
        if self._retraining is not None:
            self._retraining.stop()
            self.evidence.retrained = self._retraining.result

    def _end_relays(self) -> None:
        for relay in self._relays.values():
            relay.close()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _web_port() -> int:
    """The port people can remember if it is free, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PREFERRED_WEB_PORT))
        except OSError:
            return free_port()
    return _PREFERRED_WEB_PORT


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
