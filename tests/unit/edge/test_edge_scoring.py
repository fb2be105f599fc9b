"""Scores and model alerts of one wearable: what is scored, what abstains, what a swap and a restart keep."""

import msgspec
import numpy as np
import pytest
from gateway_parts import FS_HZ, FrameMaker
from structlog.testing import capture_logs

from vitalwire_edge.alarms import AlarmChange, AlarmConfig
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import ScoringConfig, TelemetryConfig
from vitalwire_edge.inference.beat_model import BeatScore
from vitalwire_edge.inference.calibration import window_limit
from vitalwire_edge.inference.features import FeatureStream
from vitalwire_edge.inference.score import Memory
from vitalwire_edge.inference.sequence import History
from vitalwire_edge.ota.slot import Loaded, ModelSlot
from vitalwire_edge.signal.beats import BEFORE, WINDOW
from vitalwire_edge.wearable.device import Wearable
from vitalwire_edge.wearable.patient import FORMAT, Baselines
from vitalwire_edge.wearable.reorder import Timed
from vitalwire_edge.wearable.scoring import Scoring
from vitalwire_edge.wearable.surroundings import Surroundings
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    ScoresMessage,
    decode_data,
    decode_json,
    encode_data,
    encode_json,
)

NS = 1_000_000_000
START = 5_000 * NS
OFFSET = 1_790_000_000 * NS
CALM = 0.0
STRANGE = 9.0


class Model:
    """Says what it is told to say, and remembers of a patient how many beats it scored."""

    threshold = 2.0
    like = None

    def __init__(self, say=lambda _beat: CALM):
        self.say = say
        self.samples = []

    def begin(self):
        return Memory(History(np.zeros(1, np.float32)))

    def resumed(self, history, surprise, weighed):
        memory = Memory(History(np.frombuffer(history, "<f4").copy()))
        memory.surprise.restore(surprise)
        memory.weighed.restore(weighed)
        return memory

    def score(self, beat, memory):
        memory.history.state[0] += 1
        self.samples.append(beat.sample)
        value = self.say(beat)
        parts = {"shape": 0.5, "timing": value, "amplitude": 0.1}
        memory.surprise.relative(value)
        memory.weighed.relative(2 * value)
        return BeatScore(beat.sample, value, alert=value, likeness=self.like, **parts)

    def expected_uv(self, beat):
        return (beat.reference * beat.scale_uv).astype(np.float32)


def loaded(model, version=1):
    return Loaded(model, f"{version:064x}", version, 1e6)


class Bed:
    """A wearable with a model in front of its pipeline; frames arrive 3 ms after they were made."""

    def __init__(self, folder, *, model=None, version=1, open_alarms=(), budget=6.0, **telemetry):
        self.now_ns = START
        self.entries = []
        self.clock = GatewayClock(
            trust_system=True,
            read_offset=lambda: OFFSET,
            read_synchronised=lambda: False,
            read_mono=lambda: self.now_ns,
        )
        self.slot = ModelSlot()
        if model is not None:
            self.slot.swap(loaded(model, version))
        self.baselines = Baselines(folder)
        self.baselines.start()
        self.wearable = Wearable(
            "chest-1",
            Surroundings(
                clock=self.clock,
                telemetry=TelemetryConfig(**telemetry),
                alarms=AlarmConfig(),
                session=lambda: "s",
                put=self.entries.append,
                on_alarm=lambda _device, _change: None,
                scoring=Scoring(self.slot, ScoringConfig(alerts_per_hour=budget), self.baselines),
            ),
            open_alarms,
        )
        self.maker = FrameMaker()

    def run(self, seconds, *, shift_s=0.0, lead_off=False):
        """Play `seconds` of a plain ECG, from where the maker stands."""
        if self.maker.sample == 0:
            self.wearable.greet(self.timed(self.maker.hello(), shift_s))
        for _ in range(round(seconds)):
            self.wearable.take(self.timed(self.maker.wave(FS_HZ, lead_off=lead_off), shift_s))
            self.wearable.tick(self.now_ns)

    def timed(self, frame, shift_s=0.0):
        self.now_ns = START + round(shift_s * NS) + frame.device_us * 1000 + 3_000_000
        return Timed(self.now_ns, frame)

    def end(self):
        self.wearable.leave("closed")
        self.baselines.stop()

    def of(self, stream):
        return [entry.message for entry in self.entries if entry.stream == stream]

    def marks(self):
        return [mark for message in self.of("score") for mark in message.scores]

    def alerts(self, phase="raised"):
        return [m for m in self.of("alarm") if m.kind == "beat_anomaly" and m.phase == phase]


def once_in(count):
    """Strange at every `count`-th beat."""
    seen = iter(range(10**9))
    return lambda _beat: STRANGE if next(seen) % count == count - 1 else CALM


