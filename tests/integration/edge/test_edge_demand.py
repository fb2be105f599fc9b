"""A gateway that keeps its waveform sends it when the cloud's command says so, and nobody else's."""

import json
import time

from gateway_parts import GATEWAY, KEY, SITE, CloudDouble, FrameMaker, WearableSocket, mosquitto, wait_for
from test_edge_agent import EdgeProcess
from typer.testing import CliRunner

from vitalwire_cloud.commands import app
from vitalwire_edge.wire.messages import Command


def test_waveform_on_demand(tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / f"{GATEWAY}.key").write_text(KEY.hex())
    with mosquitto(tmp_path) as port:
        cloud = CloudDouble(port)
        edge = EdgeProcess(tmp_path, port, "clock.trust_system=true", "telemetry.waveform=demand")
        wearable = WearableSocket(("127.0.0.1", edge.port))
        try:
            maker = FrameMaker()
            wearable.send(maker.hello())
            for _ in range(40):
                wearable.send(maker.wave(50))
            wait_for(lambda: cloud.messages["chest-1", "beat"], what="beats")
            assert cloud.samples("chest-1") == 0
            now = time.time_ns()
            for device, seconds in (("nobody", 5.0), ("chest-1", 1e9), ("chest-1", None)):
                cloud.command(
                    Command(
                        command="waveform", at_ns=now, expires_ns=now + 10**11, device=device, seconds=seconds
                    )
                )
            wait_for(lambda: counted(edge).get("commands_refused") == 3)
            assert cloud.samples("chest-1") == 0
            arguments = [
                "--site",
                SITE,
                "--seconds",
                "30",
                "--set",
                f"mqtt.port={port}",
                "--set",
                f"keys_dir={keys}",
            ]
            done = CliRunner().invoke(app, ["waveform", GATEWAY, "chest-1", *arguments])
            assert done.exit_code == 0, done.output
            wait_for(lambda: cloud.samples("chest-1") >= 1500, what="what waited")
            for _ in range(10):
                wearable.send(maker.wave(50))
            wait_for(lambda: cloud.samples("chest-1") >= 2000, what="what came after")
            told = CliRunner().invoke(app, ["waveform", "gw9", "chest-1", *arguments])
            assert (told.exit_code, "no key of gw9" in told.output) == (1, True)
            assert edge.end() == 0
            assert cloud.samples("chest-1") == maker.sample
            report = json.loads(edge.counters.read_text())
            assert report["devices"]["chest-1"]["withheld"] == 0
            assert report["counters"]["waveforms_demanded"] == 1
        finally:
            wearable.close()
            edge.end(9)
            cloud.close()


def counted(edge):
    return json.loads(edge.counters.read_text())["counters"] if edge.counters.exists() else {}
