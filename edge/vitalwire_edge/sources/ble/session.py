"""One connection to one peripheral: subscribe to what it offers, translate what it says, notice when it goes."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.uuids import normalize_uuid_16

from vitalwire_edge.sources.ble import heart_rate, oximeter, polar, spot
from vitalwire_edge.sources.ble.privacy import told
from vitalwire_edge.sources.ble.radio import RADIO_ERRORS, Radio
from vitalwire_edge.sources.ble.translation import Translation
from vitalwire_edge.sources.ble.values import BleDataError, Fields
from vitalwire_edge.sources.config import BleConfig, BlePeripheral
from vitalwire_edge.sources.inbox import Arrived, Inbox
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Frame

log = structlog.get_logger()

HEART_RATE: Final = normalize_uuid_16(0x2A37)
SENSOR_LOCATION: Final = normalize_uuid_16(0x2A38)
PLX_CONTINUOUS: Final = normalize_uuid_16(0x2A5F)
PLX_SPOT: Final = normalize_uuid_16(0x2A5E)
TEMPERATURE: Final = normalize_uuid_16(0x2A1C)
PRESSURE: Final = normalize_uuid_16(0x2A35)
BATTERY: Final = normalize_uuid_16(0x2A19)
DATE_TIME: Final = normalize_uuid_16(0x2A08)

_STEADY: Final = (HEART_RATE, PLX_CONTINUOUS)
_SPOT: Final = (PLX_SPOT, TEMPERATURE, PRESSURE)
_ALIVE_S: Final = 5.0
_BATTERY_S: Final = 600.0
_LEAVE_S: Final = 3.0
_ANSWER_S: Final = 5.0


class BleChannel:
    """The way in of one connection."""

    def __init__(self, label: str, loop: asyncio.AbstractEventLoop) -> None:
        self.label = label
        self.ended = asyncio.Event()
        self.reason = "closed by the wearable"
        self._loop = loop

    def close(self) -> None:
        """Ask the source's thread to end this connection."""
        self._loop.call_soon_threadsafe(self.end, "refused by the gateway")

    def end(self, reason: str) -> None:
        """End it, on the source's own thread."""
        if not self.ended.is_set():
            self.reason = reason
            self.ended.set()


