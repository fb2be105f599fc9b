"""The Bluetooth adapter behind `bleak`: what finds and connects, and what its failures mean."""

from dataclasses import dataclass
from typing import Final

from bleak.backends.client import BaseBleakClient
from bleak.backends.scanner import BaseBleakScanner
from bleak.exc import BleakBluetoothNotAvailableError, BleakError

RADIO_ERRORS: Final = (BleakError, OSError, EOFError, TimeoutError)
"""What `bleak` and the bus below it raise when something outside this program is not as it should be."""

NO_ADAPTER: Final = (
    "no Bluetooth adapter answers: is one plugged in, is bluetoothd running (systemctl start bluetooth), is it "
    "switched on (bluetoothctl power on; rfkill unblock bluetooth), may this user use it?"
)


@dataclass(frozen=True, slots=True)
class Radio:
    """Which adapter, and which implementation of it (None is the platform's own)."""

    adapter: str | None = None
    scanner: type[BaseBleakScanner] | None = None
    client: type[BaseBleakClient] | None = None

    def problem_of(self, error: Exception) -> str:
        """Why nothing can be found, and what to do."""
        if isinstance(error, FileNotFoundError | ConnectionRefusedError | BleakBluetoothNotAvailableError):
            return NO_ADAPTER
        named = "" if self.adapter is None else f" {self.adapter}"
        return f"the Bluetooth adapter{named} failed ({error}): {NO_ADAPTER}"
