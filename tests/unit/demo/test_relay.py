"""The relay passes bytes both ways, breaks what is open when it is cut, and mends."""

import socket
import threading

import pytest

from vitalwire_sim.demo.relay import Relay


@pytest.fixture
def echo_port():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

        def answer(peer: socket.socket) -> None:
            with peer:
                try:
                    while data := peer.recv(4096):
                        peer.sendall(data.upper())
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture
def relay(echo_port):
    made = Relay(echo_port)
    yield made
    made.close()


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=5)


def ended(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionError:
        return True


def test_passes_bytes_and_counts_those_that_go_up(relay):
    with connect(relay) as peer:
        peer.sendall(b"beat")
        assert peer.recv(4, socket.MSG_WAITALL) == b"BEAT"
    assert relay.bytes_up == 4


def test_a_cut_breaks_what_is_open_and_refuses_what_comes(relay):
    with connect(relay) as before:
        before.sendall(b"x")
        assert before.recv(1) == b"X"
        relay.cut()
        assert ended(before)
    with connect(relay) as during:
        assert ended(during)
    relay.restore()
    with connect(relay) as after:
        after.sendall(b"y")
        assert after.recv(1) == b"Y"


def test_nobody_behind_it_is_a_closed_connection_not_a_crash():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    relay = Relay(port)
    try:
        with connect(relay) as peer:
            assert ended(peer)
    finally:
        relay.close()
