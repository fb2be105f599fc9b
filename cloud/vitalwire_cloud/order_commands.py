"""`vitalwire cloud new-patient` and `orders`: have a gateway forget the patient of a wearable, and see that it did."""

import threading
import time
from contextlib import closing
from typing import Annotated

import msgspec
import typer

from vitalwire_cloud.choosing import Config, DataDir, Settings, chosen, fail
from vitalwire_cloud.orders import OrderError, open_orders
from vitalwire_cloud.orders import new_patient as order_new_patient
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.wire.topics import TopicError

_LOOK_S = 0.5


def new_patient(
    gateway: Annotated[str, typer.Argument(help="The gateway.")],
    device: Annotated[str, typer.Argument(help="The wearable.")],
    *,
    site: Annotated[
        str | None, typer.Option(help="The gateway's site; the service's own by default.")
    ] = None,
    wait_s: Annotated[float, typer.Option(min=0, help="Seconds to wait until the gateway did it.")] = 0.0,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Say that another patient wears this: the gateway forgets baseline, calibration and alarms of the one before.

    The running service tells the gateway until it is done. Ends with 1 where that took longer than --wait-s.

    Example: vitalwire cloud new-patient gw1 chest-1 --site home --data-dir ./data --wait-s 30
    """
    service = chosen(config, settings, data_dir)
    place = site or service.site
    if place is None:
        raise ConfigError("--site is not given and the configuration names none")
    try:
        number = order_new_patient(service.data, place, gateway, device)
        typer.echo(f"ordered: {place}/{gateway} forgets the patient of {device}")
        if not wait_s:
            return
        pause, until = threading.Event(), time.monotonic() + wait_s
        with closing(open_orders(service.data)) as book:
            while any(order.number == number for order in book.orders(pending=True)):
                if time.monotonic() > until:
                    fail(OrderError(f"not done within {wait_s:g} s; the service goes on telling {gateway}"))
                pause.wait(_LOOK_S)
    except TopicError as error:
        raise ConfigError(str(error)) from error
    except OrderError as error:
        fail(error)
    typer.echo("done")


def orders(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Show what gateways were told to forget, and whether they did.

    Example: vitalwire cloud orders --data-dir ./data
    """
    try:
        with closing(open_orders(chosen(config, settings, data_dir).data)) as book:
            found = book.orders()
    except OrderError as error:
        fail(error)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for order in found:
        state = "waits for the gateway" if order.done_ns is None else f"done at {order.done_ns}"
        typer.echo(f"{order.site}/{order.gateway} {order.device}: new patient, {state}")
