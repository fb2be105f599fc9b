"""Layers override each other in order, unknown keys are errors, probes answer, a signal ends cleanly."""

import os
import signal
import urllib.error
import urllib.request

import msgspec
import pytest

from vitalwire_edge.process.config import ConfigError, load, pairs_of
from vitalwire_edge.process.health import HealthServer
from vitalwire_edge.process.shutdown import stop_on_signals


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 1883


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str = "home"
    mqtt: Mqtt = Mqtt()
    tls: Mqtt | None = None


def test_layers_in_order(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text('site = "file"\n[mqtt]\nhost = "file"\nport = 1\n')
    settings = load(
        Settings,
        path=path,
        env_prefix="VW",
        environ={"VW_MQTT__HOST": "env", "VW_MQTT__PORT": "2", "OTHER": "x"},
        flags={"mqtt.port": "3", "site": None, "tls.host": "tls"},
    )
    assert settings == Settings("file", Mqtt("env", 3), Mqtt("tls", 1883))


@pytest.mark.parametrize(
    ("text", "environ", "flags", "named"),
    [
        ("[mqtt]\nprot = 1", {}, {}, "did you mean 'mqtt.port'"),
        ("", {"VW_SIET": "x"}, {}, "VW_SIET.*did you mean 'site'"),
        ("", {}, {"nothing": 1}, "known keys"),
        ("[mqtt]\nport = 'many'", {}, {}, r"mqtt\.port"),
        ("site = ", {}, {}, "not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, environ, flags, named):
    path = tmp_path / "edge.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load(Settings, path=path, env_prefix="VW", environ=environ, flags=flags)


def test_a_missing_file_and_a_setting_without_a_value(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load(Settings, path=tmp_path / "none.toml", env_prefix="VW", environ={})
    with pytest.raises(ConfigError, match="key=value"):
        pairs_of(["mqtt.port"])


def test_probes_tell_the_reason():
    problem: list[str] = ["no broker"]
    with HealthServer(
        "127.0.0.1", 0, ready=lambda: problem[0] if problem else None, live=lambda: None
    ) as server:
        base = "http://{}:{}".format(*server.address)
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(f"{base}/readyz")
        with refused.value:
            assert refused.value.read() == b"no broker\n"
        problem.clear()
        for path in ("/healthz", "/readyz", "/metrics"):
            with urllib.request.urlopen(base + path) as answer:
                assert answer.status == 200


def test_the_first_signal_asks_and_the_second_insists():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        stop = stop_on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(1)
        with pytest.raises(SystemExit):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
