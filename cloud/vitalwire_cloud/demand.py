"""`vitalwire cloud waveform`: ask a gateway that withholds waveform for that of one wearable, for a while."""

import os
import threading
import time
from pathlib import Path
from typing import Annotated, Final

import paho.mqtt.client as paho
import typer
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from vitalwire_cloud.config import ENV_PREFIX, CloudConfig, MqttConfig
from vitalwire_cloud.ingest.credentials import show_credentials
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_edge.process import config as layers
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.wire.messages import MAX_DEMAND_S, Command, encode_json, seal
from vitalwire_edge.wire.topics import TopicError, gateway_topic, identifier

_LIFE_S: Final = 60
_ANSWER_S: Final = 10.0


class DemandError(Exception):
    """The demand did not reach the broker; the message says why and what to do."""


def waveform(
    gateway: Annotated[str, typer.Argument(help="The gateway.")],
    device: Annotated[str, typer.Argument(help="The wearable.")],
    *,
    seconds: Annotated[float, typer.Option(min=1, max=MAX_DEMAND_S, help="How long from now on.")] = 60.0,
    site: Annotated[
        str | None, typer.Option(help="The gateway's site; the service's own by default.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of the service.", metavar="FILE")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One setting.", metavar="KEY=VALUE")
    ] = None,
) -> None:
    """Ask for the waveform of one wearable of a gateway that sends it only on demand, or around events.

    Example: vitalwire cloud waveform gw1 chest-1 --seconds 120 --site home --config cloud.toml
    """
    loaded = layers.load(
        CloudConfig, path=config, env_prefix=ENV_PREFIX, flags=layers.pairs_of(settings or [])
    )
    place = site or loaded.site
    try:
        if place is None:
            raise ConfigError("--site is not given and the configuration names none")
        for name, what in ((place, "site"), (gateway, "gateway"), (device, "device")):
            identifier(name, what)
    except TopicError as error:
        raise ConfigError(str(error)) from error
    key = KeyRing(loaded.keys).get(gateway)
    try:
        if key is None:
            raise DemandError(f"no key of {gateway} in {loaded.keys}: put {gateway}.key there")
        topic = gateway_topic(place, gateway, "cmd")
        now_ns = time.time_ns()
        command = Command(
            command="waveform",
            at_ns=now_ns,
            expires_ns=now_ns + _LIFE_S * 1_000_000_000,
            device=device,
            seconds=seconds,
        )
        publish_once(loaded.mqtt, topic, seal(key, topic, encode_json(command)), expiry_s=_LIFE_S)
    except DemandError as error:
        typer.echo(f"vitalwire cloud: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"asked {gateway} for the waveform of {device} of the next {seconds:.0f} s")


def publish_once(config: MqttConfig, topic: str, payload: bytes, *, expiry_s: int) -> None:
    """Publish one message beside the running service. Raises `DemandError`, `ConfigError`."""
    done = threading.Event()
    answers: list[ReasonCode] = []

    def answered(
        _client: paho.Client, _data: object, _mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        answers.append(code)
        done.set()

    # A name of its own: the service's would throw it out.
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"{config.client_id}-demand-{os.getpid()}",
        protocol=paho.MQTTv5,
    )
    client.on_publish = answered
    show_credentials(client, config)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = expiry_s
    try:
        client.connect(config.host, config.port)
    except (OSError, ValueError) as error:
        raise DemandError(f"broker {config.host}:{config.port}: {error}; does it run?") from error
    client.loop_start()
    try:
        client.publish(topic, payload, qos=1, properties=properties)
        if not done.wait(_ANSWER_S):
            raise DemandError(f"broker {config.host}:{config.port} did not take the message: check the user")
    finally:
        client.disconnect()
        client.loop_stop()
    if answers[0].is_failure:
        raise DemandError(f"the broker refused {topic} ({answers[0]}): let this user write to it")
