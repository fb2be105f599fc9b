"""Only a candidate that is good, no worse for anybody and the same in int8 may be signed."""

import msgspec
import pytest

from vitalwire_cloud.registry.gate import Evaluation, Evidence, PatientResult, decide

PATIENTS = tuple(f"p{number}" for number in range(8))
AUCS = (0.95, 0.93, 0.97, 0.91, 0.94, 0.96, 0.92, 0.95)


def evaluation(arithmetic="int8", *, shift=0.0, one=0.0, abstained=0.05, **more) -> Evaluation:
    results = tuple(
        PatientResult(
            patient=patient,
            beats=1000,
            abnormal=100,
            auc=auc + shift + (one if patient == "p3" else 0.0),
            abstained=abstained,
        )
        for patient, auc in zip(PATIENTS, AUCS, strict=True)
    )
    fields = {
        "arithmetic": arithmetic,
        "patients": results,
        "auc": 0.94 + shift,
        "ap": 0.7,
        "learned_from": ("a", "b"),
        "p99_us": 60.0,
    }
    return Evaluation(**(fields | more))


def evidence(**more) -> Evidence:
    fields = {
        "candidate_float": evaluation("float"),
        "candidate_int8": evaluation(),
        "running": evaluation(),
        "model_bytes": 120_000,
        "source": "test",
    }
    return Evidence(**(fields | more))


def failing(**more) -> set[str]:
    decision = decide(evidence(**more))
    assert decision.passed is not bool(decision.reasons)
    return {check.name for check in decision.checks if not check.passed}


def shifted(**changes) -> dict[str, Evaluation]:
    return {"candidate_float": evaluation("float", **changes), "candidate_int8": evaluation(**changes)}


def test_as_good_as_the_running_model_passes_with_its_figures():
    decision = decide(evidence())
    assert decision.passed
    assert {check.name for check in decision.checks} == {
        "held out",
        "comparable",
        "enough patients",
        "good enough",
        "quantised",
        "small and fast",
        "not worse",
        "no patient lost",
        "abstains no more",
    }


def test_the_first_model_has_nothing_to_be_compared_with():
    assert decide(evidence(running=None)).passed


@pytest.mark.parametrize("who", ["candidate_float", "candidate_int8", "running"])
def test_a_patient_that_a_model_learned_from_is_no_test(who):
    arithmetic = "float" if who == "candidate_float" else "int8"
    assert failing(**{who: evaluation(arithmetic, learned_from=("a", "p3"))}) == {"held out"}


def test_an_evaluation_that_does_not_say_whom_it_learned_from():
    assert failing(candidate_int8=evaluation(learned_from=())) == {"held out"}


def test_worse_on_the_whole():
    assert failing(**shifted(shift=-0.03)) == {"not worse"}


def test_worse_on_one_patient():
    assert "no patient lost" in failing(**shifted(one=-0.2))


def test_bad_on_the_whole_even_without_a_model_before():
    assert failing(**shifted(shift=-0.3), running=None) == {"good enough"}


def test_lost_in_quantisation():
    assert failing(candidate_float=evaluation("float", auc=0.945)) == {"quantised"}
    assert failing(candidate_float=evaluation("float", one=0.03)) == {"quantised"}


def test_too_large_or_too_slow_or_not_timed():
    assert failing(model_bytes=200_000) == {"small and fast"}
    assert failing(candidate_int8=evaluation(p99_us=5000.0)) == {"small and fast"}
    assert failing(candidate_int8=evaluation(p99_us=None)) == {"small and fast"}


def test_abstaining_is_not_a_way_to_be_good():
    assert failing(**shifted(abstained=0.3)) == {"abstains no more"}


def test_other_beats_cannot_be_compared():
    fewer = evaluation(patients=evaluation().patients[:-1])
    assert failing(running=fewer) == {"comparable"}
    changed = tuple(msgspec.structs.replace(p, beats=999) for p in evaluation().patients)
    assert failing(candidate_float=evaluation("float", patients=changed)) == {"comparable"}


@pytest.mark.parametrize("auc", [float("nan"), 1.2, -0.1])
def test_a_figure_that_is_none(auc):
    assert failing(candidate_int8=evaluation(auc=auc)) == {"comparable"}


def test_a_patient_twice_and_the_wrong_arithmetic():
    twice = evaluation().patients
    twice = (*twice[:-1], twice[0])
    every = {
        "candidate_float": evaluation("float", patients=twice),
        "candidate_int8": evaluation(patients=twice),
        "running": evaluation(patients=twice),
    }
    assert failing(**every) == {"comparable"}
    assert failing(candidate_int8=evaluation("float")) == {"comparable"}
    assert failing(running=evaluation("float")) == {"comparable"}


def test_too_few_patients():
    few = {
        "candidate_float": evaluation("float", patients=evaluation().patients[:4]),
        "candidate_int8": evaluation(patients=evaluation().patients[:4]),
        "running": evaluation(patients=evaluation().patients[:4]),
    }
    assert failing(**few) == {"enough patients"}


def test_nothing_at_all_does_not_pass():
    empty = {"patients": (), "learned_from": ("a",)}
    nothing = evidence(
        candidate_float=evaluation("float", **empty), candidate_int8=evaluation(**empty), running=None
    )
    assert not decide(nothing).passed


def test_patients_of_one_class_are_told_but_not_counted():
    first = evaluation().patients[0]
    one_class = (msgspec.structs.replace(first, abnormal=0, auc=None), *evaluation().patients[1:])
    every = {
        "candidate_float": evaluation("float", patients=one_class),
        "candidate_int8": evaluation(patients=one_class),
        "running": evaluation(patients=one_class),
    }
    assert decide(evidence(**every)).passed