def test_every_beat_gets_a_mark_at_its_own_time_in_batches_of_about_a_second(tmp_path):
    bed = Bed(tmp_path, model=Model())
    bed.run(40)
    bed.end()
    beats = [beat.r_ns for message in bed.of("beat") for beat in message.beats]
    marks = bed.marks()
    assert len(beats) - 2 <= len(marks) <= len(beats)
    assert [mark.r_ns for mark in marks] == beats[: len(marks)]
    first = next(k for k, mark in enumerate(marks) if mark.score is not None)
    assert first >= 8
    assert all(mark.score == CALM for mark in marks[first:])
    assert all(mark.timing is None for mark in marks[:first])
    assert 25 <= len(bed.of("score")) <= 40
    assert {m.model for m in bed.of("score")} == {f"{1:064x}"}
    conduct = bed.slot.conduct
    assert (conduct.scored, conduct.abstained) == (len(marks) - first, first)
    assert bed.wearable.counts()["beats_scored"] == conduct.scored
    assert not bed.alerts()


def test_a_strange_beat_raises_a_low_alert_with_its_evidence_that_ends_after_30_seconds(tmp_path):
    bed = Bed(tmp_path, model=Model(once_in(30)), not_paced=("chest-1",))
    bed.run(80)
    (alert, *more) = bed.alerts()
    assert not more
    assert isinstance(alert, AlarmMessage)
    assert (alert.priority, alert.category, alert.rule) == ("low", "physiological", "beat model")
    assert (alert.value, alert.limit, alert.notes) == (STRANGE, 2.0, ())
    assert "time" in alert.text
    strange = [mark.r_ns for mark in bed.marks() if mark.score == STRANGE]
    evidence = alert.evidence
    assert evidence is not None
    assert evidence.r_ns == alert.onset_ns == strange[0]
    assert (evidence.rate_hz, evidence.r_index) == (250, BEFORE)
    assert len(evidence.observed_uv) == len(evidence.expected_uv) == WINDOW
    assert evidence.observed_uv[BEFORE] == pytest.approx(1000, abs=80)
    assert np.abs(np.subtract(evidence.observed_uv, evidence.expected_uv)).max() < 60
    (over,) = bed.alerts("cleared")
    assert over.alarm_id == alert.alarm_id
    assert 30 * NS <= over.at_ns - alert.onset_ns < 32 * NS
    assert over.evidence is None
    kept = [entry.open_alarm for entry in bed.entries if entry.stream == "alarm"]
    assert kept[0][0] == "beat_anomaly"
    assert kept[-1] == ("beat_anomaly", None)
    assert decode_json(encode_json(alert), AlarmMessage) == alert


@pytest.mark.parametrize(
    ("like", "said"),
    [
        (("V", 0.91), "; looks most like a ventricular ectopic beat (91%)"),
        (("V", 0.4), ""),
        (("N", 0.9), ""),
        (None, ""),
    ],
)
def test_an_alert_says_what_its_beat_looks_like_where_the_model_is_sure_enough(tmp_path, like, said):
    model = Model(once_in(30))
    model.like = like
    bed = Bed(tmp_path, model=model)
    bed.run(45)
    (alert,) = bed.alerts()
    assert alert.text == f"Unusual beat: it came at an unusual time{said}"


def test_alerts_keep_the_budget_one_at_a_time_when_every_beat_is_strange(tmp_path):
    scores = iter(np.linspace(20, 50_000, 10**5))
    bed = Bed(tmp_path, model=Model(lambda _beat: float(next(scores))), budget=24.0)
    bed.run(900)
    raised = [alert.onset_ns for alert in bed.alerts()]
    assert 2 <= len(raised) <= window_limit(24.0, 900.0)
    assert min(np.diff(raised)) > 30 * NS
    assert len(bed.alerts("cleared")) in (len(raised) - 1, len(raised))
    assert not [m for m in bed.of("alarm") if m.priority != "low"]


def test_a_paced_patient_is_never_scored(tmp_path):
    model = Model(lambda _beat: STRANGE)
    bed = Bed(tmp_path, model=model, paced=("chest-1",))
    bed.run(40)
    assert bed.marks()
    assert all(mark.score is None for mark in bed.marks())
    assert not model.samples
    assert not bed.alerts()
    assert bed.slot.conduct.abstained == len(bed.marks())


def test_an_alert_says_where_pacing_is_unknown(tmp_path):
    bed = Bed(tmp_path, model=Model(once_in(10)))
    bed.run(30)
    assert bed.alerts()[0].notes == ("pacemaker unknown",)


