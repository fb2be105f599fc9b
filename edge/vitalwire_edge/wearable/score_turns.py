"""Which wearables and whose NEWS2 a status message tells, so that it stays within what a message may hold."""

from typing import Final

import msgspec

from vitalwire_edge.wire.messages import MAX_MESSAGE_BYTES, DeviceStatus, GatewayStatus, encode_json

_KEY_BYTES: Final = len(',"news2":')


class ScoreTurns:
    """All scores where they fit; else as many as fit, in turns, and the others are not told this time. One thread.

    That a wearable has no score is told with the wearable. Where not even the wearables fit, they too take turns: of
    one that a message leaves out the cloud goes on knowing what it was told last.
    """

    def __init__(self, most_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._next = 0

    def fit(self, status: GatewayStatus) -> GatewayStatus:
        """`status` with the wearables and scores that it has room for."""
        if not status.devices or len(encode_json(status)) <= self._most_bytes:
            return status
        devices = [_untold(device) for device in status.devices]
        first = self._next % len(devices)
        room = self._most_bytes - len(encode_json(msgspec.structs.replace(status, devices=tuple(devices))))
        if room < 0:
            return self._some(status, first)
        for place in (*range(first, len(devices)), *range(first)):
            score = status.devices[place].news2
            room -= len(msgspec.json.encode(score)) + _KEY_BYTES if score else 0
            if room < 0:
                self._next = place
                break
            devices[place] = status.devices[place]
        return msgspec.structs.replace(status, devices=tuple(devices))

    def _some(self, status: GatewayStatus, first: int) -> GatewayStatus:
        """Of a status that is too long without any score, as many wearables as fit, whole, from `first` on."""
        room = self._most_bytes - len(encode_json(msgspec.structs.replace(status, devices=())))
        devices: list[DeviceStatus] = []
        for each in (*status.devices[first:], *status.devices[:first]):
            room -= len(msgspec.json.encode(each)) + 1
            if room < 0:
                break
            devices.append(each)
        self._next = first + len(devices)
        return msgspec.structs.replace(status, devices=tuple(devices))


def _untold(device: DeviceStatus) -> DeviceStatus:
    return msgspec.structs.replace(device, news2=msgspec.UNSET) if device.news2 else device
