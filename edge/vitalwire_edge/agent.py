"""The gateway agent: wires sources, wearables, spool and link together and keeps them running.

Four threads do the work: the source reads, this one decodes and analyses, the spool writes, the link sends. They meet
in bounded queues; none waits for another but through them.
"""

import importlib.metadata
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.announce import Announcer
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import EdgeConfig, read_key
from vitalwire_edge.inference import trend
from vitalwire_edge.link.link import Link, Presence
from vitalwire_edge.ota.gateway import GatewayModels
from vitalwire_edge.report import CountersFile, device_reports, total, write_atomically
from vitalwire_edge.software.gateway import GatewaySoftware
from vitalwire_edge.sources.build import build_sources
from vitalwire_edge.sources.inbox import Inbox, SourceState
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.spool.spool import Spool, SpoolState
from vitalwire_edge.status import (
    AlarmBoard,
    AlarmsView,
    DeviceView,
    LinkView,
    ModelView,
    SourceView,
    SpoolView,
    StatusPage,
)
from vitalwire_edge.wearable import warming
from vitalwire_edge.wearable.device import Wearable
from vitalwire_edge.wearable.doorkeeper import Doorkeeper
from vitalwire_edge.wearable.expected import ExpectedWearables
from vitalwire_edge.wearable.orders import Orders
from vitalwire_edge.wearable.patient import Baselines
from vitalwire_edge.wearable.score_turns import ScoreTurns
from vitalwire_edge.wearable.scoring import Scoring
from vitalwire_edge.wearable.staff import StaffBook
from vitalwire_edge.wearable.surroundings import Surroundings
from vitalwire_edge.wire.messages import (
    MAX_DEMAND_S,
    AlarmMessage,
    Command,
    DeviceBirth,
    DeviceDeath,
    GatewayBirth,
    GatewayStatus,
    StreamCommit,
    decode_json,
)

log = structlog.get_logger()

_TICK_S: Final = 0.1
_SECOND_S: Final = 1.0
_STUCK_S: Final = 15.0
_MOST_COMMANDS: Final = 64


