"""A TCP source that has no file descriptor left neither spins nor gives up."""

import errno
import socket
import time

from gateway_parts import wait_for

from vitalwire_edge.sources.inbox import Inbox, Opened
from vitalwire_edge.sources.tcp import TcpSource


def test_without_file_descriptors_it_waits_and_then_takes_who_waited(monkeypatch):
    accept = socket.socket.accept
    asked = []
    starving = True

    def scarce(listener):
        asked.append(time.monotonic())
        if starving:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", scarce)
    inbox = Inbox()
    source = TcpSource("127.0.0.1", 0, inbox)
    source.start()
    try:
        with socket.create_connection(source.address):
            wait_for(lambda: asked, what="the first try")
            wait_for(lambda: len(asked) == 2, what="the second try")
            assert asked[1] - asked[0] >= 1.0
            assert source.problem() is None
            assert source.state().counters == {"starved": 2}
            starving = False
            events = []
            wait_for(lambda: (events.extend(inbox.take(0.1)), events)[1], what="the connection")
            assert isinstance(events[0], Opened)
            assert source.state().connected == 1
    finally:
        source.stop()
