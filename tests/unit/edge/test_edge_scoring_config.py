"""What an operator may say about scores and models, and what the gateway counts beside them."""

from pathlib import Path

import pytest
from test_edge_wearable import NS, START, Bed

from vitalwire_edge.config import EdgeConfig
from vitalwire_edge.process import config as layers
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import VitalValue


def load(**flags: object) -> EdgeConfig:
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return layers.load(EdgeConfig, path=None, env_prefix="VITALWIRE_TEST_EDGE", flags=named)


def test_models_and_baselines_lie_beside_the_spool_unless_said_otherwise():
    beside = load(spool__path="/var/lib/vitalwire/spool.sqlite")
    assert beside.models_placed.folder == "/var/lib/vitalwire/spool.sqlite.models"
    assert beside.patient_folder == Path("/var/lib/vitalwire/spool.sqlite.patients")
    elsewhere = load(models__folder="/m", scoring__folder="/p", models__probation__beats="40")
    assert elsewhere.models_placed.folder == "/m"
    assert elsewhere.models_placed.probation.beats == 40
    assert elsewhere.patient_folder == Path("/p")


def test_six_alerts_an_hour_unless_said_otherwise():
    assert load().scoring.alerts_per_hour == 6
    assert load(scoring__alerts_per_hour="2.5").scoring.alerts_per_hour == 2.5


@pytest.mark.parametrize("budget", ["0", "-1", "1000", "many"])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(ConfigError, match="alerts_per_hour"):
        load(scoring__alerts_per_hour=budget)


def test_readings_that_come_after_later_ones_are_counted():
    bed = Bed()
    bed.hello()
    bed.seconds(2)
    reading = [VitalValue(Code.SPO2, 97.0)]
    alarms = bed.wearable._alarms
    alarms.vitals(START + 10 * NS, reading)
    assert bed.wearable.counts()["late_readings"] == 0
    alarms.vitals(START + 9 * NS, reading)
    assert bed.wearable.counts()["late_readings"] == 1
