"""An alarm that the cloud does not confirm is said aloud here, and failing to say it is said too."""

import sys

import pytest
from gateway_parts import wait_for
from structlog.testing import capture_logs

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.announce import Announcer
from vitalwire_edge.config import AnnounceConfig
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.wire.messages import AlarmMessage, StreamCommit


def change(phase="raised", *, priority="high", alarm_id="a1"):
    return AlarmChange(
        alarm_id=alarm_id,
        kind="asystole",
        priority=priority,
        category="physiological",
        phase=phase,
        onset_ns=1,
        at_ns=2,
        text="no beat for 4 s",
        rule="asystole-1",
    )


def message(alarm_id="a1", *, seq=0, phase="raised"):
    c = change(phase, alarm_id=alarm_id)
    fields = {name: getattr(c, name) for name in AlarmChange.__slots__}
    return AlarmMessage(session="s", seq=seq, flags=0, **fields)


def stored(seq, alarm_id="a1"):
    return [(Entry("chest-1", "alarm", message(alarm_id), 0, 0, True), seq)]


@pytest.fixture
def announcer_with():
    made = []

    def make(**options):
        announcer = Announcer(AnnounceConfig(**{"after_s": 0.2, "repeat_s": 0.3, "bell": False, **options}))
        made.append(announcer)
        announcer.start()
        return announcer

    yield make
    for announcer in made:
        announcer.stop()


def test_unconfirmed_is_announced_again_and_again_until_confirmed(announcer_with, tmp_path):
    script = tmp_path / "say.py"
    script.write_text(
        "import sys, pathlib\n"
        "with pathlib.Path(__file__).with_name('said').open('a') as f:\n"
        "    print(*sys.argv[1:], sep='|', file=f)\n"
    )
    with capture_logs() as logs:
        announcer = announcer_with(command=(sys.executable, str(script)))
        announcer.on_alarm("chest-1", change())
        announcer.on_stored(stored(4))
        wait_for(lambda: announcer.counters["announced"] >= 2)
        announcer.on_confirmed((StreamCommit("chest-1", "alarm", "s", 4),))
        assert announcer.waiting == 1
        announcer.on_confirmed((StreamCommit("chest-1", "alarm", "s", 0, ((4, 4),)),))
        assert announcer.waiting == 0
        announcer.stop()
    assert set((tmp_path / "said").read_text().splitlines()) == {"chest-1|asystole|high|no beat for 4 s"}
    assert [log["log_level"] for log in logs if log["event"] == "alarm_not_confirmed"][:2] == ["critical"] * 2
    assert logs[-1]["event"] == "alarm_confirmed_late"


def test_a_confirmed_one_and_a_low_one_stay_silent(announcer_with):
    announcer = announcer_with()
    announcer.on_alarm("chest-1", change())
    announcer.on_stored(stored(0))
    announcer.on_confirmed((StreamCommit("chest-1", "alarm", "s", 1),))
    announcer.on_alarm("chest-1", change(priority="low", alarm_id="a2"))
    announcer.on_alarm("chest-1", change(alarm_id="a3"))
    announcer.on_alarm("chest-1", change("cleared", alarm_id="a3"))
    assert announcer.waiting == 0


def test_a_command_that_fails_is_said_loudly(announcer_with):
    with capture_logs() as logs:
        announcer = announcer_with(command=("/nonexistent/siren",))
        announcer.on_alarm("chest-1", change())
        wait_for(lambda: announcer.counters["announce_failed"] >= 2)
        announcer.stop()
    assert {log["log_level"] for log in logs if log["event"] == "announce_command_failed"} == {"critical"}
    assert announcer.counters["announced"] >= 2


def test_an_alarm_that_could_not_even_be_stored_is_announced(announcer_with):
    announcer = announcer_with()
    announcer.on_alarm("chest-1", change())
    announcer.on_confirmed((StreamCommit("chest-1", "alarm", "s", 99),))
    wait_for(lambda: announcer.counters["announced"] >= 1)


def test_what_was_unconfirmed_before_a_restart_is_announced_unless_it_ended(announcer_with):
    announcer = announcer_with()
    announcer.recover("chest-1", message("a1", seq=7))
    announcer.recover("chest-1", message("a2", seq=8))
    announcer.recover("chest-1", message("a2", seq=9, phase="cleared"))
    assert announcer.waiting == 1
    wait_for(lambda: announcer.counters["announced"] >= 1)
    announcer.on_confirmed((StreamCommit("chest-1", "alarm", "s", 8),))
    assert announcer.waiting == 0
