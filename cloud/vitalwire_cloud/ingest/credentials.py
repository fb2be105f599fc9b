"""Who the service is to the broker: its user, and the files of its TLS."""

import paho.mqtt.client as paho

from vitalwire_cloud.config import MqttConfig, read_secret
from vitalwire_edge.process.config import ConfigError


def show_credentials(client: paho.Client, config: MqttConfig) -> None:
    """Have `client` say who it is when it connects. Raises `ConfigError` for files that cannot be used."""
    if config.username is not None:
        password = read_secret(config.password_file, "password file") if config.password_file else None
        client.username_pw_set(config.username, password)
    if config.ca_file is not None:
        try:
            client.tls_set(ca_certs=config.ca_file, certfile=config.cert_file, keyfile=config.key_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"mqtt.ca_file, cert_file or key_file cannot be used: {error}") from error
