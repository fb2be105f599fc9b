"""A configuration that cannot work is refused with the key and the fix."""

import pytest

from vitalwire_edge.config import EdgeConfig, MqttConfig, SpoolConfig, TelemetryConfig, check, read_key
from vitalwire_edge.process.config import ConfigError, load


def test_defaults_and_layers(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(
        'gateway = "gw9"\nkey_file = "k"\n'
        "[mqtt.tls]\nenabled = true\n[alarms.rate]\nlow = 45.0\n"
        '[announce]\ncommand = ["a", "b"]\n'
    )
    config = load(
        EdgeConfig, path=path, env_prefix="VITALWIRE_EDGE", environ={"VITALWIRE_EDGE_MQTT__PORT": "8883"}
    )
    check(config)
    assert (config.gateway, config.mqtt.port, config.mqtt.tls.enabled) == ("gw9", 8883, True)
    assert (config.alarms.rate.low, config.announce.command) == (45.0, ("a", "b"))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (EdgeConfig(key_file="k", site="Ward 3"), "Ward 3"),
        (EdgeConfig(key_file="k", gateway=""), "gateway"),
        (EdgeConfig(key_file="k", telemetry=TelemetryConfig(block_s=5)), "block_s"),
        (EdgeConfig(key_file="k", spool=SpoolConfig(max_bytes=10)), "max_bytes"),
        (EdgeConfig(key_file="k", mqtt=MqttConfig(keepalive_s=0)), "keepalive_s"),
        (EdgeConfig(), "key_file"),
    ],
)
def test_what_cannot_work_is_named(config, named):
    with pytest.raises(ConfigError, match=named):
        check(config)


@pytest.mark.parametrize(
    ("text", "named"), [("zz", "hexadecimal"), ("ab" * 31, "31 bytes"), (None, "No such file")]
)
def test_a_key_that_is_none(tmp_path, text, named):
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        read_key(path)


def test_a_key(tmp_path):
    (tmp_path / "key").write_text("0f" * 32 + "\n")
    assert read_key(tmp_path / "key") == b"\x0f" * 32