def test_beats_without_signal_worth_it_abstain(tmp_path):
    model = Model()
    bed = Bed(tmp_path, model=model)
    bed.run(30)
    off_from = bed.maker.sample
    bed.run(6, lead_off=True)
    on_from = bed.maker.sample
    bed.run(20)
    assert any(sample < off_from for sample in model.samples)
    assert any(sample > on_from for sample in model.samples)
    assert not any(off_from <= sample < on_from for sample in model.samples)
    after = [mark for mark in bed.marks() if mark.r_ns > OFFSET + START + on_from * 4_000_000]
    assert after[0].score is None


def test_a_model_that_fails_costs_its_beat_and_is_told_once(tmp_path):
    def fail(_beat):
        raise RuntimeError("broken tensor")

    bed = Bed(tmp_path, model=Model(fail))
    with capture_logs() as logs:
        bed.run(40)
    failures = bed.wearable.counts()["score_failures"]
    assert failures == bed.slot.conduct.failed > 20
    assert len([line for line in logs if line["event"] == "score_failed"]) == 1
    assert sum(m.count for m in bed.of("ecg")) == 40 * FS_HZ
    assert all(mark.score is None for mark in bed.marks())


def test_a_failure_beside_the_model_costs_no_data_either(tmp_path, monkeypatch):
    bed = Bed(tmp_path, model=Model())
    bed.run(20)
    scored = bed.wearable.counts()["beats_scored"]
    with monkeypatch.context() as broken:
        broken.setattr(FeatureStream, "push", lambda _self, _window: 1 / 0)
        bed.run(10)
    assert bed.wearable.counts()["score_failures"] > 5
    assert bed.wearable.counts()["beats_scored"] <= scored + 1
    bed.run(20)
    assert bed.wearable.counts()["beats_scored"] > scored + 8
    assert sum(m.count for m in bed.of("ecg")) == 50 * FS_HZ
    assert not bed.wearable.losses()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_no_score(tmp_path, value):
    bed = Bed(tmp_path, model=Model(lambda _beat: value))
    bed.run(25)
    assert bed.wearable.counts()["score_failures"] > 5
    assert not bed.alerts()
    assert all(mark.score is None for mark in bed.marks())


def test_without_a_model_the_stream_goes_on_and_beats_are_counted_as_missed(tmp_path):
    bed = Bed(tmp_path)
    bed.run(30)
    assert not bed.of("score")
    assert bed.wearable.counts()["beats_missed"] > 15
    assert sum(m.count for m in bed.of("ecg")) == 30 * FS_HZ


def test_a_swap_misses_no_beat_resets_the_threshold_and_keeps_patient_and_budget(tmp_path):
    bed = Bed(tmp_path, model=Model(once_in(12)))
    bed.run(60)
    assert len(bed.alerts()) == 1
    lifted = bed.of("score")[-1].threshold
    assert lifted > 2.3
    other = Model(lambda _beat: STRANGE)
    other.threshold = 1.5
    bed.slot.swap(loaded(other, 2))
    bed.run(60)
    bed.end()
    by = [message.version for message in bed.of("score")]
    assert by == sorted(by)
    assert set(by) == {1, 2}
    beats = [beat.r_ns for message in bed.of("beat") for beat in message.beats]
    marks = bed.marks()
    assert [mark.r_ns for mark in marks] == beats[: len(marks)]
    first = next(k for k, mark in enumerate(marks) if mark.score is not None)
    assert all(mark.score is not None for mark in marks[first:])
    assert bed.slot.conduct.missed == 0
    new = [message for message in bed.of("score") if message.version == 2]
    assert {message.model for message in new} == {f"{2:064x}"}
    assert new[0].threshold == 1.5
    assert [message.threshold for message in bed.of("score") if message.version == 1][-1] > 2.3
    # Another model has memories of its own.
    assert bed.wearable._scoring._memory.history.state[0] == len(other.samples)
    # Six an hour allow one in these two minutes, whoever raised it.
    assert len(bed.alerts()) == 1


def test_a_restart_keeps_reference_threshold_and_budget(tmp_path):
    first = Bed(tmp_path, model=Model(once_in(25)))
    first.run(60)
    first.end()
    assert len(first.alerts()) == 1
    assert first.baselines.counters["baselines_written"] >= 1
    threshold = first.of("score")[-1].threshold
    reference = first.wearable._scoring._reference.current
    remembered = first.wearable._scoring._memory.history.state[0]
    model = Model(lambda _beat: STRANGE)
    second = Bed(tmp_path, model=model)
    second.run(60, shift_s=70)
    memory = second.wearable._scoring._memory
    assert memory.history.state[0] == remembered + len(model.samples)
    assert len(memory.surprise.values) == len(memory.weighed.values) == memory.history.state[0]
    assert memory.weighed.values == pytest.approx([2 * value for value in memory.surprise.values])
    kept = second.wearable._scoring._reference.current
    assert kept.count > 80
    np.testing.assert_allclose(kept.beat_uv, reference.beat_uv, atol=20)
    scored = [m for m in second.of("score") if m.scores[0].score is not None]
    assert scored[0].threshold == pytest.approx(threshold, abs=0.02)
    assert not second.alerts()


