"""Which wearables' NEWS2 a status message tells, so that it stays within what a message may hold."""

from typing import Final

import msgspec

from vitalwire_edge.wire.messages import MAX_MESSAGE_BYTES, DeviceStatus, GatewayStatus, encode_json

_KEY_BYTES: Final = len(',"news2":')


class ScoreTurns:
    """All scores where they fit; else as many as fit, in turns, and the others are not told this time. One thread.

    That there is no score is always told.
    """

    def __init__(self, most_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._next = 0

    def fit(self, status: GatewayStatus) -> GatewayStatus:
        """`status` with the scores that it has room for."""
        if len(encode_json(status)) <= self._most_bytes:
            return status
        devices = [_untold(device) for device in status.devices]
        bare = msgspec.structs.replace(status, devices=tuple(devices))
        room = self._most_bytes - len(encode_json(bare))
        first = self._next % len(devices)
        for place in (*range(first, len(devices)), *range(first)):
            score = status.devices[place].news2
            room -= len(msgspec.json.encode(score)) + _KEY_BYTES if score else 0
            if room < 0:
                self._next = place
                break
            devices[place] = status.devices[place]
        return msgspec.structs.replace(status, devices=tuple(devices))


def _untold(device: DeviceStatus) -> DeviceStatus:
    return msgspec.structs.replace(device, news2=msgspec.UNSET) if device.news2 else device