class Session:
    """A connection of `peripheral`; `run` returns when it has ended. `counters` are the source's."""

    def __init__(
        self,
        peripheral: BlePeripheral,
        translation: Translation,
        channel: BleChannel,
        inbox: Inbox,
        config: BleConfig,
        counters: Counter[str],
    ) -> None:
        self._peripheral = peripheral
        self._translation = translation
        self._channel = channel
        self._inbox = inbox
        self._config = config
        self._counters = counters
        self._rate_code = Code.HEART_RATE
        self._steady = False
        self._heard_s = time.monotonic()
        self._garbage = 0
        self._control: asyncio.Queue[bytes] = asyncio.Queue(4)

    async def run(self, device: BLEDevice, rssi_dbm: int, radio: Radio, opened: Callable[[], None]) -> None:
        """Connect and stay until it ends. `opened` is called once it is connected. Raises `RADIO_ERRORS`."""
        client = BleakClient(
            device,
            lambda _client: self._channel.end("closed by the wearable"),
            timeout=self._config.connect_timeout_s,
            backend=radio.client,
            bluez={} if radio.adapter is None else {"adapter": radio.adapter},
        )
        try:
            async with asyncio.timeout(self._config.connect_timeout_s + _ANSWER_S):
                await client.connect()
        except (*RADIO_ERRORS, asyncio.CancelledError):
            await self._release(client)
            raise
        try:
            opened()
            offered = {c.uuid for c in client.services.characteristics.values()}
            await self._begin(client, offered, rssi_dbm)
            await self._stay(client, offered)
        except asyncio.CancelledError:
            self._channel.end("gateway stopping")
            raise
        except RADIO_ERRORS:
            self._channel.end("connection lost")
            raise
        finally:
            await self._leave(client)

    async def _begin(self, client: BleakClient, offered: set[str], rssi_dbm: int) -> None:
        ecg = {polar.CONTROL, polar.DATA} <= offered
        self._steady = ecg or any(uuid in offered for uuid in _STEADY)
        self._say(self._translation.hello(time.monotonic_ns(), ecg=ecg, rssi_dbm=rssi_dbm))
        if SENSOR_LOCATION in offered:
            await self._read(client, SENSOR_LOCATION, self._location)
        if DATE_TIME in offered:
            await self._read(client, DATE_TIME, self._clock)
        handlers: dict[str, Callable[[int, bytes], Frame | None]] = {
            HEART_RATE: self._heart_rate,
            PLX_CONTINUOUS: self._oximeter,
            PLX_SPOT: self._oximeter_spot,
            TEMPERATURE: self._temperature,
            PRESSURE: self._pressure,
        }
        wanted = [uuid for uuid in handlers if uuid in offered]
        if not wanted and not ecg:
            self._counters["nothing_to_read"] += 1
            log.warning("ble_nothing_to_read", channel=self._channel.label, device=self._peripheral.device)
            self._channel.end("offers no service that is known here")
            return
        for uuid in wanted:
            await client.start_notify(uuid, partial(self._notified, handlers[uuid]))
        if ecg:
            await self._start_ecg(client)

    async def _start_ecg(self, client: BleakClient) -> None:
        await client.start_notify(polar.CONTROL, lambda _sender, data: self._answered(bytes(data)))
        await client.start_notify(polar.DATA, partial(self._notified, self._ecg))
        await client.write_gatt_char(polar.CONTROL, polar.START_ECG, response=True)
        try:
            answer = await asyncio.wait_for(self._control.get(), _ANSWER_S)
            refused = polar.refusal(answer)
        except (TimeoutError, BleDataError) as error:
            refused = str(error) or "no answer"
        if refused is not None:
            self._counters["ecg_refused"] += 1
            log.warning("ble_ecg_refused", channel=self._channel.label, reason=refused)
            self._channel.end(f"ECG refused: {refused}")

    async def _stay(self, client: BleakClient, offered: set[str]) -> None:
        next_battery_s = 0.0
        while not self._channel.ended.is_set():
            now_s = time.monotonic()
            if BATTERY in offered and now_s >= next_battery_s:
                next_battery_s = now_s + _BATTERY_S
                await self._read(client, BATTERY, self._battery)
            if not self._steady:
                self._say(self._translation.alive(time.monotonic_ns()))
            elif now_s - self._heard_s > self._config.idle_close_s:
                self._channel.end("silent")
            try:
                await asyncio.wait_for(self._channel.ended.wait(), min(_ALIVE_S, self._config.idle_close_s))
            except TimeoutError:
                continue

    async def _leave(self, client: BleakClient) -> None:
        if not self._steady:
            self._say(self._translation.goodbye(time.monotonic_ns()))
        await self._release(client)

    async def _release(self, client: BleakClient) -> None:
        """Let go of the peripheral; what fails now is worth a count."""
        try:
            async with asyncio.timeout(_LEAVE_S):
                await client.disconnect()
        except RADIO_ERRORS as error:
            self._counters["disconnect_failures"] += 1
            reason = told(error, self._peripheral.address)
            log.debug("ble_disconnect_failed", channel=self._channel.label, reason=reason)

    async def _read(self, client: BleakClient, uuid: str, use: Callable[[int, bytes], Frame | None]) -> None:
        """Read what is good to know; a device that does not let us can still measure."""
        try:
            data = await client.read_gatt_char(uuid)
        except RADIO_ERRORS as error:
            self._counters["read_failures"] += 1
            reason = told(error, self._peripheral.address)
            log.info("ble_read_failed", channel=self._channel.label, characteristic=uuid, reason=reason)
        else:
            self._notified(use, None, data)

    def _notified(self, use: Callable[[int, bytes], Frame | None], _sender: object, data: bytearray) -> None:
        """Something came. Whatever it is, it can cost this connection and nothing else."""
        now_ns = time.monotonic_ns()
        try:
            frame = use(now_ns, bytes(data))
        except BleDataError as error:
            self._garbage += 1
            self._counters["garbage"] += 1
            if self._garbage == 1:
                log.warning("ble_garbage", channel=self._channel.label, reason=str(error))
        except Exception as error:  # noqa: BLE001 - told without a traceback, which tells addresses
            self._counters["failures"] += 1
            reason = told(error, self._peripheral.address)
            log.error("ble_failed", channel=self._channel.label, reason=reason)  # noqa: TRY400
            self._channel.end("failed")
        else:
            self._heard_s = now_ns * 1e-9
            if frame is not None:
                self._say(frame)

    def _say(self, *frames: Frame) -> None:
        if self._inbox.has_room:
            self._inbox.put(Arrived(self._channel, time.monotonic_ns(), frames))
        else:
            # A radio cannot be told to wait as TCP can.
            self._counters["inbox_full"] += 1

    def _answered(self, data: bytes) -> None:
        if not self._control.full():
            self._control.put_nowait(data)

    def _heart_rate(self, now_ns: int, data: bytes) -> Frame:
        measurement = heart_rate.heart_rate_measurement(data)
        return self._translation.heart_rate(now_ns, measurement, self._rate_code)

    def _oximeter(self, now_ns: int, data: bytes) -> Frame:
        return self._translation.readings(now_ns, oximeter.continuous_measurement(data).readings())

    def _oximeter_spot(self, now_ns: int, data: bytes) -> Frame | None:
        measurement = oximeter.spot_check_measurement(data)
        if measurement.stored:
            # Of another time, kept in the device: the present is not what it says.
            self._counters["old_measurements"] += 1
            return None
        return self._spot(now_ns, spot.SpotMeasurement(measurement.readings(), measurement.taken))

    def _temperature(self, now_ns: int, data: bytes) -> Frame | None:
        return self._spot(now_ns, spot.temperature_measurement(data))

    def _pressure(self, now_ns: int, data: bytes) -> Frame | None:
        measurement = spot.pressure_measurement(data)
        if self._peripheral.user is not None and measurement.user != self._peripheral.user:
            self._counters["other_user"] += 1
            return None
        return self._spot(now_ns, measurement)

    def _spot(self, now_ns: int, measurement: spot.SpotMeasurement) -> Frame | None:
        frame = self._translation.spot(now_ns, measurement.readings, measurement.taken)
        if frame is None:
            self._counters["old_measurements"] += 1
        return frame

    def _battery(self, now_ns: int, data: bytes) -> Frame:
        return self._translation.battery(now_ns, heart_rate.battery_percent(data))

    def _location(self, _now_ns: int, data: bytes) -> None:
        self._rate_code = heart_rate.rate_code(data)

    def _clock(self, now_ns: int, data: bytes) -> None:
        told: datetime | None = Fields(data, "date time").date_time()
        if told is not None:
            self._translation.device_time(now_ns, told)

    def _ecg(self, now_ns: int, data: bytes) -> Frame | None:
        block = polar.ecg_block(data)
        return None if block is None else self._translation.ecg(now_ns, block)


def known_services(uuids: Iterable[str]) -> list[str]:
    """Names of the services among `uuids` that this gateway reads."""
    names = {
        normalize_uuid_16(0x180D): "heart rate",
        normalize_uuid_16(0x1822): "pulse oximeter",
        normalize_uuid_16(0x1809): "thermometer",
        normalize_uuid_16(0x1810): "blood pressure",
        normalize_uuid_16(0x180F): "battery",
        polar.SERVICE: "Polar ECG",
    }
    return [names[uuid] for uuid in sorted(u.lower() for u in uuids) if uuid in names]
