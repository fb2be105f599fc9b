"""`vitalwire demo` as its user runs it: headless with a report, and by hand until Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request

import psutil
import pytest

DEMO = (sys.executable, "-m", "vitalwire_edge", "demo", "--no-browser")


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "VITALWIRE_DATA"}


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.timeout(360)
def test_a_bad_minute_and_a_half_loses_nothing_misses_nothing_and_improves_a_model(tmp_path):
    out = tmp_path / "out.json"
    # A calm minute more than by default: other tests keep the machine from training as fast as it could.
    seconds = 150
    done = subprocess.run(
        [*DEMO, "--seconds", str(seconds), "--json", str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())

    assert report["ok"] is True
    assert report["seconds"] >= seconds
    devices = {stream["device"] for stream in report["streams"]}
    assert len(devices) >= 4
    assert all(s["lost"] == s["duplicated"] == 0 and s["stored"] == s["sent"] for s in report["streams"])
    ecg = {s["device"]: s for s in report["streams"] if s["stream"] == "ecg"}
    # 250 Hz, or the recording's 360 Hz, less what the script made the radio drop.
    for stream in ecg.values():
        assert stream["sent"] + stream["dropped_by_script"] in {seconds * 250, seconds * 360}
    assert any(stream["dropped_by_script"] for stream in ecg.values())

    assert len({episode["kind"] for episode in report["episodes"]}) >= 6
    assert all(e["raised"] and e["raised_by"] and e["latency_ms"] > 0 for e in report["episodes"])
    assert {d["kind"] for d in report["disturbances"]} == {"link_loss", "cloud_restart"}
    assert report["false_alerts"] == len(report["false_alert_list"])
    for figures in report["latency_ms"].values():
        assert 0 < figures["p50"] <= figures["p99"] <= figures["max"]
    assert report["wire_bytes_per_device_s"] > 100
    assert {"broker", "cloud", "gw-a", "gw-b", "retraining", *devices} == set(report["cpu_s"])
    assert all(used > 0 for used in report["cpu_s"].values())

    assert {update["gateway"] for update in report["models"]} == {"gw-a", "gw-b"}
    for update in report["models"]:
        assert update["after"] > update["before"] >= 1
        assert update["beats_missed_in_swap"] == 0
        assert update["patients"] > 8
        assert update["beats"] > 1000
        assert re.match(r"[1-9]\d* beats of [1-9]\d* devices of a store", update["sources"][0])
        assert "simulated patients" in update["judged_on"]
        assert update["gate"]
        assert all(check["passed"] for check in update["gate"])
        assert len(update["child_hash"]) == len(update["parent_hash"]) == 64
    assert len({update["child_hash"] for update in report["models"]}) == 1
    refused = {each["what"]: each for each in report["refused"]}
    assert set(refused) == {"degraded candidate", "tampered file"}
    assert "good enough" in refused["degraded candidate"]["reason"]
    assert (refused["tampered file"]["by"], refused["tampered file"]["reason"]) == ("gw-a", "wrong_signature")


@pytest.mark.timeout(180)
def test_where_nothing_can_be_trained_the_second_shipped_model_goes_out_and_it_says_why(tmp_path):
    """As on aarch64: the demo is told that a package is missing, and is made shorter, for it trains nothing."""
    out = tmp_path / "out.json"
    changed = (
        "from vitalwire_sim.demo import report, retraining, run\n"
        "retraining._PACKAGES = ('no_exporter',)\n"
        "retraining.BEGIN_S = 12.0\n"
        "run.NEEDED_S = report.NEEDED_S = 30.0\n"
        "from vitalwire_edge.cli import main\n"
        "main()"
    )
    flags = ["--no-browser", "--scenario", "quiet", "--seconds", "35", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", changed, "demo", *flags],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    (update,) = report["models"]
    assert (update["gateway"], update["before"], update["after"]) == ("gw-a", 1, 2)
    assert (update["patients"], update["beats"], update["gate"]) == (0, 0, [])
    assert "no_exporter missing: install vitalwire[train]" in update["why"]
    assert [each["what"] for each in report["refused"]] == ["tampered file"]


@pytest.mark.timeout(120)
def test_ctrl_c_ends_everything_cleanly(tmp_path):
    process = subprocess.Popen(
        [*DEMO, "--scenario", "quiet", "--json", str(tmp_path / "out.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )
    watchdog = threading.Timer(100, process.kill)
    watchdog.start()
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"live page: (http://\S+)", line):
                break
        else:
            pytest.fail("".join(lines))
        with urllib.request.urlopen(found[1]) as page:
            assert b"vitalwire" in page.read()
        threading.Event().wait(8)
        children = family(process)
        assert len(children) >= 4
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 0, "".join(lines) + rest
    finally:
        watchdog.cancel()
        process.kill()
        process.stdout.close()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["ok"] is True
    assert report["false_alert_list"] == []


@pytest.mark.timeout(120)
def test_a_folder_of_recordings_takes_the_place_of_the_one_that_comes_along(tmp_path, recordings):
    out = tmp_path / "out.json"
    done = subprocess.run(
        [*DEMO, "--seconds", "12", "--json", str(out), "--data", str(recordings / "mitdb")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = min((recordings / "mitdb").glob("*.hea")).name
    assert f"mitdb/{first}" in done.stdout.replace("\n", "")
    streams = json.loads(out.read_text())["streams"]
    assert next(s["sent"] for s in streams if s["device"] == "chest-1" and s["stream"] == "ecg") == 12 * 360


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--scenario", "nowhere"), "no scenario 'nowhere'"),
        (("--seconds", "1"), "--seconds"),
        (("--work-dir", "/proc"), "not empty"),
        (("--data", "/nowhere"), "no ECG below /nowhere"),
    ],
)
def test_wrong_use_exits_2_and_names_it(arguments, named):
    done = subprocess.run([*DEMO, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert named in done.stderr
