"""A cable that can also change the order of what is published over it."""

import random
import socket
import time

from gateway_parts import Cable

_PUBLISH = 3
_HOLD_S = 0.25


class ShuffledCable(Cable):
    """While `shuffling`, messages towards the broker wait for a quarter of a second and go on in another order.

    Acknowledgements and everything else of the protocol stay where they are. `shuffled` counts what was moved about,
    `whole_s` and `thin_s` how long the cable was whole of the time that it was thin.
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.shuffling = False
        self.shuffled = 0
        self.whole_s = 0.0
        self.thin_s = 0.0
        self._random = random.Random(seed)
        self._partial: dict[socket.socket, bytearray] = {}
        self._held: list[tuple[socket.socket, bytes]] = []
        self._let_go_s = 0.0
        self._seen_s = time.monotonic()
        super().__init__(port)

    def _tick(self) -> None:
        now = time.monotonic()
        passed, self._seen_s = now - self._seen_s, now
        if self._moments is not None:
            self.thin_s += passed
            self.whole_s += passed if self._whole.is_set() else 0.0
        if self._held and now >= self._let_go_s:
            self._let_go()

    def _move(self, end: socket.socket) -> None:
        if end not in self._near:
            super()._move(end)
            return
        try:
            data = end.recv(65536)
            if not data:
                raise ConnectionResetError
            partial = self._partial.setdefault(end, bytearray())
            partial += data
            for packet in _packets(partial):
                if self.shuffling and packet[0] >> 4 == _PUBLISH:
                    if not self._held:
                        self._let_go_s = time.monotonic() + _HOLD_S
                    self._held.append((end, packet))
                else:
                    self._peers[end].sendall(packet)
        except OSError:
            self._drop(end)

    def _let_go(self) -> None:
        held, self._held = self._held, []
        self._random.shuffle(held)
        for end, packet in held:
            if end in self._peers:
                self.shuffled += 1
                try:
                    self._peers[end].sendall(packet)
                except OSError:
                    self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        self._partial.pop(end, None)
        self._partial.pop(self._peers.get(end, end), None)
        super()._drop(end)


def _packets(partial: bytearray) -> list[bytes]:
    """Whole MQTT packets, taken off the front."""
    packets = []
    while len(partial) >= 2:
        length, at = 0, 1
        while True:
            if at >= len(partial):
                return packets
            length |= (partial[at] & 0x7F) << (7 * (at - 1))
            at += 1
            if not partial[at - 1] & 0x80:
                break
        if len(partial) < at + length:
            return packets
        packets.append(bytes(partial[: at + length]))
        del partial[: at + length]
    return packets
