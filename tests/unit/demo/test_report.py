"""The judge of a demo says not ok for everything that must not happen, and names it."""

from pathlib import Path

import msgspec
import pytest

from vitalwire_sim import truth
from vitalwire_sim.demo.report import build_report
from vitalwire_sim.demo.retraining import DEGRADED, TAMPERED, ModelUpdate, RefusedModel, Retrained
from vitalwire_sim.demo.run import Evidence, Plan
from vitalwire_sim.scenario import load

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND


def write_truth(folder: Path, *, cut: bool = False) -> Path:
    path = folder / "chest-1.truth.jsonl"
    with truth.TruthFile(path) as file:
        file.write(
            truth.Start(
                device="chest-1",
                gateway="gw-a",
                site="s",
                scenario="ward",
                seed=1,
                boot=1,
                start_ns=START,
                fs_hz=250.0,
                lead="ECG",
                recording=None,
            )
        )
        for kind, expects, at_s in (("asystole", ("asystole",), 10), ("motion", (), 30)):
            file.write(
                truth.EpisodeStart(
                    kind=kind,
                    at_ns=START + at_s * SECOND,
                    end_ns=START + (at_s + 10) * SECOND,
                    strength=1.0,
                    expects=expects,
                    allows=("pressure_low",),
                    settle_s=5.0,
                )
            )
            file.write(
                truth.EpisodeEnd(
                    kind=kind, start_ns=START + at_s * SECOND, at_ns=START + (at_s + 5) * SECOND, cut=cut
                )
            )
        file.write(truth.BeatTruth(sample=5000, r_ns=START + 20 * SECOND, symbol="V"))
        counts = truth.Counts(frames=10, samples=1000, sent=950, dropped_by_script=50)
        file.write(
            truth.End(at_ns=START + 60 * SECOND, reason="done", ecg=counts, vitals=counts, reconnects=0)
        )
    return path


def alarm(kind: str, at_s: float, device: str | None = "chest-1", gateway: str = "gw-a") -> dict[str, object]:
    return {
        "device": device,
        "gateway": gateway,
        "kind": kind,
        "priority": "high",
        "rule": f"{kind}/1",
        "text": kind,
        "onset_ns": START + int(at_s * SECOND),
        "raised_ns": START + int(at_s * SECOND),
        "stored_ns": START + int((at_s + 0.5) * SECOND),
    }


def stream(samples: int = 950, duplicated: int = 0) -> dict[str, object]:
    return {
        "device": "chest-1",
        "stream": "ecg",
        "samples": samples,
        "duplicated": duplicated,
        "latency_ms": {"values": [10.0, 20.0, 400.0]},
    }


@pytest.fixture
def judge(tmp_path):
    def build(
        *, streams=None, alarms=None, cut=False, disturbances=(), problems=(), seconds=60.0, retrained=None
    ):
        counters = tmp_path / "gw-a.counters.json"
        counters.write_bytes(
            msgspec.json.encode({"devices": {"chest-1": {"accepted": {"ecg": 950}, "bytes_published": 6000}}})
        )
        evidence = Evidence(
            truth_files=[write_truth(tmp_path, cut=cut)],
            counter_files=[counters, tmp_path / "never-written.json"],
            audit={
                "streams": [stream()] if streams is None else streams,
                "alarms": [alarm("asystole", 14)] if alarms is None else alarms,
            },
            cpu_s={"cloud": 1.0},
            disturbances=list(disturbances),
            elapsed_s=seconds,
            problems=list(problems),
            retrained=retrained or Retrained(),
        )
        plan = Plan("ward", load("ward"), seconds, 1, tmp_path, browser=False)
        return build_report(plan, evidence)

    return build


def test_a_clean_run(judge):
    report = judge()
    assert report.ok
    assert report.false_alerts == 0
    assert report.wire_bytes_per_device_s == 100.0
    (ecg,) = report.streams
    assert (ecg.sent, ecg.stored, ecg.lost, ecg.duplicated, ecg.dropped_by_script) == (950, 950, 0, 0, 50)
    (episode,) = report.episodes
    assert (episode.kind, episode.raised, episode.raised_by) == ("asystole", True, "asystole/1")
    assert episode.latency_ms == 4500.0
    assert report.latency_ms["sample_to_store"].max == 400.0


