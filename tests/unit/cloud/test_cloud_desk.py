"""The life of alarms: whatever order messages come in, however often, and whatever staff does in between."""

import random
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stored import SECOND_NS, T0, alarm, item, stored

from vitalwire_cloud.alerts import machine
from vitalwire_cloud.alerts.alarm import Alarm
from vitalwire_cloud.alerts.desk import AlarmDesk, UnknownAlarmError
from vitalwire_cloud.alerts.ledger import DeskUnavailableError
from vitalwire_cloud.alerts.silence import SilenceWatch
from vitalwire_cloud.config import AlertsConfig
from vitalwire_cloud.store.embedded import EmbeddedStore

ESCALATE_S = 60.0


def run(*messages, now_s: float = 0.0):
    record = None
    for message in messages:
        record, _ = machine.apply(record, stored(message), T0 + round(now_s * SECOND_NS))
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("priority", "phases", "state"),
    [
        ("high", ["raised"], "active"),
        ("high", ["raised", "updated"], "active"),
        ("high", ["raised", "cleared"], "latched"),
        ("medium", ["raised", "cleared"], "cleared"),
        ("low", ["raised", "cleared"], "cleared"),
        ("high", ["cleared"], "latched"),
        ("medium", ["cleared"], "cleared"),
        ("high", ["raised", "cleared", "raised"], "active"),
    ],
)
def test_states_that_messages_alone_lead_to(priority, phases, state):
    record = run(*(alarm(n, phase, priority=priority) for n, phase in enumerate(phases)))
    assert record.alarm.state == state


@settings(deadline=None)
@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=6))
def test_order_and_repetition_do_not_change_where_an_alarm_ends(order, repeated):
    phases = ["raised", "updated", "updated", "updated", "cleared"]
    messages = [alarm(n, phase, value=float(n)) for n, phase in enumerate(phases)]
    straight = run(*messages).alarm
    mixed = run(*(messages[n] for n in [*order, *repeated])).alarm
    fields = ("state", "raised_ns", "onset_ns", "cleared_ns", "text", "value", "priority")
    assert [getattr(mixed, f) for f in fields] == [getattr(straight, f) for f in fields]


def test_an_acknowledged_alarm_ends_without_latching_and_a_latched_one_ends_when_seen():
    record, _ = machine.acknowledge(run(alarm(0, "raised")), by="nurse", for_s=60, now_ns=T0)
    assert record.alarm.state == "acknowledged"
    ended, _ = machine.apply(record, stored(alarm(1, "cleared")), T0)
    assert ended.alarm.state == "cleared"
    latched = run(alarm(0, "raised"), alarm(1, "cleared"))
    seen, step = machine.acknowledge(latched, by="nurse", for_s=60, now_ns=T0)
    assert (seen.alarm.state, seen.alarm.acknowledged_until_ns) == ("cleared", None)
    assert step is not None
    again, step = machine.acknowledge(seen, by="other", for_s=60, now_ns=T0)
    assert (again, step) == (seen, None)


def test_what_gets_worse_after_it_was_acknowledged_is_active_again():
    record, _ = machine.acknowledge(run(alarm(0, "raised", priority="medium")), by="n", for_s=None, now_ns=T0)
    same, _ = machine.apply(record, stored(alarm(1, "updated", priority="medium")), T0)
    assert same.alarm.state == "acknowledged"
    worse, _ = machine.apply(record, stored(alarm(1, "updated", priority="high")), T0)
    assert (worse.alarm.state, worse.alarm.acknowledged_by) == ("active", None)


def test_an_acknowledgement_runs_out_and_the_wait_for_escalation_begins_anew():
    record, _ = machine.acknowledge(run(alarm(0, "raised")), by="nurse", for_s=60, now_ns=T0)

    def at(record, seconds):
        return machine.pass_time(
            record, now_ns=T0 + seconds * SECOND_NS, escalate_after_ns=round(ESCALATE_S * SECOND_NS)
        )

    assert at(record, 59)[1] is None
    expired, step = at(record, 60)
    assert (expired.alarm.state, step.event, step.by) == ("active", "expired", "nurse")
    assert at(expired, 119)[1] is None
    escalated, step = at(expired, 120)
    assert step.event == "escalated"
    assert at(escalated, 9999)[1] is None, "an alarm escalates once"


