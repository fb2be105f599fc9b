"""Learning from what the store holds: beats as the gateway saw them, and only those that nothing speaks against."""

import numpy as np
import pytest
from ward import FS_HZ, SECOND_NS, Ward

from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.metadata.register import Assignment
from vitalwire_cloud.train import stored
from vitalwire_cloud.train.dataset import DRAWS
from vitalwire_cloud.train.stored import MARGIN_NS, load_store
from vitalwire_edge.inference import features
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.wire.messages import BeatEvidence, Flag
from vitalwire_sim.physiology.patient import Patient

START_NS = 1_800_000_000 * SECOND_NS
SECONDS = 150
END_NS = START_NS + SECONDS * SECOND_NS


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    """A patient with ventricular beats, a calm one whose electrode falls off, one who has nothing but noise."""
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ectopic = ward.bed("w-1", patient=Patient(pvc_per_min=8))
    calm = ward.bed("w-2", patient=Patient(hr_bpm=64))
    noise = ward.bed("w-3", patient=Patient(noise_uv=100, amplitude=0.2))
    ward.truth = {"w-1": [], "w-2": [], "w-3": []}
    ward.heard = []
    for second in range(SECONDS):
        at_ns = START_NS + second * SECOND_NS
        ward.heard.append(ectopic.second(at_ns))
        ward.truth["w-1"] += [(at_ns + at * SECOND_NS // FS_HZ, symbol) for at, symbol in ectopic.beats]
        calm.second(at_ns, flags=Flag.LEAD_OFF if 40 <= second < 50 else 0)
        noise.second(at_ns)
    yield ward
    ward.close()


def times_ns(patient):
    return START_NS + np.rint(patient.sample * 1e9 / patient.fs_hz).astype(np.int64)


def near(at_ns, others):
    return np.abs(at_ns[:, None] - np.array(others)[None]).min(axis=1) < 80_000_000


def test_no_ectopic_beat_is_learned_and_most_normal_ones_are(ward):
    ectopic, calm = load_store(ward.store, until_ns=END_NS)
    assert (ectopic.patient, calm.patient) == ("w-1", "w-2")
    at_ns = times_ns(ectopic)
    ventricular = near(at_ns, [at for at, symbol in ward.truth["w-1"] if symbol == "V"])
    assert ventricular.sum() >= 10
    assert not (ectopic.normal & ventricular).any()
    # The neighbours of an ectopic beat come early or late too: they are given up with it.
    assert ectopic.normal.sum() > 0.6 * (~ventricular).sum()
    assert calm.normal.mean() > 0.85
    assert set(ectopic.label) == {"N", "Q"}


def test_the_beats_are_those_of_the_gateways_own_chain_sample_by_sample(ward):
    ectopic, _ = load_store(ward.store, until_ns=END_NS)
    chain = EcgChain(fs_hz=FS_HZ)
    windows, at = [], 0
    for block in ward.heard:
        windows += chain.push(at, block.astype(np.float32) * np.float32(2.5)).windows
        at += block.size
    said = list(features.inputs(windows, fs_hz=FS_HZ))
    assert [each.sample for each in said] == ectopic.sample.tolist()
    np.testing.assert_array_equal(np.stack([each.beat for each in said]), ectopic.beat)
    np.testing.assert_array_equal(np.stack([each.reference for each in said]), ectopic.reference)
    np.testing.assert_array_equal(np.stack([each.context for each in said]), ectopic.context)


def test_a_gap_is_a_gap_and_costs_the_beats_around_it(ward):
    _, calm = load_store(ward.store, until_ns=END_NS)
    second = (times_ns(calm) - START_NS) / SECOND_NS
    assert not ((second > 40) & (second < 50)).any()
    assert ((second > 60) & calm.normal).sum() > 60


def test_only_the_last_hours_are_read(ward):
    (calm,) = (p for p in load_store(ward.store, until_ns=END_NS, hours=80 / 3600) if p.patient == "w-2")
    whole = next(p for p in load_store(ward.store, until_ns=END_NS) if p.patient == "w-2")
    assert calm.sample.size < 0.6 * whole.sample.size
    assert calm.digest != whole.digest


def test_a_patient_is_who_wore_the_devices_and_nobodys_data_is_left_out(ward):
    middle = START_NS + 75 * SECOND_NS
    worn = [
        Assignment(device="w-2", patient="p-a", start_ns=START_NS, end_ns=middle),
        Assignment(device="w-2", patient="p-b", start_ns=middle, end_ns=None),
    ]
    first, second = load_store(ward.store, until_ns=END_NS, assignments=worn)
    assert (first.patient, second.patient) == ("p-a", "p-b")
    # Names of records stand on model cards, which travel: they are the device's.
    assert (first.record, second.record) == ("w-2.1", "w-2.2")
    whole = next(p for p in load_store(ward.store, until_ns=END_NS) if p.patient == "w-2")
    assert 0.8 * whole.sample.size < first.sample.size + second.sample.size < whole.sample.size


def test_alarm_episodes_are_left_out_unless_staff_rejected_a_model_alert(ward):
    before = {p.patient: p for p in load_store(ward.store, until_ns=END_NS)}["w-1"]
    at_ns = times_ns(before)
    alarm = ward.alarm("w-1", "beat_anomaly", "low", "unusual beat", at_ns=START_NS + 100 * SECOND_NS)
    held = np.abs(at_ns - alarm.onset_ns) <= MARGIN_NS
    ward.end(alarm)
    after = {p.patient: p for p in load_store(ward.store, until_ns=END_NS)}["w-1"]
    assert (before.normal & held).any()
    assert not (after.normal & held).any()
    np.testing.assert_array_equal(after.normal[~held], before.normal[~held])

    rejected = {p.patient: p for p in load_store(ward.store, until_ns=END_NS, rejected={alarm.alarm_id})}[
        "w-1"
    ]
    about = (at_ns >= alarm.onset_ns) & (at_ns <= alarm.raised_ns)
    assert about.sum() >= 2
    assert rejected.normal[about].all()
    np.testing.assert_array_equal(rejected.normal[~about], before.normal[~about])

    fever = ward.alarm("w-1", "temperature_high", "medium", "38.9", at_ns=START_NS + 50 * SECOND_NS)
    again = load_store(ward.store, until_ns=END_NS, rejected={alarm.alarm_id})
    np.testing.assert_array_equal(
        {p.patient: p for p in again}["w-1"].normal, rejected.normal, err_msg=fever.kind
    )
    ward.alarm("w-1", "atrial_fibrillation", "medium", "AF", at_ns=START_NS + 20 * SECOND_NS)
    assert [p.patient for p in load_store(ward.store, until_ns=END_NS)] == ["w-2"], "it was never cleared"


def test_what_staff_said_is_read_from_the_services_own_desk(ward):
    folder = ward.store.folder
    assert stored._rejected(CloudConfig(data_dir=str(folder))) == frozenset()
    evidence = {
        "r_ns": 1,
        "rate_hz": 250,
        "r_index": 1,
        "observed_uv": (0, 9, 0),
        "expected_uv": (0, 5, 0),
        "score": 3.0,
        "threshold": 2.0,
        "shape": 1.0,
        "timing": 1.0,
        "amplitude": 0.0,
        "model": "a" * 64,
        "version": 1,
    }
    for number, verdict in enumerate(("rejected", "confirmed", None)):
        alarm = ward.alarm(
            "w-2",
            "beat_anomaly",
            "low",
            "unusual",
            at_ns=START_NS + number * SECOND_NS,
            evidence=BeatEvidence(**evidence),
        )
        if verdict is not None:
            ward.desk.label(alarm.alarm_id, verdict=verdict, by="nurse")
    (rejected,) = stored._rejected(CloudConfig(data_dir=str(folder)))
    assert rejected == f"w-2-beat_anomaly-{START_NS}"


def test_ectopy_is_simulated_where_nothing_is_missing(ward):
    people = [p.patient for p in load_store(ward.store, until_ns=END_NS)]
    whole = load_store(ward.store, until_ns=END_NS, to_learn=True)
    assert "w-2" in people
    assert [(p.patient, p.draw) for p in whole] == [(who, k) for who in people for k in range(DRAWS + 1)]
    for draw in (p for p in whole if p.draw):
        assert {"N", "V"} <= set(draw.label)
        assert draw.sample[-1] <= SECONDS * FS_HZ
        assert np.isfinite(draw.context).all()
    again = load_store(ward.store, until_ns=END_NS, to_learn=True)
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one.beat, other.beat)
