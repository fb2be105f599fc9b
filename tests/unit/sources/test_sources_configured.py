"""What is configured can be listed, checked and scanned for; what cannot work is refused with the key and the fix."""

import json
import os

import msgspec
import pytest
from fake_radio import Peripheral, World, short
from typer.testing import CliRunner

from vitalwire_edge import status
from vitalwire_edge.commands import app
from vitalwire_edge.config import EdgeConfig, TelemetryConfig, check
from vitalwire_edge.process.config import ConfigError, load
from vitalwire_edge.process.findings import Subject
from vitalwire_edge.process.health import HealthServer
from vitalwire_edge.source_check import sources as check_machine
from vitalwire_edge.sources.ble import radio
from vitalwire_edge.sources.ble.privacy import fingerprint, scrubbed, told
from vitalwire_edge.sources.build import build_sources
from vitalwire_edge.sources.inbox import Inbox

ADDRESS = "AA:BB:CC:DD:EE:01"
TOML = f"""
[sources.tcp]
enabled = false
[sources.ble]
enabled = true
[[sources.ble.devices]]
address = "{ADDRESS}"
device = "chest-1"
[sources.serial]
enabled = true
ports = ["/dev/null", "/dev/none"]
[sources.file]
enabled = true
record = "toy"
device = "replay-1"
[telemetry]
simulated = true
"""


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text('key_file = "k"\n' + TOML)
    return path


def loaded(text, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text('key_file = "k"\n' + text)
    config = load(EdgeConfig, path=path, env_prefix="VITALWIRE_EDGE", environ={})
    check(config)
    return config


def run(*arguments):
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.output, done.exception


def test_everything_at_once(tmp_path):
    config = loaded(TOML, tmp_path)
    built = build_sources(config.sources, Inbox())
    assert [source.state().kind for source in built] == ["ble", "serial", "serial", "file"]
    assert ADDRESS.lower() not in str([source.state() for source in built]).lower()
    for source in built:
        source.stop()


def test_nothing_but_tcp_is_on_by_itself():
    built = build_sources(EdgeConfig().sources, Inbox())
    assert [source.state().kind for source in built] == ["tcp"]
    built[0].stop()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[sources.ble]\nenabeld = true", "sources.ble.enabeld"),
        ("[sources.serial]\nport = 'x'", "sources.serial.port"),
        ("[sources.file]\nspeed = 2", "sources.file.speed"),
        ("[[sources.ble.devices]]\naddress='AA:BB:CC:DD:EE:01'\ndevice='a'\nname='x'", "name"),
        ("[sources.ble]\nenabled = true", "vitalwire edge scan"),
        ("[sources.ble]\nenabled = true\n[[sources.ble.devices]]\naddress='AA'\ndevice='a'", "AA:BB:CC"),
        (
            "[sources.ble]\nenabled = true\n[[sources.ble.devices]]\naddress='AA:BB:CC:DD:EE:01'\ndevice='Mr X'",
            "Mr X",
        ),
        (
            (
                "[sources.ble]\nenabled = true\n"
                "[[sources.ble.devices]]\naddress='AA:BB:CC:DD:EE:01'\ndevice='a'\n"
                "[[sources.ble.devices]]\naddress='aa:bb:cc:dd:ee:01'\ndevice='b'"
            ),
            "twice",
        ),
        ("[sources.serial]\nenabled = true", "/dev/ttyUSB0"),
        ("[sources.serial]\nenabled = true\nports = ['a']\nbaud = 0", "baud"),
        ("[sources.serial]\nenabled = true\nports = ['a', 'a']", "twice"),
        ("[sources.file]\nenabled = true", "sources.file.record"),
        ("[sources.file]\nenabled = true\nrecord = 'toy'", "telemetry.simulated"),
    ],
)
def test_what_cannot_work_is_named(text, named, tmp_path):
    with pytest.raises(ConfigError, match=named):
        loaded(text, tmp_path)


def test_a_replay_is_never_taken_for_a_patient(tmp_path):
    with pytest.raises(ConfigError, match="taken for a patient"):
        loaded(TOML.replace("simulated = true", "simulated = false"), tmp_path)
    assert TelemetryConfig().simulated is False


def test_sources_lists_what_is_configured(toml):
    code, output, _ = run("sources", "--config", str(toml), "--json")
    found = {(one["kind"], one["where"]): one for one in json.loads(output)}
    assert code == 0
    assert not found["tcp", "127.0.0.1:7400"]["enabled"]
    assert found["tcp", "127.0.0.1:7400"]["state"] == "off"
    assert found["ble", f"chest-1 ({fingerprint(ADDRESS)})"]["enabled"]
    assert found["serial", "/dev/none at 460800 baud"]["enabled"]
    assert found["file", "toy"]["enabled"]


def test_sources_asks_the_running_gateway(toml):
    config = load(EdgeConfig, path=toml, env_prefix="VITALWIRE_EDGE", environ={})
    built = build_sources(config.sources, Inbox())
    built[1].start()
    page = _page([source.state() for source in built[:3]])
    with HealthServer(
        "127.0.0.1", 0, ready=lambda: None, live=lambda: None, pages=status.pages(lambda: page)
    ) as server:
        code, output, _ = run("sources", "--config", str(toml), "--health", f"127.0.0.1:{server.address[1]}")
    built[1].stop()
    lines = {line.split()[0] + line.split()[1]: line for line in output.splitlines()}
    assert code == 0
    assert "works, 0 connected" in lines["blechest-1"]
    assert "is not open yet" in lines["serial/dev/none"]
    assert "the running gateway has no such source" in lines["filetoy"]


