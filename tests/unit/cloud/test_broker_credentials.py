"""Who the service is to the broker."""

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from vitalwire_cloud.config import MqttConfig
from vitalwire_cloud.ingest.credentials import show_credentials
from vitalwire_edge.process.config import ConfigError


@pytest.fixture
def client():
    return paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)


def test_a_user_shows_the_password_of_its_file(client, tmp_path):
    (tmp_path / "secret").write_text("open sesame\n")
    show_credentials(client, MqttConfig(username="cloud", password_file=str(tmp_path / "secret")))
    assert (client.username, client.password) == ("cloud", "open sesame")


def test_a_file_of_tls_that_cannot_be_used_is_named_as_such(client, tmp_path):
    (tmp_path / "ca.crt").write_text("not a certificate")
    for path in (tmp_path / "ca.crt", tmp_path / "absent.crt"):
        with pytest.raises(ConfigError, match=r"mqtt\.ca_file.*cannot be used"):
            show_credentials(client, MqttConfig(ca_file=str(path)))
