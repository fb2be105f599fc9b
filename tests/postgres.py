"""A PostgreSQL of the tests' own: Debian's, on a free port, thrown away afterwards."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg


class Postgres:
    """One server; `database()` makes an empty place on it."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        assert found, "PostgreSQL is not installed: run scripts/servers.sh"
        # The server refuses to run as root, and its user cannot look into root's temporary folders.
        self._folder = Path(tempfile.mkdtemp(prefix="vitalwire-postgres-", dir="/tmp"))
        self._as: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        data = self._folder / "data"
        self._run(found[-1] / "initdb", "-D", data, "-U", "vitalwire", "--auth=trust", "--no-sync")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = [
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self._folder}",
        ]
        self._process = subprocess.Popen(
            [*self._as, str(found[-1] / "postgres"), "-D", str(data), "-p", str(self.port), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        self._admin = f"postgresql://vitalwire@127.0.0.1:{self.port}/postgres"
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(self._admin, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.05)
            else:
                return

    def _run(self, *words: object) -> None:
        subprocess.run(
            [*self._as, *map(str, words)], check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60
        )

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """URL of an empty schema, as SQLAlchemy wants it."""
        name = f"t{secrets.token_hex(4)}"
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
            at = f"postgresql+psycopg://vitalwire@127.0.0.1:{self.port}/postgres"
            yield f"{at}?options=-csearch_path%3D{name}"
            connection.execute(f"DROP SCHEMA {name} CASCADE")

    def close(self) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)
        shutil.rmtree(self._folder)