@pytest.mark.parametrize(
    "flaw",
    [
        {"streams": [stream(samples=949)]},
        {"streams": [stream(duplicated=1)]},
        {"streams": []},
        {"alarms": []},
        {"alarms": [alarm("asystole", 40)]},
        {"alarms": [alarm("lead_off", 14)]},
        {"alarms": [alarm("asystole", 14, device="chest-2")]},
        {"problems": ["cloud did not stop"]},
    ],
)
def test_every_flaw_is_not_ok(judge, flaw):
    assert not judge(**flaw).ok


def update(gateway: str, missed: int = 0) -> ModelUpdate:
    return ModelUpdate(
        gateway=gateway,
        before=1,
        after=2,
        parent_hash="a" * 64,
        child_hash="b" * 64,
        patients=12,
        beats=2000,
        sources=["30 beats of 2 devices of a store"],
        judged_on="simulated patients",
        gate=[],
        beats_missed_in_swap=missed,
    )


def circle(*, updates=("gw-a", "gw-b"), refused=(TAMPERED, DEGRADED), missed=0, problems=()) -> Retrained:
    return Retrained(
        wanted=True,
        to_refuse={TAMPERED, DEGRADED},
        updates=[update(name, missed) for name in updates],
        refused=[RefusedModel(what=what, by="x", reason="y", detail="z") for what in refused],
        problems=list(problems),
    )


def test_the_circle_of_the_model_has_to_close(judge):
    report = judge(seconds=90.0, retrained=circle())
    assert report.ok
    assert [each.gateway for each in report.models] == ["gw-a", "gw-b"]
    assert {each.what for each in report.refused} == {TAMPERED, DEGRADED}
    for broken in (
        circle(updates=("gw-a",)),
        circle(refused=(TAMPERED,)),
        circle(refused=(DEGRADED,)),
        circle(missed=1),
        circle(problems=["gw-a refused version 2"]),
    ):
        assert not judge(seconds=90.0, retrained=broken).ok


def test_a_run_that_was_too_short_for_the_circle_is_not_asked_for_it(judge):
    assert judge(seconds=30.0, retrained=circle(updates=(), refused=())).ok
    assert not judge(seconds=30.0, retrained=circle(updates=("gw-a",), missed=2)).ok
    stopped = circle(updates=(), refused=())
    stopped.unfinished = True
    assert judge(seconds=30.0, retrained=stopped).problems == []
    (problem,) = judge(seconds=90.0, retrained=stopped).problems
    assert "give more --seconds" in problem


def test_a_model_alert_at_an_ectopic_beat_is_explained_another_is_not(judge):
    alarms = [alarm("asystole", 14), alarm("beat_anomaly", 20), alarm("beat_anomaly", 40)]
    (unexplained,) = judge(alarms=alarms).false_alert_list
    assert (unexplained.kind, unexplained.onset_ns) == ("beat_anomaly", START + 40 * SECOND)


def test_consequences_are_no_false_alerts_but_the_unexplained_is(judge):
    alarms = [alarm("asystole", 14), alarm("pressure_low", 18), alarm("lead_off", 18), alarm("asystole", 50)]
    report = judge(alarms=alarms)
    assert [(a.kind, a.device) for a in report.false_alert_list] == [
        ("lead_off", "chest-1"),
        ("asystole", "chest-1"),
    ]


def test_a_silent_gateway_is_explained_by_its_cut_link_only(judge):
    silent = alarm("gateway_silent", 20, device=None, gateway="gw-b")
    cut = {"kind": "link_loss", "gateway": "gw-b", "start_ns": START + 15 * SECOND, "duration_s": 10.0}
    alarms = [alarm("asystole", 14), silent]
    assert judge(alarms=alarms).false_alerts == 1
    assert judge(alarms=alarms, disturbances=[cut]).false_alerts == 0
    assert judge(alarms=alarms, disturbances=[{**cut, "gateway": "gw-a"}]).false_alerts == 1


def test_an_episode_that_the_user_cut_short_is_not_held_against_the_run(judge):
    report = judge(alarms=[], cut=True)
    assert report.episodes == []
    assert report.ok
