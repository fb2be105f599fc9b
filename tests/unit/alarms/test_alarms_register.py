import msgspec
from alarm_feed import T0, S, a_beat, a_second, engine
from hypothesis import given
from hypothesis import strategies as st

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.alarms.change import AlarmRegister, Ended, Finding
from vitalwire_edge.wire.codes import Code, ValueStatus


def found(**changed):
    fields = {
        "kind": "tachycardia",
        "priority": "medium",
        "onset_ns": T0,
        "text": "Heart rate 130/min",
        "rule": "r/1",
    }
    return Finding(**(fields | changed))


def test_an_alarm_is_raised_once_and_keeps_its_id():
    register = AlarmRegister()
    (raised,) = register.apply("tachycardia", found(), T0 + S)
    assert register.apply("tachycardia", found(text="Heart rate 135/min"), T0 + 2 * S) == []
    (updated,) = register.apply("tachycardia", found(priority="high"), T0 + 3 * S)
    (cleared,) = register.apply("tachycardia", Ended("over"), T0 + 4 * S)
    assert [c.phase for c in (raised, updated, cleared)] == ["raised", "updated", "cleared"]
    assert len({c.alarm_id for c in (raised, updated, cleared)}) == 1
    assert len(raised.alarm_id) == 32
    assert cleared.onset_ns == raised.onset_ns
    assert register.open_alarms() == ()


def test_the_end_of_what_never_began_is_nothing():
    assert AlarmRegister().apply("tachycardia", Ended("over"), T0) == []


def test_an_onset_is_never_after_the_decision():
    (raised,) = AlarmRegister().apply("tachycardia", found(onset_ns=T0 + 9 * S), T0)
    assert raised.onset_ns == raised.at_ns == T0


def test_open_alarms_travel_through_the_spool():
    register = AlarmRegister()
    register.apply("tachycardia", found(notes=("a",)), T0)
    (kept,) = register.open_alarms()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=AlarmChange) == kept


def test_a_cleared_change_is_not_restored_as_open():
    register = AlarmRegister()
    register.apply("tachycardia", found(), T0)
    assert AlarmRegister(register.apply("tachycardia", Ended("over"), T0 + S)).open_alarms() == ()


_STATUS = st.sampled_from(list(ValueStatus))
_READING = st.tuples(
    st.just("vitals"),
    st.sampled_from(list(Code)),
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    _STATUS,
)
_BEAT = st.tuples(
    st.just("beat"),
    st.floats(0.2, 12),
    st.one_of(st.just(float("nan")), st.floats(-4000, 4000)),
    st.floats(-1, 1),
)
_SECOND = st.tuples(st.just("second"), st.booleans(), st.booleans(), st.booleans())
_OTHER = st.tuples(st.sampled_from(["clock", "status", "restart"]), st.integers(0, 100), st.none(), st.none())


@given(st.lists(st.tuples(st.floats(-1, 15), st.one_of(_READING, _BEAT, _SECOND, _OTHER)), max_size=120))
def test_whatever_comes_no_kind_is_open_twice_and_every_alarm_has_one_story(events):
    e = engine()
    now_ns = T0
    phases: dict[str, list[str]] = {}
    open_kinds: dict[str, str] = {}
    for step_s, (what, a, b, c) in events:
        now_ns += round(step_s * S)
        match what:
            case "vitals":
                changes = e.on_vitals(now_ns, [(a, b, c)])
            case "beat":
                changes = e.on_beat(a_beat(a, uv=b, corr=c, wide=c < 0), now_ns)
            case "second":
                changes = e.on_second(a_second(good=a, lead_off=b, flat=c), now_ns)
            case "clock":
                changes = e.on_clock(now_ns)
            case "status":
                changes = e.on_status(now_ns, a)
            case _:
                changes, e = [], engine(e.open_alarms())
        for change in changes:
            phases.setdefault(change.alarm_id, []).append(change.phase)
            assert change.onset_ns <= change.at_ns or change.phase != "raised"
            if change.phase == "raised":
                assert change.kind not in open_kinds
                open_kinds[change.kind] = change.alarm_id
            else:
                assert open_kinds[change.kind] == change.alarm_id
            if change.phase == "cleared":
                del open_kinds[change.kind]
        assert {o.kind: o.alarm_id for o in e.open_alarms()} == open_kinds
    for told in phases.values():
        assert told[0] == "raised"
        assert "cleared" not in told[:-1]
        assert told.count("raised") == 1
