"""The alarm desk: every alarm with its state, who took it, and what happened to it when.

The desk reads alarm messages from the store, where they are durable before anybody hears of them, and remembers in
the same transaction how far it read. So nothing is lost when it fails or is killed between the two: it reads on.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from vitalwire_cloud import metrics
from vitalwire_cloud.alerts import machine
from vitalwire_cloud.alerts.alarm import Alarm, Verdict
from vitalwire_cloud.alerts.identity import IdentityWatch
from vitalwire_cloud.alerts.ledger import AlarmLedger
from vitalwire_cloud.alerts.machine import Record, Transition
from vitalwire_cloud.alerts.silence import SilenceWatch
from vitalwire_cloud.config import AlertsConfig
from vitalwire_cloud.store.interface import Store, StoredAlarm, StoreError
from vitalwire_edge.wire.messages import AlarmMessage, Phase

log = structlog.get_logger()

GATEWAY_SILENT: Final = "gateway_silent"
GATEWAY_TWICE: Final = "gateway_twice"
OWN_SESSION: Final = "cloud"
MAX_LISTED: Final = 1000
_OWN_TEXTS: Final = {
    GATEWAY_SILENT: "No data from gateway {gateway}: its patients are not monitored here",
    GATEWAY_TWICE: "Two gateways go by the name {gateway}: data of both comes late until one has a name of its own",
}
_ROUND_S: Final = 0.5
_BATCH: Final = 200


class UnknownAlarmError(LookupError):
    """There is no alarm with this id."""


class AlarmDesk:
    """Keeps alarms and their times; `on_change` hears every alarm in its new state. Thread-safe.

    Its own thread has a round every half second, and at once on `wake()`.
    """

    def __init__(
        self,
        *,
        store: Store,
        url: str,
        config: AlertsConfig,
        on_change: Callable[[list[Alarm]], None],
        now_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._identity = store.identity()
        self._config = config
        self._on_change = on_change
        self._now_ns = now_ns
        self._ledger = AlarmLedger(url)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._problem: str | None = None
        self._last_round_s = monotonic()
        self._monotonic = monotonic
        with self._ledger.transaction() as connection:
            known = {r.alarm.gateway for r in self._ledger.records(connection, open_only=True)}
        self._silence = SilenceWatch(
            known | {record.gateway for record in store.devices()},
            silent_after_s=config.gateway_silent_s,
            death_grace_s=config.death_grace_s,
            clock=monotonic,
        )
        self._identity_watch = IdentityWatch(window_s=config.gateway_twice_s, clock=monotonic)
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        """Replay what the store has and the desk has not, then follow it on a thread of its own."""
        self._round()
        self._thread.start()

    def close(self) -> None:
        """Finish the round that runs and let go of the database."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._ledger.close()

    def list(self, open_only: bool = True) -> list[Alarm]:
        """Alarms, newest first: all that are not cleared when `open_only`, else the newest `MAX_LISTED`."""
        with self._ledger.transaction() as connection:
            found = self._ledger.records(connection, open_only=open_only, at_most=MAX_LISTED)
        return [record.alarm for record in found]

    def get(self, alarm_id: str) -> Alarm | None:
        """One alarm, or None when the desk does not know it."""
        with self._ledger.transaction() as connection:
            record = self._ledger.get(connection, alarm_id)
        return None if record is None else record.alarm

    def history(self, alarm_id: str) -> Sequence[Transition]:
        """Everything that happened to one alarm, in order."""
        with self._ledger.transaction() as connection:
            return self._ledger.transitions(connection, alarm_id)

    def acknowledge(self, alarm_id: str, *, by: str, for_s: float | None) -> Alarm:
        """Take an alarm for `for_s` seconds, or until its condition ends; it comes back when the time is over.

        Taking one that is cleared changes nothing. Raises `UnknownAlarmError`, `ValueError`, `DeskUnavailableError`.
        """
        with self._lock, self._ledger.transaction() as connection:
            record = self._ledger.get(connection, alarm_id)
            if record is None:
                raise UnknownAlarmError(f"there is no alarm {alarm_id!r}: list the alarms again")
            moved, step = machine.acknowledge(record, by=by, for_s=for_s, now_ns=self._now_ns())
            if step is not None:
                self._ledger.put(connection, moved, step)
        if step is not None:
            self._tell([(moved, step)])
        return moved.alarm

    def label(self, alarm_id: str, *, verdict: Verdict, by: str) -> Alarm:
        """Keep what `by` says of a model alert. Raises `UnknownAlarmError`, `ValueError`, `DeskUnavailableError`."""
        with self._lock, self._ledger.transaction() as connection:
            record = self._ledger.get(connection, alarm_id)
            if record is None:
                raise UnknownAlarmError(f"there is no alarm {alarm_id!r}: list the alarms again")
            moved, step = machine.label(record, verdict=verdict, by=by, now_ns=self._now_ns())
            assert step is not None
            self._ledger.put(connection, moved, step)
        self._tell([(moved, step)])
        return moved.alarm

    def labelled(self, kind: str) -> Sequence[Alarm]:
        """Alarms of a kind that staff labelled, newest first."""
        with self._ledger.transaction() as connection:
            found = self._ledger.of_kind(connection, kind)
        return [record.alarm for record in found if record.alarm.label is not None]

    def gateway_seen(self, site: str, gateway: str) -> None:  # noqa: ARG002 - whoever watches sites needs it
        """A gateway said something."""
        self._silence.seen(gateway)

    def gateway_gone(self, gateway: str, *, expected: bool) -> None:
        """A gateway said goodbye, or the broker lost it."""
        self._silence.gone(gateway, expected=expected)

    def gateway_is(self, gateway: str, *, session: str, boot: str) -> None:
        """A gateway said which spool and which machine it is."""
        if self._identity_watch.said(gateway, session, boot):
            metrics.GATEWAY_TWICE.labels(gateway).inc()
            log.error(
                "gateway_twice",
                gateway=gateway,
                session=session,
                boot=boot,
                fix="two gateways go by this name: give one of them a name and a key of its own",
            )

    def wake(self) -> None:
        """Alarm messages were stored: read them now."""
        self._wake.set()

    def problem(self) -> str | None:
        """None while alarms are kept, else why not."""
        return self._problem

    def failure(self) -> str | None:
        """Why the desk's thread is not at work."""
        stalled_s = self._monotonic() - self._last_round_s
        if not self._thread.is_alive():
            return "the alarm desk is not running"
        return f"the alarm desk has not moved for {stalled_s:.0f} s" if stalled_s > 60 else None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(_ROUND_S)
            self._wake.clear()
            self._round()

    def _round(self) -> None:
        """One look at everything that may have changed. What fails is tried again in the next round."""
        try:
            self.catch_up()
            self.pass_time()
            self._watch_gateways()
        except StoreError as error:
            metrics.DESK_FAILURES.inc()
            if self._problem is None:
                log.warning("alarm_desk_unavailable", error=str(error), effect="alarms wait in the store")
            self._problem = str(error)
        else:
            if self._problem is not None:
                log.info("alarm_desk_available")
            self._problem = None
        self._last_round_s = self._monotonic()

    def catch_up(self) -> None:
        """Apply every alarm message of the store that was not applied yet, in order."""
        while True:
            done: list[tuple[Record, Transition]] = []
            with self._lock, self._ledger.transaction() as connection:
                position = self._ledger.position(connection, self._identity)
                messages = self._store.alarm_messages(position, _BATCH)
                for stored in messages:
                    record = self._ledger.get(connection, stored.message.alarm_id)
                    if record is not None and record.alarm.gateway != stored.gateway:
                        # Two gateways drew one id: the second one's alarms go by a longer one.
                        stored = _qualified(stored)  # noqa: PLW2901
                        record = self._ledger.get(connection, stored.message.alarm_id)
                    moved, step = machine.apply(record, stored, self._now_ns())
                    if step is not None:
                        self._ledger.put(connection, moved, step)
                        done.append((moved, step))
                if messages:
                    self._ledger.advance(connection, self._identity, messages[-1].position)
            self._tell(done)
            if len(messages) < _BATCH:
                return

    def pass_time(self) -> None:
        """Let acknowledgements run out and alarms escalate."""
        now_ns = self._now_ns()
        escalate_after_ns = round(self._config.escalate_after_s * 1e9)
        done: list[tuple[Record, Transition]] = []
        with self._lock, self._ledger.transaction() as connection:
            for record in self._ledger.records(connection, open_only=True):
                moved, step = machine.pass_time(record, now_ns=now_ns, escalate_after_ns=escalate_after_ns)
                if step is not None:
                    self._ledger.put(connection, moved, step)
                    done.append((moved, step))
        self._tell(done)

    def _watch_gateways(self) -> None:
        silent = self._silence.silent()
        self._say_own(
            GATEWAY_SILENT, silent, lambda gateway: gateway not in silent and self._silence.present(gateway)
        )
        self._say_own(GATEWAY_TWICE, self._identity_watch.doubled(), self._identity_watch.quiet)

    def _say_own(self, kind: str, lasting_s: dict[str, float], over: Callable[[str], bool]) -> None:
        """Raise what this service finds about gateways itself, with the seconds it has lasted, and end what is over."""
        done: list[tuple[Record, Transition]] = []
        with self._lock, self._ledger.transaction() as connection:
            held = {
                record.alarm.gateway: record
                for record in self._ledger.records(connection, open_only=True)
                if record.alarm.kind == kind and record.holds
            }
            now_ns = self._now_ns()
            changes = [(g, None, age) for g, age in lasting_s.items() if g not in held]
            ended = [(g, r, 0.0) for g, r in held.items() if over(g)]
            for gateway, record, age_s in [*changes, *ended]:
                stored = _own_message(kind, gateway, record, age_s, now_ns)
                moved, step = machine.apply(record, stored, now_ns)
                if step is not None:
                    self._ledger.put(connection, moved, step)
                    done.append((moved, step))
        self._tell(done)

    def _tell(self, done: Sequence[tuple[Record, Transition]]) -> None:
        for record, step in done:
            alarm = record.alarm
            metrics.ALARM_CHANGES.labels(step.event).inc()
            told = {
                "alarm": alarm.alarm_id,
                "kind": alarm.kind,
                "gateway": alarm.gateway,
                "device": alarm.device,
                "priority": alarm.priority,
                "state": step.after,
            }
            if step.event == "escalated":
                metrics.ESCALATIONS.inc()
                log.warning("alarm_escalated", **told, waiting_since_ns=record.waiting_since_ns)
            else:
                log.info("alarm_changed", event_kind=step.event, **told)
        if done:
            self._on_change([record.alarm for record, _ in done])


def _qualified(stored: StoredAlarm) -> StoredAlarm:
    alarm_id = f"{stored.message.alarm_id}@{stored.gateway}"
    return replace(stored, message=msgspec.structs.replace(stored.message, alarm_id=alarm_id))


def _own_message(kind: str, gateway: str, record: Record | None, age_s: float, now_ns: int) -> StoredAlarm:
    """What this service itself says about a gateway: a condition holds (no `record` yet), or it is over."""
    phase: Phase = "raised" if record is None else "cleared"
    onset_ns = now_ns - round(age_s * 1e9) if record is None else record.alarm.onset_ns
    message = AlarmMessage(
        session=OWN_SESSION,
        # Behind the message before it even where the wall clock was set back in between.
        seq=now_ns if record is None else max(now_ns, record.seq + 1),
        flags=0,
        alarm_id=f"{gateway}-{kind}-{now_ns}" if record is None else record.alarm.alarm_id,
        kind=kind,
        priority="medium",
        category="technical",
        phase=phase,
        onset_ns=onset_ns,
        at_ns=now_ns,
        text=_OWN_TEXTS[kind].format(gateway=gateway),
        rule=kind,
    )
    return StoredAlarm(0, gateway, "", message, now_ns)
