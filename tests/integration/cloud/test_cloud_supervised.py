"""The cloud service tells a service manager when it is ready, that it works, and that it stops."""

import socket


def test_the_service_manager_hears_of_the_service(embedded_broker, clouds, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        cloud = clouds(embedded_broker)
        cloud.start()
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        cloud.process.terminate()
        heard = [b""]
        while heard[-1] != b"STOPPING=1":
            heard.append(manager.recv(100))
        assert set(heard[1:-1]) <= {b"WATCHDOG=1"}
        assert cloud.process.wait(20) == 0
