"""What staff say of a patient at the bedside: consciousness, supplemental oxygen, the SpO2 scale of NEWS2.

The last word counts until it expires. It is kept with who said it and of which wearable's wearer; a gateway hears
neither.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import msgspec

from vitalwire_edge.wire.messages import Consciousness, Entered, Paced, StaffState

What = Literal["consciousness", "oxygen", "spo2_scale"]
WITHDRAW: Final = "withdraw"
SayConsciousness = Literal[Consciousness, "withdraw"]
SayOxygen = Literal["yes", "no", "withdraw"]
SaySpo2Scale = Literal["1", "2", "withdraw"]
VALUES: Final[Mapping[What, tuple[str, ...]]] = {
    "consciousness": get_args(Consciousness),
    "oxygen": ("yes", "no"),
    "spo2_scale": ("1", "2"),
}
MAX_HOURS: Final = 168.0
_NS_PER_H: Final = 3_600_000_000_000


class EntryError(ValueError):
    """What was said cannot be kept; the message names the value and the fix."""


class StaffEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that `author` saw at `entered_ns` of the wearer of `device`; without a `value` it is withdrawn."""

    patient: str
    device: str
    what: What
    value: str | None
    author: str
    entered_ns: int
    expires_ns: int
    recorded_ns: int


class Bedside(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the wearer of `device`: the last entry of each kind, those that are too old among them."""

    device: str
    patient: str
    paced: Paced
    entries: tuple[StaffEntry, ...]

    def state(self, *, after_ns: int = 0) -> StaffState:
        """What a gateway hears of this, from entries that were made after `after_ns`."""
        said: dict[What, Entered[Any]] = {
            each.what: Entered(
                value=_on_wire(each.what, each.value), entered_ns=each.entered_ns, expires_ns=each.expires_ns
            )
            for each in self.entries
            if each.value is not None and each.recorded_ns > after_ns
        }
        return StaffState(
            consciousness=said.get("consciousness"),
            oxygen=said.get("oxygen"),
            spo2_scale=said.get("spo2_scale"),
            paced=self.paced,
        )


def said(
    consciousness: SayConsciousness | None, oxygen: SayOxygen | None, spo2_scale: SaySpo2Scale | None
) -> dict[What, str | None]:
    """What was given (the others are None), as it is kept: None for what is withdrawn."""
    given: dict[What, str | None] = {
        "consciousness": consciousness,
        "oxygen": oxygen,
        "spo2_scale": spo2_scale,
    }
    return {what: None if value == WITHDRAW else value for what, value in given.items() if value is not None}


def expiry_ns(entered_ns: int, hours: float) -> int:
    """Until when something counts that was seen at `entered_ns`. Raises `EntryError`."""
    if not 0 < hours <= MAX_HOURS:
        raise EntryError(
            f"{hours:g} hours: let an entry count for more than 0 and at most {MAX_HOURS:g} hours"
        )
    return entered_ns + round(hours * _NS_PER_H)


def checked(words: Mapping[What, str | None], *, entered_ns: int, expires_ns: int, now_ns: int) -> None:
    """Raise `EntryError` where that cannot be said at `now_ns`."""
    if not words:
        raise EntryError("nothing was said: give consciousness, oxygen or spo2_scale")
    for what, value in words.items():
        if value is not None and value not in VALUES[what]:
            raise EntryError(f"{what} {value!r}: give {', '.join(VALUES[what])}")
    if entered_ns > now_ns:
        raise EntryError(
            "what was seen is in the future: give the moment at which it was seen, with its zone"
        )
    if expires_ns <= now_ns:
        hours = (now_ns - entered_ns) / _NS_PER_H
        raise EntryError(f"what was seen {hours:.1f} hours ago counts no more: look at the patient again")


def _on_wire(what: What, value: str) -> Any:
    match what:
        case "oxygen":
            return value == "yes"
        case "spo2_scale":
            return int(value)
        case _:
            return value
