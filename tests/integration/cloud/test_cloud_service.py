"""The service as an operator meets it: alarms that outlive it, clean ends, and errors that say what to do."""

import os
import signal
import subprocess
import time

import pytest
from cloud_parts import COMMAND, BrokerProcess, free_port, wait_for
from raw_gateway import ecg


def test_an_alarm_reaches_staff_and_its_acknowledgement_outlives_a_kill(broker, clouds, gateways):
    cloud = clouds(broker)
    gateway = gateways(broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_alarm("a-1", "raised")
    wait_for(lambda: [a["state"] for a in cloud.alarms()] == ["active"], "the alarm on the desk")
    status, body = cloud.post("/api/v1/alarms/a-1/acknowledge", {"by": "nurse 4", "for_s": 600})
    assert status == 200, body
    cloud.kill()
    cloud.start()
    (alarm,) = cloud.alarms()
    assert (alarm["state"], alarm["acknowledged_by"]) == ("acknowledged", "nurse 4")
    gateway.send_alarm("a-1", "cleared")
    wait_for(lambda: cloud.alarms() == [], "the end of the alarm")
    assert cloud.alarms(open_only=False)[0]["cleared_ns"] is not None


def test_alarms_stored_while_the_desk_could_not_keep_them_are_replayed(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker)
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_alarm("a-1", "raised")
    assert gateway.all_confirmed(10)
    cloud.kill()
    # The desk's file is gone as if it had never been written; the store still has every message.
    for file in cloud.data.glob("desk.sqlite*"):
        file.unlink()
    cloud.start()
    assert [a["alarm_id"] for a in cloud.alarms()] == ["a-1"]


def test_a_silent_gateway_is_an_alarm_until_it_is_back_and_no_restart_raises_one(broker, clouds, gateways):
    cloud = clouds(broker, "alerts.gateway_silent_s=4", "alerts.death_grace_s=0.5")
    key = cloud.new_key()
    gateway = gateways(broker.port, key)
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(1))
    assert gateway.all_confirmed(10)
    cloud.kill()
    cloud.start()
    gateway.status()
    assert cloud.alarms() == []
    gateway.drop_connection()
    wait_for(lambda: [a["kind"] for a in cloud.alarms()] == ["gateway_silent"], "the alarm about the gateway")
    (alarm,) = cloud.alarms()
    assert (alarm["gateway"], alarm["device"], alarm["category"]) == ("gw-1", None, "technical")
    cloud.kill()
    cloud.start()
    assert [a["kind"] for a in cloud.alarms()] == ["gateway_silent"]
    back = gateways(broker.port, key, session="s-1")
    back.birth()
    wait_for(lambda: cloud.alarms() == [], "the end of the alarm")


def test_an_unacknowledged_high_alarm_escalates(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker, "alerts.escalate_after_s=1")
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_alarm("a-1", "raised")
    wait_for(lambda: "alarm_escalated" in cloud.log.read_text(), "escalation")
    assert "vitalwire_alarm_escalations_total 1.0" in cloud.get("/metrics")[1]
    assert cloud.alarms()[0]["escalated_ns"] is not None


def test_a_second_service_on_the_same_folder_is_refused(embedded_broker, clouds):
    first = clouds(embedded_broker)
    first.start()
    second = clouds(embedded_broker)
    second.start(ready=False)
    assert second.process.wait(20) == 1
    assert "one service at a time" in second.log.read_text()
    assert first.get("/readyz")[0] == 200


def test_sigterm_drains_and_leaves_nothing_behind(broker, clouds, gateways):
    cloud = clouds(broker)
    gateway = gateways(broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(50))
    assert cloud.stop() == 0
    assert cloud.stream("ecg")["samples"] >= gateway.low_water("ecg") * 250
    assert "Traceback" not in cloud.log.read_text()


def test_a_taken_web_port_is_named(embedded_broker, clouds):
    first = clouds(embedded_broker, folder="first")
    first.start()
    second = clouds(embedded_broker, folder="second")
    second.web = first.web
    second.start(ready=False)
    assert second.process.wait(20) == 1
    assert f"web port {first.web}" in second.log.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "mqtt.prot=1"], "did you mean 'mqtt.port'"),
        (["--broker", "nowhere"], "HOST:PORT"),
        (["--set", "site=Ward 3"], "site 'Ward 3'"),
        (["--web", "0.0.0.0:0"], "without a token"),
        (["--config", "/does/not/exist.toml"], "/does/not/exist.toml"),
    ],
)
def test_wrong_use_says_what_is_wrong(words, told, tmp_path):
    done = subprocess.run(
        [*COMMAND, "cloud", "run", "--data-dir", str(tmp_path), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert told in done.stderr


def test_audit_and_quarantine_without_a_store_say_so(tmp_path):
    for words in (["audit"], ["quarantine", "list"]):
        done = subprocess.run(
            [*COMMAND, "cloud", *words, "--data-dir", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert "there is no store" in done.stderr


def test_the_embedded_broker_ends_cleanly_and_takes_its_port_with_it(embedded_broker):
    embedded_broker.process.send_signal(signal.SIGTERM)
    assert embedded_broker.process.wait(10) == 0
    embedded_broker.start()
    embedded_broker.process.send_signal(signal.SIGINT)
    assert embedded_broker.process.wait(10) == 0


def test_the_embedded_broker_has_no_child_that_could_outlive_it(embedded_broker):
    pid = embedded_broker.process.pid
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    assert children.stdout.strip() == ""
    os.kill(pid, signal.SIGKILL)
    embedded_broker.process.wait()
    embedded_broker.start()


def test_a_busy_broker_port_is_named_with_its_fix(embedded_broker):
    done = subprocess.run(
        [*COMMAND, "broker", "run", "--port", str(embedded_broker.port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"port {embedded_broker.port}" in done.stderr
    assert "--port" in done.stderr


def test_the_embedded_broker_is_not_shown_to_the_network_unless_told_to():
    command = [*COMMAND, "broker", "run", "--host", "0.0.0.0", "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--insecure-expose" in done.stderr
    with subprocess.Popen([*command, "--insecure-expose"], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"broker_listening" in process.stderr.readline()
        process.terminate()
        assert process.wait(10) == 0


def test_a_message_over_64_kib_neither_kills_the_broker_nor_the_service(
    embedded_broker: BrokerProcess, clouds, gateways
):
    cloud = clouds(embedded_broker)
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    big = gateways(embedded_broker.port, gateway.key, name="gw-2")
    big.publish("v1/ward-3/gw-2/w-9/ecg", b"\x00" * 200_000)
    time.sleep(0.5)
    gateway.send_blocks(ecg(3))
    assert gateway.all_confirmed(15, resend_every_s=3)
    assert cloud.get("/readyz")[0] == 200
