"""What a service manager hears, on a real socket."""

import os
import socket

import pytest

from vitalwire_edge.process.notify import notify, supervised, watchdog_every_s


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_the_state(tmp_path, monkeypatch, abstract):
    name = f"@vitalwire-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")


def test_the_watchdog_is_fed_twice_as_often_as_it_asks(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_every_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_every_s() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_every_s() is None


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """The service manager's end of a real datagram socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield end


def test_a_process_that_works_is_heard_until_it_stops(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    with supervised(lambda: None):
        heard = [manager.recv(100) for _ in range(4)]
    heard.append(manager.recv(100))
    assert heard[0] == b"READY=1"
    assert set(heard[1:4]) == {b"WATCHDOG=1"}
    while heard[-1] != b"STOPPING=1":
        assert heard[-1] == b"WATCHDOG=1"
        heard.append(manager.recv(100))


def test_a_process_that_is_stuck_falls_silent(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    problems = iter([None, "stuck for 20 s"])
    with supervised(lambda: next(problems, "stuck for 20 s")):
        heard = [manager.recv(100) for _ in range(5)]
    assert heard == [b"READY=1", b"WATCHDOG=1", *[b"STATUS=stuck for 20 s"] * 3]


def test_without_a_watchdog_only_begin_and_end_are_told(manager, monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    with supervised(lambda: "nobody asks"):
        assert manager.recv(100) == b"READY=1"
    assert manager.recv(100) == b"STOPPING=1"


def test_a_manager_that_does_not_listen_stops_nothing(manager):
    assert notify("READY=1")
    while notify("WATCHDOG=1"):
        pass
    assert manager.recv(100) == b"READY=1"