def test_sources_says_when_no_gateway_answers(toml):
    code, output, _ = run("sources", "--config", str(toml), "--health", "127.0.0.1:1")
    assert code == 1
    assert "no gateway answers" in output


def test_scan_lists_peripherals_with_their_services(monkeypatch):
    world = World(
        Peripheral("AA:BB:CC:DD:EE:09", {short(0x180A): {}}),
        Peripheral(
            ADDRESS, {short(0x180D): {}, short(0x180F): {}, "fb005c80-02e7-f387-1cad-8acd2d8df0c8": {}}
        ),
    )
    monkeypatch.setattr(radio, "Radio", lambda _adapter: world.radio())
    code, output, _ = run("scan", "--seconds", "0.1")
    first, second, count = output.splitlines()
    assert code == 0
    assert first.startswith(ADDRESS)
    assert first.endswith("heart rate, battery, Polar ECG")
    assert second.endswith("nothing this gateway reads")
    assert count == "2 in reach"
    assert world.asked == []
    _, output, _ = run("scan", "--seconds", "0.1", "--json")
    assert json.loads(output)[0]["services"] == ["heart rate", "battery", "Polar ECG"]


def test_scan_without_an_adapter_names_the_fix(monkeypatch):
    world = World()
    world.present = False
    monkeypatch.setattr(radio, "Radio", lambda _adapter: world.radio())
    code, output, _ = run("scan", "--seconds", "0.1")
    assert code == 1
    assert "bluetoothctl power on" in output


def test_the_doctor_looks_at_each_source(toml, tmp_path):
    adapters = tmp_path / "bluetooth"
    found = {
        (f.detail.split(":")[0], f.verdict): f
        for f in check_machine(Subject(edge_config=toml), adapters=adapters)
    }
    assert set(found) == {("ble", "problem"), ("serial", "ok"), ("serial", "problem"), ("file", "ok")}
    assert "/dev/none" in found["serial", "problem"].detail
    (adapters / "hci0").mkdir(parents=True)
    assert next(iter(check_machine(Subject(edge_config=toml), adapters=adapters))).verdict == "ok"
    toml.write_text("[sources.tcp]\nenabled = false\n")
    (none,) = check_machine(Subject(edge_config=toml))
    assert (none.verdict, "no source" in none.detail) == ("problem", True)
    toml.write_text("[sources.tpc]\nenabled = false\n")
    (wrong,) = check_machine(Subject(edge_config=toml))
    assert "sources.tpc" in wrong.detail
    (unasked,) = check_machine(Subject())
    assert (unasked.verdict, "--edge-config" in unasked.detail) == ("ok", True)


def test_replaying_by_flag_needs_a_file_for_its_device(tmp_path):
    _, _, error = run("run", "--device", "replay-1", "--set", f"key_file={tmp_path / 'key'}")
    assert isinstance(error, ConfigError)
    assert "--file" in str(error)


def test_no_spelling_of_an_address_gets_through():
    told = (
        f"device {ADDRESS} / {ADDRESS.lower()} at /org/bluez/hci0/dev_{ADDRESS.replace(':', '_')}/service01"
    )
    assert "AA" not in scrubbed(told, ADDRESS).upper().replace(fingerprint(ADDRESS).upper(), "")


def test_an_error_is_told_with_its_place_and_without_an_address():
    try:
        raise RuntimeError(f"device {ADDRESS} is gone")
    except RuntimeError as error:
        reason = told(error, ADDRESS)
    assert reason.startswith(
        f"RuntimeError: device {fingerprint(ADDRESS)} is gone at test_sources_configured.py:"
    )


def _page(states):
    return status.StatusPage(
        site="ward",
        gateway="gw1",
        software="0",
        at_ns=1_700_000_000_000_000_000,
        clock_synchronised=False,
        problems=("a <problem>",),
        link=status.LinkView(up=False, unconfirmed=3),
        spool=status.SpoolView(rows=7, used_bytes=2_000_000, problem=None),
        model=status.ModelView(version=0, on_probation=False, problem="none"),
        alarms=status.AlarmsView(open={"high": 1, "medium": 0, "low": 2}, unconfirmed=1),
        sources=tuple(status.SourceView.of(state) for state in states),
        devices=(
            status.DeviceView(
                "chest-1", connected=True, battery_percent=55, quality=None, last_frame_age_s=1.2
            ),
        ),
    )


def test_the_status_page_stands_alone_and_escapes_what_it_shows():
    html = status.page(_page([]))
    assert "a &lt;problem&gt;" in html
    assert "chest-1" in html
    assert "1 high, 0 medium, 2 low; 1 not confirmed" in html
    assert "(not synchronised)" in html
    for outside in ("http://", "https://", "<script", "src=", "@import", "url("):
        assert outside not in html
    body = msgspec.json.decode(status.pages(lambda: _page([]))["/status.json"]()[1])
    assert body["devices"][0] == {
        "device": "chest-1", "connected": True, "battery_percent": 55, "quality": None, "last_frame_age_s": 1.2,
    }  # fmt: skip
    assert os.linesep in html
