"""What is in reach of the Bluetooth adapter, for the one who lists the devices of a gateway."""

import asyncio
from dataclasses import dataclass

from bleak import BleakScanner

from vitalwire_edge.sources.ble.radio import RADIO_ERRORS, Radio
from vitalwire_edge.sources.ble.session import known_services
from vitalwire_edge.sources.inbox import SourceError


@dataclass(frozen=True, slots=True)
class Sighting:
    """A peripheral that advertises: `services` are those this gateway reads."""

    address: str
    name: str
    rssi_dbm: int
    services: tuple[str, ...]


async def sightings(radio: Radio, seconds: float) -> list[Sighting]:
    """Peripherals heard in `seconds`, the strongest first; none is connected. Raises `SourceError`."""
    scanner = BleakScanner(
        backend=radio.scanner, bluez={} if radio.adapter is None else {"adapter": radio.adapter}
    )
    try:
        async with scanner:
            await asyncio.sleep(seconds)
    except RADIO_ERRORS as error:
        raise SourceError(radio.problem_of(error)) from error
    found = [
        Sighting(
            device.address,
            told.local_name or device.name or "",
            told.rssi,
            tuple(known_services(told.service_uuids)),
        )
        for device, told in scanner.discovered_devices_and_advertisement_data.values()
    ]
    return sorted(found, key=lambda s: (not s.services, -s.rssi_dbm, s.address))
