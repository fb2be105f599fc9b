"""A Bluetooth adapter that exists only here: backends of `bleak`, after its published base classes, over a small world.

`bleak`'s own scanner and client run on top, so what the gateway calls is what it calls on a real adapter.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakError
from bleak.uuids import normalize_uuid_16

from vitalwire_edge.sources.ble.radio import Radio


@dataclass
class Peripheral:
    """A device: its services as {service: {characteristic: value to read}}."""

    address: str
    services: dict[str, dict[str, bytes]]
    advertises: bool = True
    refuses: int = 0
    answers: dict[bytes, bytes] = field(default_factory=dict)
    written: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    client: Any = None

    def notify(self, uuid: str, data: bytes) -> None:
        """Send a notification; any thread."""
        client = self.client
        client.loop.call_soon_threadsafe(lambda: client.subscribed[uuid](bytearray(data)))

    def subscribed(self, uuid: str) -> bool:
        return self.client is not None and uuid in self.client.subscribed

    def vanish(self) -> None:
        """Break the connection; any thread."""
        self.client.loop.call_soon_threadsafe(self.client.lost)


class World:
    """What is in reach of the adapter."""

    def __init__(self, *peripherals: Peripheral) -> None:
        self.peripherals = {p.address: p for p in peripherals}
        self.present = True
        self.scanning = 0
        self.scanned = 0
        self.connecting_while_scanning = 0
        self.asked: list[str] = []

    def radio(self) -> Radio:
        return Radio(
            None,
            type("FakeScanner", (Scanner,), {"world": self}),
            type("FakeClient", (Client,), {"world": self}),
        )


class Scanner(BaseBleakScanner):
    world: World

    def __init__(self, callback: Any, service_uuids: Any, _mode: Any, **_kwargs: Any) -> None:
        super().__init__(callback, service_uuids)

    async def start(self) -> None:
        if not self.world.present:
            raise BleakBluetoothNotAvailableError("none", BleakBluetoothNotAvailableReason.NO_BLUETOOTH)
        self.seen_devices = {}
        self.world.scanning += 1
        self.world.scanned += 1
        self._task = asyncio.create_task(self._tell())

    async def stop(self) -> None:
        self.world.scanning -= 1
        self._task.cancel()

    async def _tell(self) -> None:
        while True:
            for p in list(self.world.peripherals.values()):
                if p.advertises and p.client is None:
                    uuids = list(p.services)
                    told = AdvertisementData("Somebody's strap", {}, {}, uuids, None, -61, ())
                    device = self.create_or_update_device(
                        p.address, p.address, "Somebody's strap", None, told
                    )
                    self.call_detection_callbacks(device, told)
            await asyncio.sleep(0.01)


class Client(BaseBleakClient):
    world: World

    def __init__(self, device: BLEDevice, **kwargs: Any) -> None:
        super().__init__(
            device, disconnected_callback=kwargs["disconnected_callback"], timeout=kwargs["timeout"]
        )
        self.peripheral = self.world.peripherals[self.address]
        self.subscribed: dict[str, Any] = {}
        self.loop = asyncio.get_running_loop()

    @property
    def mtu_size(self) -> int:
        return 232

    @property
    def is_connected(self) -> bool:
        return self.peripheral.client is self

    async def connect(self, _pair: bool, **_kwargs: Any) -> None:
        self.world.asked.append(self.address)
        self.world.connecting_while_scanning += self.world.scanning
        await asyncio.sleep(0)
        if self.peripheral.refuses:
            self.peripheral.refuses -= 1
            raise BleakError(f"failed to connect to /org/bluez/hci0/dev_{self.address.replace(':', '_')}")
        collection = BleakGATTServiceCollection()
        handle = 1
        for uuid, characteristics in self.peripheral.services.items():
            service = BleakGATTService(None, handle, uuid)
            collection.add_service(service)
            for name in characteristics:
                handle += 1
                collection.add_characteristic(
                    BleakGATTCharacteristic(
                        None, handle, name, ["read", "notify", "write"], lambda: 20, service
                    )
                )
            handle += 1
        self.services = collection
        self.peripheral.client = self
        self.peripheral.connections += 1

    def lost(self) -> None:
        if self.peripheral.client is self:
            self.peripheral.client = None
            if self._disconnected_callback is not None:
                self._disconnected_callback()

    async def disconnect(self) -> None:
        self.lost()

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    async def unpair(self) -> None:
        raise NotImplementedError

    async def read_gatt_char(self, characteristic: Any, **_kwargs: Any) -> bytearray:
        value = self.peripheral.services[characteristic.service_uuid][characteristic.uuid]
        if not value:
            raise BleakError("not permitted")
        return bytearray(value)

    async def read_gatt_descriptor(self, descriptor: Any, **_kwargs: Any) -> bytearray:
        raise NotImplementedError

    async def write_gatt_char(self, characteristic: Any, data: Any, _response: bool) -> None:
        self.peripheral.written.append((characteristic.uuid, bytes(data)))
        answer = self.peripheral.answers.get(bytes(data))
        if answer is not None:
            self.subscribed[characteristic.uuid](bytearray(answer))

    async def write_gatt_descriptor(self, descriptor: Any, data: Any) -> None:
        raise NotImplementedError

    async def start_notify(self, characteristic: Any, callback: Any, **_kwargs: Any) -> None:
        if not self.is_connected:
            raise BleakError("not connected")
        self.subscribed[characteristic.uuid] = callback

    async def stop_notify(self, characteristic: Any) -> None:
        self.subscribed.pop(characteristic.uuid, None)


def short(number: int) -> str:
    return normalize_uuid_16(number)
