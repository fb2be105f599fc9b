"""Bluetooth wearables as a source: one thread with its own event loop, one task for each listed device."""

import asyncio
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field

import structlog
from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from vitalwire_edge.sources.backoff import Backoff
from vitalwire_edge.sources.ble.privacy import fingerprint, told
from vitalwire_edge.sources.ble.radio import RADIO_ERRORS, Radio
from vitalwire_edge.sources.ble.session import BleChannel, Session
from vitalwire_edge.sources.ble.translation import Translation
from vitalwire_edge.sources.config import BleConfig, BlePeripheral
from vitalwire_edge.sources.inbox import Closed, Inbox, Opened, SourceState

log = structlog.get_logger()

_STOP_S = 8.0


@dataclass(slots=True, eq=False)
class _Known:
    """A listed device: whether it is looked for, and where it was last seen."""

    peripheral: BlePeripheral
    translation: Translation
    backoff: Backoff
    wanted: bool = False
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    found: tuple[BLEDevice, int] | None = None

    @property
    def label(self) -> str:
        """What logs call its connection."""
        return f"ble {fingerprint(self.peripheral.address)}"


class BleSource:
    """Keeps every device that `config` lists connected, and no other."""

    def __init__(self, config: BleConfig, inbox: Inbox, *, radio: Radio | None = None) -> None:
        self._config = config
        self._inbox = inbox
        self._radio = radio or Radio(config.adapter)
        self.counters: Counter[str] = Counter()
        self.connected = 0
        self._failure: str | None = None
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="ble-source", daemon=True)
        self._started = False
        self._known: dict[str, _Known] = {}

    def start(self) -> None:
        """Begin to look for the devices. An adapter that is not there yet is a problem, not an end."""
        self._started = True
        self._thread.start()

    def stop(self) -> None:
        """Disconnect everything."""
        self._stopping.set()
        loop, main = self._loop, self._main
        if loop is not None and main is not None:
            loop.call_soon_threadsafe(main.cancel)
        if self._started:
            self._thread.join(_STOP_S)

    def problem(self) -> str | None:
        """None while there is an adapter; a device that is out of reach is no problem of the source."""
        if self._started and not self._stopping.is_set() and not self._thread.is_alive():
            return self._failure or "the Bluetooth source ended"
        return self._failure

    def state(self) -> SourceState:
        """How it stands."""
        where = ", ".join(f"{p.device} ({fingerprint(p.address)})" for p in self._config.devices)
        return SourceState("ble", where, self.connected, self.problem(), dict(self.counters))

    def _run(self) -> None:
        try:
            asyncio.run(self._supervise())
        except Exception as error:  # noqa: BLE001 - told without a traceback, which tells addresses
            log.error("ble_source_failed", reason=told(error, ""))  # noqa: TRY400
            self._failure = f"the Bluetooth source failed: {type(error).__name__}"

    async def _supervise(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        if self._stopping.is_set():
            return
        # A number that the process before is unlikely to have had: the sample counters start from 0 again.
        boot = secrets.randbelow(256)
        self._known = {
            p.address.lower(): _Known(
                p,
                Translation(p.device, boot),
                Backoff(first_s=self._config.retry_first_s, most_s=self._config.retry_max_s),
            )
            for p in self._config.devices
        }
        looking = asyncio.Event()
        quiet = asyncio.Lock()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look(looking, quiet))
                for known in self._known.values():
                    tasks.create_task(self._keep(known, looking, quiet))
        except asyncio.CancelledError:
            log.info("ble_source_stopped")

    async def _look(self, looking: asyncio.Event, quiet: asyncio.Lock) -> None:
        """Scan while a device is missing. Never while one is being connected: many adapters cannot do both."""
        backoff = Backoff(first_s=self._config.retry_first_s, most_s=self._config.retry_max_s)
        while True:
            await looking.wait()
            try:
                async with quiet:
                    await self._scan()
            except RADIO_ERRORS as error:
                problem = self._radio.problem_of(error)
                if problem != self._failure:
                    log.warning("ble_adapter_failed", reason=problem)
                self._failure = problem
                self.counters["adapter_failures"] += 1
                await asyncio.sleep(backoff.failed())
                continue
            self._failure = None
            backoff.worked()
            if any(known.wanted for known in self._known.values()):
                await asyncio.sleep(self._config.pause_s)
            else:
                looking.clear()

    async def _scan(self) -> None:
        enough = asyncio.Event()

        def detected(device: BLEDevice, advertisement: AdvertisementData) -> None:
            known = self._known.get(device.address.lower())
            if known is not None and known.wanted:
                known.found = device, advertisement.rssi
                known.wanted = False
                known.seen.set()
                enough.set()

        adapter = self._radio.adapter
        scanner = BleakScanner(
            detected,
            backend=self._radio.scanner,
            bluez={} if adapter is None else {"adapter": adapter},
        )
        await scanner.start()
        try:
            async with asyncio.timeout(self._config.scan_s):
                await enough.wait()
        except TimeoutError:
            self.counters["scans_in_vain"] += 1
        finally:
            await scanner.stop()

    async def _keep(self, known: _Known, looking: asyncio.Event, quiet: asyncio.Lock) -> None:
        """Keep one device connected, whatever happens to the others."""
        while True:
            known.seen.clear()
            known.wanted = True
            looking.set()
            await known.seen.wait()
            steady = False
            try:
                steady = await self._converse(known, quiet)
            except RADIO_ERRORS as error:
                self.counters["connect_failures"] += 1
                reason = told(error, known.peripheral.address)
                log.warning("ble_connection_failed", channel=known.label, reason=reason)
            except Exception as error:  # noqa: BLE001 - told without a traceback, which tells addresses
                self.counters["failures"] += 1
                reason = told(error, known.peripheral.address)
                log.error("ble_device_failed", channel=known.label, reason=reason)  # noqa: TRY400
            if steady:
                known.backoff.worked()
            await asyncio.sleep(known.backoff.failed())

    async def _converse(self, known: _Known, quiet: asyncio.Lock) -> bool:
        """One connection from its beginning to its end. Whether it was ended by neither an error nor the gateway."""
        assert known.found is not None
        device, rssi_dbm = known.found
        channel = BleChannel(known.label, asyncio.get_running_loop())
        session = Session(
            known.peripheral, known.translation, channel, self._inbox, self._config, self.counters
        )
        was_open = False

        def opened() -> None:
            nonlocal was_open
            was_open = True
            quiet.release()
            self.connected += 1
            self.counters["connects"] += 1
            self._inbox.put(Opened(channel))

        await quiet.acquire()
        try:
            await session.run(device, rssi_dbm, self._radio, opened)
        finally:
            if was_open:
                self.connected -= 1
                channel.end("failed")
                self._inbox.put(Closed(channel, channel.reason))
            else:
                quiet.release()
        return channel.reason == "closed by the wearable"
