"""The shipped units ask systemd to watch the processes and to hold them tight."""

import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[3] / "deploy" / "systemd"
MOST_EXPOSED = 2.5
"""Of 10, by systemd-analyze; a service without sandboxing has 9.6."""


def parsed(path):
    unit = RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read_string(path.read_text())
    return unit


@pytest.mark.parametrize("name", ["vitalwire-edge", "vitalwire-cloud"])
def test_a_unit_is_watched_and_has_a_ceiling(name):
    service = parsed(UNITS / f"{name}.service")["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) <= 60
    assert service["Restart"] == "always"
    assert service["MemoryMax"]
    assert service["DynamicUser"] == "yes"
    assert service["CapabilityBoundingSet"] == ""


@pytest.mark.parametrize("name", ["vitalwire-edge", "vitalwire-cloud"])
@pytest.mark.parametrize("additions", [(), ("bluetooth.conf", "serial.conf")])
def test_systemd_itself_finds_nothing_wrong(tmp_path, name, additions):
    unit = tmp_path / f"{name}.service"
    text = (UNITS / unit.name).read_text().replace("/opt/vitalwire/bin/vitalwire-launch", "/bin/true")
    unit.write_text(text.replace("/opt/vitalwire/bin/vitalwire", "/bin/true"))
    if name == "vitalwire-edge" and additions:
        folder = tmp_path / f"{unit.name}.d"
        folder.mkdir()
        for addition in additions:
            shutil.copy(UNITS / f"{unit.name}.d" / addition, folder)
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        # Nothing here can judge it; that it reads as a unit at least has been seen.
        assert parsed(unit).sections() == ["Unit", "Service", "Install"]
        return
    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert [line for line in verified.stderr.splitlines() if name in line] == []
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", f"--threshold={round(MOST_EXPOSED * 10)}", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout + judged.stderr