@pytest.mark.parametrize(
    ("by", "for_s"), [("", 60), ("  ", 60), ("x" * 65, 60), ("nurse", 0), ("nurse", -1), ("n", 9e9)]
)
def test_acknowledging_needs_a_name_and_a_sensible_time(by, for_s):
    with pytest.raises(ValueError, match="acknowledged"):
        machine.acknowledge(run(alarm(0, "raised")), by=by, for_s=for_s, now_ns=T0)


@dataclass
class Clock:
    """Time that tests move."""

    s: float = 0.0

    def now_ns(self) -> int:
        return T0 + round(self.s * SECOND_NS)

    def monotonic(self) -> float:
        return self.s


@dataclass
class Desk:
    """A desk on a real store, whose rounds the test runs."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    told: list[Alarm] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.url = self.url or f"sqlite:///{self.folder}/desk.sqlite"
        self.store = EmbeddedStore(self.folder)
        self.open()

    def open(self) -> None:
        self.desk = AlarmDesk(
            store=self.store,
            url=self.url,
            config=AlertsConfig(gateway_silent_s=10, death_grace_s=2, escalate_after_s=ESCALATE_S),
            on_change=self.told.extend,
            now_ns=self.clock.now_ns,
            monotonic=self.clock.monotonic,
        )

    def reopen(self) -> None:
        self.desk.close()
        self.open()

    def write(self, *messages) -> None:
        self.store.write([item(message, "alarm") for message in messages], [])

    def close(self) -> None:
        self.desk.close()
        self.store.close()

    def states(self) -> dict[str, str]:
        return {a.alarm_id: a.state for a in self.desk.list(open_only=False)}


@pytest.fixture
def at_desk(tmp_path):
    opened = Desk(tmp_path)
    yield opened
    opened.close()


def test_the_desk_replays_what_it_has_not_seen_and_only_that(at_desk):
    at_desk.write(alarm(0, "raised"), alarm(1, "raised", alarm_id="a-2", priority="medium"))
    at_desk.desk.catch_up()
    at_desk.write(alarm(2, "cleared", alarm_id="a-2", priority="medium"))
    at_desk.reopen()
    assert at_desk.states() == {"a-1": "active", "a-2": "active"}
    at_desk.told.clear()
    at_desk.desk.catch_up()
    assert [a.alarm_id for a in at_desk.told] == ["a-2"]
    assert at_desk.states() == {"a-1": "active", "a-2": "cleared"}
    at_desk.desk.catch_up()
    assert len(at_desk.told) == 1


def test_more_alarms_than_one_batch_are_all_replayed(at_desk):
    at_desk.write(*(alarm(n, "raised", alarm_id=f"a-{n}") for n in range(450)))
    at_desk.desk.catch_up()
    assert len(at_desk.desk.list(open_only=True)) == 450


def test_every_transition_is_on_record(at_desk):
    at_desk.write(alarm(0, "raised"))
    at_desk.desk.catch_up()
    at_desk.clock.s = 61
    at_desk.desk.pass_time()
    at_desk.desk.acknowledge("a-1", by="nurse 4", for_s=30)
    at_desk.clock.s = 95
    at_desk.desk.pass_time()
    at_desk.write(alarm(1, "cleared"))
    at_desk.desk.catch_up()
    at_desk.desk.acknowledge("a-1", by="doctor", for_s=30)
    assert [(t.event, t.before, t.after, t.by) for t in at_desk.desk.history("a-1")] == [
        ("raised", None, "active", None),
        ("escalated", "active", "active", None),
        ("acknowledged", "active", "acknowledged", "nurse 4"),
        ("expired", "acknowledged", "active", "nurse 4"),
        ("cleared", "active", "latched", None),
        ("acknowledged", "latched", "cleared", "doctor"),
    ]


def test_an_unknown_alarm_is_an_error_and_two_gateways_with_one_id_stay_apart(at_desk):
    with pytest.raises(UnknownAlarmError, match="'nothing'"):
        at_desk.desk.acknowledge("nothing", by="n", for_s=60)
    assert at_desk.desk.get("nothing") is None
    at_desk.write(alarm(0, "raised"))
    at_desk.store.write([item(alarm(0, "raised"), "alarm", gateway="gw-2")], [])
    at_desk.desk.catch_up()
    at_desk.store.write([item(alarm(1, "cleared", priority="low"), "alarm", gateway="gw-2")], [])
    at_desk.desk.catch_up()
    assert at_desk.states() == {"a-1": "active", "a-1@gw-2": "cleared"}


def test_a_desk_whose_database_is_away_says_so_and_catches_up(tmp_path):
    at_desk = Desk(tmp_path)
    at_desk.write(alarm(0, "raised"))
    blocker = at_desk.desk._ledger._engine.connect()
    blocker.exec_driver_sql("DROP TABLE progress")
    blocker.commit()
    at_desk.desk._round()
    assert "progress" in (at_desk.desk.problem() or "")
    with pytest.raises(DeskUnavailableError):
        at_desk.desk.catch_up()
    blocker.exec_driver_sql("CREATE TABLE progress (store TEXT PRIMARY KEY, position BIGINT)")
    blocker.commit()
    blocker.close()
    at_desk.desk._round()
    assert at_desk.desk.problem() is None
    assert at_desk.states() == {"a-1": "active"}
    at_desk.close()


def test_silence_is_an_alarm_once_and_ends_with_the_first_word(at_desk):
    desk, clock = at_desk.desk, at_desk.clock
    desk.gateway_seen("ward-3", "gw-1")
    clock.s = 9
    desk._round()
    assert desk.list() == []
    clock.s = 10
    desk._round()
    desk._round()
    (raised,) = desk.list()
    assert (raised.kind, raised.gateway, raised.device, raised.onset_ns) == (
        "gateway_silent",
        "gw-1",
        None,
        T0,
    )
    clock.s = 20
    desk.gateway_seen("ward-3", "gw-1")
    desk._round()
    assert desk.list() == []
    clock.s = 40
    desk._round()
    assert len(desk.list(open_only=False)) == 2, "a new silence is a new alarm"


def test_two_gateways_of_one_name_are_an_alarm_until_that_has_not_shown_for_a_while(at_desk):
    desk, clock = at_desk.desk, at_desk.clock
    for second, (session, boot) in enumerate(
        [("s1", "b1"), ("s1", "b2"), ("s2", "b2"), ("s2", "b2"), ("s1", "b2"), ("s3", "b2")]
    ):
        clock.s = second
        desk.gateway_seen("ward-3", "gw-1")
        desk.gateway_is("gw-1", session=session, boot=boot)
        desk._round()
    assert desk.list() == [], "restarts, a new spool, and one return to an older one are one gateway"
    clock.s = 6
    desk.gateway_is("gw-1", session="s1", boot="b2")
    desk._round()
    desk._round()
    (raised,) = desk.list()
    assert (raised.kind, raised.gateway, raised.priority) == ("gateway_twice", "gw-1", "medium")
    at_desk.reopen()
    desk = at_desk.desk
    desk._round()
    assert len(desk.list()) == 1, "a restart of the service proves nothing"
    clock.s = 400
    desk.gateway_seen("ward-3", "gw-1")
    desk.gateway_is("gw-1", session="s1", boot="b2")
    desk._round()
    assert [alarm.kind for alarm in desk.list()] == []


def test_silence_held_over_a_restart_is_neither_raised_twice_nor_ended_by_it(at_desk):
    at_desk.desk.gateway_seen("ward-3", "gw-1")
    at_desk.clock.s = 20
    at_desk.desk._round()
    at_desk.reopen()
    for s in (20, 25, 40):
        at_desk.clock.s = s
        at_desk.desk._round()
        assert [a.state for a in at_desk.desk.list(open_only=False)] == ["active"]
    at_desk.desk.gateway_seen("ward-3", "gw-1")
    at_desk.desk._round()
    assert at_desk.desk.list() == []


def test_a_wall_clock_set_back_during_a_silence_does_not_keep_its_alarm_up(at_desk):
    desk = at_desk.desk
    desk.gateway_seen("ward-3", "gw-1")
    at_desk.clock.s = 20
    desk._round()
    (raised,) = desk.list()
    desk._now_ns = lambda: T0 - 3600 * SECOND_NS
    desk.gateway_seen("ward-3", "gw-1")
    for _ in range(3):
        desk._round()
    assert desk.list() == []
    assert [step.event for step in desk.history(raised.alarm_id)] == ["raised", "cleared"]


def test_a_broken_connection_is_silence_after_a_short_grace_and_a_goodbye_is_not():
    clock = Clock()
    watch = SilenceWatch(["gw-1", "gw-2"], silent_after_s=10, death_grace_s=2, clock=clock.monotonic)
    clock.s = 1
    watch.seen("gw-1")
    watch.seen("gw-2")
    watch.gone("gw-1", expected=False)
    watch.gone("gw-2", expected=True)
    clock.s = 2.9
    assert watch.silent() == {}
    clock.s = 3
    assert list(watch.silent()) == ["gw-1"]
    watch.seen("gw-1")
    assert watch.silent() == {}
    assert watch.present("gw-1")
    clock.s = 100
    assert list(watch.silent()) == ["gw-1"], "who said goodbye is not expected"


class DeskMachine(RuleBasedStateMachine):
    """Random messages, acknowledgements, time and restarts against a plain account of what must be open."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed):
        self.folder = tempfile.TemporaryDirectory()
        self.at = Desk(Path(self.folder.name))
        self.random = random.Random(seed)
        self.seq = 0
        self.holds: dict[str, bool] = {}
        self.waiting: list = []

    @rule(alarm_id=st.sampled_from(["a", "b", "c"]), phase=st.sampled_from(["raised", "updated", "cleared"]))
    def say(self, alarm_id, phase):
        self.waiting.append(alarm(self.seq, phase, alarm_id=alarm_id))
        self.seq += 1
        self.holds[alarm_id] = phase != "cleared"

    @rule()
    def deliver(self):
        self.random.shuffle(self.waiting)
        self.at.write(*self.waiting)
        self.waiting.clear()
        self.at.desk.catch_up()

    @rule(alarm_id=st.sampled_from(["a", "b", "c"]), for_s=st.sampled_from([1, 100, None]))
    def take(self, alarm_id, for_s):
        if self.at.desk.get(alarm_id) is not None:
            self.at.desk.acknowledge(alarm_id, by="nurse", for_s=for_s)

    @rule(seconds=st.integers(1, 90))
    def wait(self, seconds):
        self.at.clock.s += seconds
        self.at.desk.pass_time()

    @rule()
    def crash(self):
        self.at.reopen()

    @invariant()
    def what_holds_is_open_and_what_is_acknowledged_holds(self):
        if not hasattr(self, "at") or self.waiting:
            return
        states = self.at.states()
        assert set(states) == set(self.holds)
        for alarm_id, state in states.items():
            if self.holds[alarm_id]:
                assert state in {"active", "acknowledged"}
            else:
                assert state in {"latched", "cleared"}
            history = self.at.desk.history(alarm_id)
            assert history[0].before is None
            assert history[-1].after == state
            assert all(a.after == b.before for a, b in pairwise(history))

    def teardown(self):
        if hasattr(self, "at"):
            self.at.close()
            self.folder.cleanup()


TestDeskMachine = DeskMachine.TestCase
TestDeskMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