class Agent:
    """A running gateway. Build, `start`, `run` until told to stop.

    Raises `ConfigError` for a key that cannot be read, `SpoolError` for a spool that cannot be opened, and from
    `start` `SourceError` for an address that cannot be had.
    """

    def __init__(self, config: EdgeConfig, *, counters_path: Path | None = None) -> None:
        assert config.key_file is not None
        self._config = config
        self._counters_path = counters_path
        self._counters_failed = False
        key = read_key(Path(config.key_file))
        self.clock = GatewayClock(trust_system=config.clock.trust_system, step_s=config.clock.step_s)
        self.spool = Spool(
            Path(config.spool.path),
            self.clock.boot,
            max_bytes=config.spool.max_bytes,
            max_age_s=config.spool.max_age_h * 3600,
            commit_every_s=config.spool.commit_every_ms / 1000,
            commit_rows=config.spool.commit_rows,
            pending_rows=config.spool.pending_rows,
            believed_utc_ns=lambda: self.clock.now().utc_ns if self.clock.synchronised else None,
        )
        self.announcer = Announcer(config.announce)
        self.models = GatewayModels(config.models_placed, now=self.clock.now, wake=self._wake_link)
        self.software = GatewaySoftware(
            config.software,
            config.models_placed,
            now=self.clock.now,
            wake=self._wake_link,
            ready=self.ready,
            healthy=self._healthy,
        )
        self.baselines = Baselines(config.patient_folder)
        self.staff = StaffBook(config.patient_folder)
        self.orders = Orders(
            config.patient_folder,
            self.baselines,
            clock=self.clock,
            renew=self._renew_patient,
            staff=self.staff,
            spoke=self._staff_spoke,
        )
        self._score_turns = ScoreTurns()
        self._commands: deque[Command] = deque(maxlen=_MOST_COMMANDS)
        presence = Presence(
            self._gateway_birth, self._lifecycles, self._gateway_status, self._commands.append
        )
        self.link = Link(
            config.mqtt,
            config.site,
            config.gateway,
            key,
            spool=self.spool,
            clock=self.clock,
            presence=presence,
            models=self.models,
            software=self.software,
            orders=self.orders,
        )
        self.inbox = Inbox()
        self.sources = build_sources(config.sources, self.inbox)
        self._open_alarms: dict[str, list[AlarmChange]] = {}
        for device, change in self.spool.open_alarms:
            self._open_alarms.setdefault(device, []).append(msgspec.msgpack.decode(change, type=AlarmChange))
        self.board = AlarmBoard()
        for device, changes in self._open_alarms.items():
            for alarm in changes:
                self.board.on_alarm(device, alarm)
        self._around = Surroundings(
            clock=self.clock,
            telemetry=config.telemetry,
            alarms=config.alarms,
            session=lambda: self.spool.session,
            put=self.spool.put,
            on_alarm=self._on_alarm,
            scoring=Scoring(self.models.slot, config.scoring, self.baselines)
            if config.scoring.enabled
            else None,
            said=self.staff.said,
        )
        self.door = Doorkeeper(self._wearable)
        self._expected = ExpectedWearables(Path(f"{config.spool.path}.wearables.json"))
        self._turned_s = time.monotonic()
        self._started = False
        self._ending = False
        self.spool.listen(self)
        self.spool.listen(self.announcer)

    def start(self) -> None:
        """Start every part; wearables may connect when this returns."""
        began = time.monotonic()
        warming.warm()
        if self._config.telemetry.trends:
            trend.warm()
        warming.settle()
        log.info("compiled_parts_warm", seconds=round(time.monotonic() - began, 1))
        self._recover_alarms()
        for name in self._expected.load():
            wearable = self.door.wearables[name] = self._wearable(name)
            wearable.expect()
        self.spool.start()
        self.announcer.start()
        self.baselines.start()
        self.models.start()
        self.software.start()
        for source in self.sources:
            source.start()
        self.link.start()
        self._started = True
        log.info(
            "gateway_started",
            site=self._config.site,
            gateway=self._config.gateway,
            session=self.spool.session,
            synchronised=self.clock.synchronised,
            backlog_rows=self.spool.state.rows,
        )

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`, then end in order: sources, what is gathered, spool, link."""
        next_second = time.monotonic()
        while not stop.is_set() and not self.software.restart.is_set():
            self._turn(_TICK_S)
            if time.monotonic() >= next_second:
                next_second = time.monotonic() + _SECOND_S
                self.clock.poll()
                self._write_counters()
        self._end()

    def ready(self) -> str | None:
        """None when frames can come in and be kept, with or without a link: that is what the spool is for."""
        if not self._started:
            return "starting"
        problems = [source.problem() for source in self.sources]
        return next((p for p in (*problems, self.spool.state.problem) if p is not None), None)

    def live(self) -> str | None:
        """None while every thread turns, and while they end one after the other."""
        if not self._started or self._ending:
            return None
        for name, alive in (
            ("spool", self.spool.alive()),
            ("link", self.link.alive()),
            ("announce", self.announcer.alive()),
            ("models", self.models.alive()),
            ("software", self.software.alive()),
            ("baselines", self.baselines.alive()),
        ):
            if not alive:
                return f"the {name} thread ended"
        stuck_s = time.monotonic() - self._turned_s
        return f"the agent has been stuck for {stuck_s:.0f} s" if stuck_s > _STUCK_S else None

    def _healthy(self) -> str | None:
        """None when data comes in, is kept, and leaves: what new software has to show before it is confirmed."""
        if (problem := self.ready()) is not None:
            return problem
        if not self.link.up:
            return "there is no link to the broker"
        return None if self.link.counters["committed_received"] else "the cloud confirmed nothing"

    def report(self) -> CountersFile:
        """Everything counted so far."""
        dropped = {name: wearable.losses() for name, wearable in list(self.door.wearables.items())}
        withheld = {name: wearable.withheld for name, wearable in list(self.door.wearables.items())}
        counters = total(
            self.link.counters,
            self.spool.counters,
            self.announcer.counters,
            self.door.dropped,
            self.models.counters,
            self.software.counters,
            self.baselines.counters,
            self.orders.counters,
            *(wearable.counts() for wearable in list(self.door.wearables.values())),
        )
        counters["clock_steps"] += self.clock.steps
        return CountersFile(
            site=self._config.site,
            gateway=self._config.gateway,
            session=self.spool.session,
            at_ns=self.clock.now().utc_ns,
            spool_rows=self.spool.state.rows,
            counters={name: count for name, count in sorted(counters.items()) if count},
            devices=device_reports(self.spool.accepted, dropped, dict(self.link.device_bytes), withheld),
            model=self.models.state,
        )

    def spool_state(self) -> SpoolState:
        """What the spool holds."""
        return self.spool.state

    def gauges(self) -> dict[str, float]:
        """Present states for the metrics page."""
        model = self.models.state
        return {
            "model_version": float(model.version),
            "model_on_probation": float(model.on_probation),
            **{
                f"model_{name}": float(count) for name, count in msgspec.structs.asdict(model.conduct).items()
            },
            "software_release": float(self.software.state.release),
            "software_on_probation": float(self.software.state.on_probation),
            "link_up": float(self.link.up),
            **self.link.certificate.gauges(self.clock.now()),
            "unconfirmed": float(self.link.unconfirmed),
            "clock_synchronised": float(self.clock.synchronised),
            "alarms_unconfirmed": float(self.announcer.waiting),
            "wearables_connected": float(sum(w.connected for w in list(self.door.wearables.values()))),
        }

    def source_states(self) -> list[SourceState]:
        """How every source stands."""
        return [source.state() for source in self.sources]

    def status(self) -> StatusPage:
        """What the local status page shows."""
        state = self.spool.state
        now_ns, now = time.monotonic_ns(), self.clock.now()
        return StatusPage(
            site=self._config.site,
            gateway=self._config.gateway,
            software=importlib.metadata.version("vitalwire"),
            at_ns=now.utc_ns,
            clock_synchronised=now.synchronised,
            problems=tuple(
                p
                for p in (
                    self.ready(),
                    self.live(),
                    self.models.state.problem,
                    self.link.certificate.problem(now),
                )
                if p is not None
            ),
            link=LinkView.of(self.link, now),
            spool=SpoolView(rows=state.rows, used_bytes=state.used_bytes, problem=state.problem),
            model=ModelView.of(self.models.state),
            alarms=AlarmsView(open=self.board.counts(), unconfirmed=self.announcer.waiting),
            sources=tuple(SourceView.of(source) for source in self.source_states()),
            devices=tuple(
                DeviceView.of(wearable.status(now_ns)) for wearable in list(self.door.wearables.values())
            ),
        )

    def _on_alarm(self, device: str, change: AlarmChange) -> None:
        self.board.on_alarm(device, change)
        self.announcer.on_alarm(device, change)

    def on_stored(self, _stored: list[tuple[Entry, int]]) -> None:
        """The spool has something new for the link."""
        self.link.wake()

    def on_confirmed(self, _commits: tuple[StreamCommit, ...]) -> None:
        """The account has room again."""
        self.link.wake()

    def _wake_link(self) -> None:
        self.link.wake()

    def _turn(self, timeout_s: float) -> None:
        for event in self.inbox.take(timeout_s):
            self.door.handle(event)
        while self._commands:
            self._obey(self._commands.popleft())
        self._turned_s = time.monotonic()
        self.door.tick(time.monotonic_ns())
        self._expected.keep(name for name, wearable in self.door.wearables.items() if wearable.expected)

    def _renew_patient(self, device: str, forget: Callable[[], None]) -> None:
        wearable = self.door.wearables.get(device)
        if wearable is None and device in self._open_alarms:
            # Not here since the start, and an alarm of the patient before is open: it has to be cleared.
            wearable = self._wearable(device)
        if wearable is None:
            forget()
        else:
            wearable.new_patient(forget)

    def _staff_spoke(self, device: str) -> None:
        wearable = self.door.wearables.get(device)
        if wearable is not None:
            wearable.staff_spoke()

    def _obey(self, command: Command) -> None:
        """A command that the cloud sealed and that has not expired."""
        if command.command in {"new_patient", "staff"}:
            self.orders.obey(command)
            self.link.wake()
            return
        wearable = self.door.wearables.get(command.device or "")
        seconds = command.seconds or 0.0
        if wearable is None or not 0 < seconds <= MAX_DEMAND_S:
            self.door.dropped["commands_refused"] += 1
            log.warning("command_refused", command=command.command, device=command.device, seconds=seconds)
            return
        log.info("waveform_demanded", device=wearable.name, seconds=seconds)
        self.door.dropped["waveforms_demanded"] += 1
        wearable.demand(seconds)

    def _end(self) -> None:
        log.info("gateway_stopping")
        self._ending = True
        for source in self.sources:
            source.stop()
        self._turn(0.0)
        self.door.flush()
        waiting = threading.Event()
        until = time.monotonic() + self._config.drain_s
        while time.monotonic() < until and not (self.spool.idle or (self.spool.written and not self.link.up)):
            waiting.wait(0.05)
        self.models.stop()
        self.software.stop()
        self.link.stop()
        self.baselines.stop()
        unwritten = self.spool.close()
        self.announcer.stop()
        self._write_counters()
        log.info("gateway_stopped", backlog_rows=self.spool.state.rows, unwritten=unwritten)

    def _wearable(self, name: str) -> Wearable:
        return Wearable(name, self._around, self._open_alarms.pop(name, ()))

    def _recover_alarms(self) -> None:
        reader = SpoolReader(self.spool.path)
        for row in reader.every_alarm():
            self.announcer.recover(row.device, decode_json(row.payload, AlarmMessage))
        reader.close()

    def _write_counters(self) -> None:
        if self._counters_path is None:
            return
        try:
            write_atomically(self._counters_path, self.report())
            self._counters_failed = False
        except OSError as error:
            if not self._counters_failed:
                log.warning("counters_not_written", path=str(self._counters_path), reason=str(error))
            self._counters_failed = True

    def _gateway_birth(self) -> GatewayBirth:
        return GatewayBirth(
            session=self.spool.session,
            at_ns=self.clock.now().utc_ns,
            software=importlib.metadata.version("vitalwire"),
            clock=self.clock.state,
            devices=tuple(sorted(self.door.wearables)),
        )

    def _lifecycles(self) -> dict[str, DeviceBirth | DeviceDeath]:
        known = list(self.door.wearables.items())
        return {name: wearable.lifecycle for name, wearable in known if wearable.lifecycle is not None}

    def _gateway_status(self) -> GatewayStatus:
        state = self.spool.state
        now_ns = time.monotonic_ns()
        status = GatewayStatus(
            session=self.spool.session,
            at_ns=self.clock.now().utc_ns,
            clock=self.clock.state,
            spool_rows=state.rows,
            spool_bytes=state.used_bytes,
            unconfirmed=self.link.unconfirmed,
            counters=self.report().counters,
            devices=tuple(w.status(now_ns) for w in list(self.door.wearables.values())),
        )
        return self._score_turns.fit(status)
