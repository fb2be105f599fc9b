"""What staff say of whoever wears a device, kept over a restart of the gateway.

One small file for all devices. It says nothing of who the patient is, and goes when the device changes hands.
"""

from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.process.durable import write_durably
from vitalwire_edge.wire.messages import StaffState

log = structlog.get_logger()

FORMAT: Final = 1
_MOST_DEVICES: Final = 1024
_NOTHING: Final = StaffState()


class _Word(msgspec.Struct, frozen=True, kw_only=True):
    """What the order with this number said."""

    order: int
    staff: StaffState


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The last word on each device."""

    format: int = FORMAT
    devices: dict[str, _Word] = {}


class StaffBook:
    """The staff's last word on every device, in `folder`. One thread.

    A file that is damaged or of another format is nobody's word: the cloud says all of it again within the hour.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "staff.json"
        self._words = self._load()

    def said(self, device: str) -> StaffState:
        """What staff say of the wearer of `device`."""
        word = self._words.get(device)
        return _NOTHING if word is None else word.staff

    def keep(self, device: str, order: int, staff: StaffState) -> bool:
        """Take `staff` in place of what was said before; it is on disk when this returns. Raises `OSError`.

        False where that word, or a later one, is kept already.
        """
        known = self._words.get(device)
        if known is not None and order <= known.order:
            return False
        words = self._words | {device: _Word(order=order, staff=staff)}
        if len(words) > _MOST_DEVICES:
            oldest = min(words, key=lambda name: words[name].order)
            log.warning("staff_entries_dropped", device=oldest, devices=len(words), most=_MOST_DEVICES)
            del words[oldest]
        self._write(words)
        self._words = words
        return True

    def forget(self, device: str, *, before: int) -> None:
        """Drop what orders lower than `before` said of `device`; it counts no more even where this raises `OSError`."""
        known = self._words.get(device)
        if known is not None and known.order < before:
            self._words = {name: word for name, word in self._words.items() if name != device}
        self._write(self._words)

    def _write(self, words: dict[str, _Word]) -> None:
        if not words and not self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self._path, msgspec.json.encode(_Kept(devices=words)))

    def _load(self) -> dict[str, _Word]:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log.warning(
                "staff_entries_unreadable", path=str(self._path), reason=str(error), effect="not known"
            )
            return {}
        if kept.format != FORMAT:
            log.warning(
                "staff_entries_not_ours", path=str(self._path), format=kept.format, effect="not known"
            )
            return {}
        return kept.devices