def test_after_a_restart_with_another_model_only_the_budget_is_kept(tmp_path):
    first = Bed(tmp_path, model=Model(once_in(25)))
    first.run(60)
    first.end()
    second = Bed(tmp_path, model=Model(lambda _beat: STRANGE), version=2)
    second.run(60, shift_s=70)
    assert second.of("score")[-1].threshold == 2.0
    assert not second.alerts()
    third = Bed(tmp_path / "elsewhere", model=Model(lambda _beat: STRANGE), version=2)
    third.run(60, shift_s=70)
    assert len(third.alerts()) == 1


def test_a_start_without_a_model_forgets_no_budget(tmp_path):
    first = Bed(tmp_path, model=Model(once_in(25)))
    first.run(60)
    first.end()
    kept = Baselines(tmp_path).load("chest-1")
    without = Bed(tmp_path)
    without.run(30, shift_s=70)
    without.end()
    later = Baselines(tmp_path).load("chest-1")
    names = ("model", "calibration", "level", "weighed_level", "history")
    assert [getattr(later, name) for name in names] == [getattr(kept, name) for name in names]
    assert kept.history
    assert later.mono_ns > kept.mono_ns


def test_an_alert_that_was_open_before_a_restart_ends_in_its_time(tmp_path):
    onset = OFFSET + START - 10 * NS
    before = AlarmChange(
        alarm_id="a" * 32,
        kind="beat_anomaly",
        priority="low",
        category="physiological",
        phase="raised",
        onset_ns=onset,
        at_ns=onset + NS,
        text="Unusual beat",
        rule="beat model",
    )
    bed = Bed(tmp_path, model=Model(), open_alarms=(before,))
    bed.run(15)
    assert not bed.alerts("cleared")
    bed.run(10)
    (over,) = bed.alerts("cleared")
    assert over.alarm_id == before.alarm_id


def test_a_device_that_counts_anew_is_scored_anew_with_the_patient_known(tmp_path):
    model = Model()
    bed = Bed(tmp_path, model=model)
    bed.run(40)
    known = bed.wearable._scoring._reference.current.count
    bed.maker = FrameMaker(boot=2)
    bed.run(30, shift_s=60)
    assert bed.wearable._scoring._reference.current.count > known
    assert min(model.samples[-10:]) < 30 * FS_HZ
    marks = [mark.r_ns for mark in bed.marks()]
    assert marks == sorted(marks)


@pytest.mark.parametrize("content", [b"", b"\xc1garbage", msgspec.msgpack.encode({"format": FORMAT + 1})])
def test_a_damaged_baseline_is_learned_anew(tmp_path, content):
    (tmp_path / "chest-1.msgpack").write_bytes(content)
    bed = Bed(tmp_path, model=Model())
    bed.run(30)
    bed.end()
    assert any(mark.score is not None for mark in bed.marks())
    assert Baselines(tmp_path).load("chest-1") is not None


def test_a_folder_that_cannot_be_written_costs_only_the_baseline(tmp_path):
    (tmp_path / "file").write_text("")
    bed = Bed(tmp_path / "file", model=Model())
    bed.run(30)
    bed.end()
    assert bed.baselines.counters["baselines_not_written"] == 1
    assert any(mark.score is not None for mark in bed.marks())


def test_a_baseline_of_another_boot_is_as_old_as_utc_says_or_else_as_if_just_now(tmp_path):
    bed = Bed(tmp_path, model=Model(once_in(25)))
    bed.run(60)
    bed.end()
    kept = Baselines(tmp_path).load("chest-1")
    alert_s = kept.calibration.starts_s[0]
    age_s = kept.mono_ns / NS - alert_s
    other = msgspec.structs.replace(kept, boot="another", mono_ns=kept.mono_ns - 4_000 * NS)
    other = msgspec.structs.replace(
        other, calibration=kept.calibration.later(-4_000), utc_ns=bed.clock.now().utc_ns - 100 * NS
    )
    now_s = bed.clock.now().mono_ns / NS
    assert now_s - other.calibration_now(bed.clock).starts_s[0] == pytest.approx(age_s + 100)
    unknown = msgspec.structs.replace(other, utc_ns=None)
    assert now_s - unknown.calibration_now(bed.clock).starts_s[0] == pytest.approx(age_s)
    assert kept.calibration_now(bed.clock) == kept.calibration


def test_scores_are_what_the_wire_takes(tmp_path):
    bed = Bed(tmp_path, model=Model())
    bed.run(20)
    for message in bed.of("score"):
        assert isinstance(message, ScoresMessage)
        assert decode_data(encode_data(message)) == message
