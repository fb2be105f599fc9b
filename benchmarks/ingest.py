"""Samples that ingest brings into InfluxDB per second of processor time, beside Node-RED doing the same job.

The same ward (250 Hz of ECG, three vital signs and a beat per patient and second, each in an MQTT 5 message with QoS 1)
goes through mosquitto into Debian's InfluxDB 1.6. Ours validates every message, unpacks every block, keeps the ledger
and tells gateways what is committed; what is counted is the processor time of the ingest processes, beside it that of
broker and database, and at the end what really is in the database. 1.6 lacks the address under which our client
writes (`/api/v2/write` of 1.8 and later), so a proxy in a process of its own stands between; Node-RED needs none.

    python benchmarks/ingest.py --patients 64 --seconds 60 --workers 1 2 4 --node-red ~/.cache/vitalwire-node-red
    python benchmarks/ingest.py --kill --node-red ~/.cache/vitalwire-node-red

`--node-red DIR` names where Node-RED is, or where npm shall put it; without it only ours is measured. `--kill` ends
ingest in the middle with SIGKILL, starts it again, and counts what was lost.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
import psutil
from node_red import FORM_OF, SAYS, NodeRed, Variant, install
from paho.mqtt.enums import CallbackAPIVersion
from servers import cpu_s, free_port, influx, mosquitto, quiet, until
from traffic import FS_HZ, SESSION, SITE, STREAMS, Form, Patient, births, patients, second

from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.influx.server import InfluxServer, ServerAddress
from vitalwire_cloud.store.influx.store import InfluxStore
from vitalwire_edge.wire.messages import decode_committed, unseal

KEY: Final = bytes(range(32))
SETTLE_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run took and left."""

    who: str
    workers: int
    sent: int
    found: int
    twice: int
    cpu_s: float
    broker_s: float
    database_s: float
    proxy_s: float
    wall_s: float
    peak_mib: float

    @property
    def samples_per_cpu_s(self) -> float:
        """Waveform samples of ingest's own processor time."""
        return self.found / self.cpu_s


class Gateways:
    """All gateways of a ward in one client: says everything once with QoS 1, and hears what is committed.

    `resend` says again what is not committed, as a gateway's spool does.
    """

    def __init__(self, port: int, ward: list[Patient], seconds: int, form: Form, t0_ns: int) -> None:
        self._messages = [
            [second(patient, number, t0_ns, form) for patient in ward] for number in range(seconds)
        ]
        self._births = list(births(ward, t0_ns)) if form == "vitalwire" else []
        self._seconds = seconds
        self._held: dict[tuple[str, str], int] = {}
        self._streams = len(ward) * len(STREAMS)
        self._acknowledged = 0
        self.sent = 0
        self.published = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="gateways", protocol=paho.MQTTv5)
        self._client.max_inflight_messages_set(1000)
        self._client.max_queued_messages_set(0)
        self._client.on_connect = lambda client, *_: client.subscribe(f"v1/{SITE}/+/committed", qos=1)
        self._client.on_message = self._heard
        self._client.on_publish = self._taken
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _taken(self, *_: object) -> None:
        self._acknowledged += 1

    def _heard(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        committed = decode_committed(unseal(KEY, message.topic, bytes(message.payload)))
        for stream in committed.streams:
            if stream.session == SESSION:
                self._held[stream.device, stream.stream] = stream.low_water

    def introduce(self) -> None:
        """Say all births."""
        for topic, payload in self._births:
            self._publish(topic, payload)

    def send(self, pace: float, first: int = 0, last: int | None = None) -> None:
        """Say the seconds [first, last) of everyone, `pace` times as fast as life; 0 is as fast as can be.

        As in life wearables are not in step: their messages are spread over the second.
        """
        began = time.monotonic()
        for number, beds in enumerate(self._messages[first:last]):
            for bed, messages in enumerate(beds):
                due_s = 0.0 if pace == 0 else began + (number + bed / len(beds)) / pace - time.monotonic()
                if due_s > 0:
                    threading.Event().wait(due_s)
                for topic, payload in messages:
                    self._publish(topic, payload)
            while self.published - self._acknowledged > 2000:
                threading.Event().wait(0.002)
            self.sent += len(beds) * FS_HZ

    def resend(self) -> int:
        """Say again what is not committed; how many messages that were."""
        again = 0
        for number, beds in enumerate(self._messages):
            for messages in beds:
                for topic, payload in messages:
                    _, _, _, device, stream = topic.split("/")
                    if number >= self._held.get((device, stream), 0):
                        self._publish(topic, payload)
                        again += 1
        return again

    def _publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1)
        self.published += 1

    def confirmed(self) -> bool:
        """Whether everything is known to be stored."""
        held = sum(low == self._seconds for low in self._held.values())
        return held == self._streams

    def taken(self) -> bool:
        """Whether the broker acknowledged everything."""
        return self._acknowledged >= self.published

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


class Workers:
    """Our ingest: any number of worker processes over one store, as `vitalwire cloud run` starts them."""

    def __init__(self, folder: Path, broker: int, ward: list[Patient], store: list[str], count: int) -> None:
        self.data = folder / "data"
        self._keys = folder / "keys"
        self._keys.mkdir(parents=True)
        for gateway in {patient.gateway for patient in ward}:
            (self._keys / f"{gateway}.key").write_text(KEY.hex())
        self._folder, self._broker, self._store, self._count = folder, broker, store, count
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start them all and wait until they are subscribed."""
        role = "all" if "store.backend=embedded" in self._store else "ingest"
        ports = [free_port() for _ in range(self._count)]
        for port in ports:
            command = [
                sys.executable, "-m", "vitalwire_edge", "cloud", "run", "--role", role,
                "--broker", f"127.0.0.1:{self._broker}", "--data-dir", str(self.data),
                "--web", f"127.0.0.1:{port}", "--keys-dir", str(self._keys),
            ]  # fmt: skip
            for setting in ("log_level=warning", *self._store):
                command += ["--set", setting]
            with (self._folder / "cloud.log").open("ab") as log:
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
            until(lambda port=port: _ready(port), f"readiness (see {self._folder / 'cloud.log'})", 20)  # type: ignore[misc]

    @property
    def pids(self) -> list[int]:
        """Of the running processes."""
        return [process.pid for process in self._processes]

    def kill(self) -> None:
        """End them at once."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def stop(self) -> None:
        """End them as an operator does."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        self._processes.clear()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def peak_mib(pids: list[int]) -> float:
    """Largest resident memory that any of the processes ever had."""
    found = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                found = max(found, int(line.split()[1]))
    return found / 1024


@dataclass(slots=True)
class Bench:
    """Broker and database at work, with an empty database for each run."""

    folder: Path
    ward: list[Patient]
    seconds: int
    broker: int
    broker_pid: int
    database: int
    database_pid: int
    proxy: str
    proxy_pid: int
    pace: float = 0.0
    runs: int = 0

    def fresh(self) -> tuple[Path, str]:
        """A folder and a database for the next run."""
        self.runs += 1
        name = f"run{self.runs}"
        server = InfluxServer(ServerAddress(url=f"http://127.0.0.1:{self.database}", bucket=name))
        server.query([f'CREATE DATABASE "{name}"'])
        server.close()
        folder = self.folder / name
        folder.mkdir()
        return folder, name

    def others(self) -> list[float]:
        """Processor time so far of broker, database and proxy."""
        return [cpu_s(pid) for pid in (self.broker_pid, self.database_pid, self.proxy_pid)]

    def ours(self, workers: int, *, kill: bool = False, embedded: bool = False) -> Outcome:
        """Run our ingest over the ward."""
        folder, name = self.fresh()
        store = ["store.backend=embedded"]
        if not embedded:
            store = [
                "store.backend=influxdb",
                f"store.influxdb.url={self.proxy}",
                f"store.influxdb.bucket={name}",
            ]
        ingest = Workers(folder, self.broker, self.ward, store, workers)
        gateways = Gateways(self.broker, self.ward, self.seconds, "vitalwire", self._t0_ns())
        try:
            ingest.start()
            gateways.introduce()
            until(gateways.taken, "the births' way", 20)
            until(quiet(ingest.pids, below=0.1, window_s=1.0), "ingest's rest", 30)
            own, others, began = cpu_s(*ingest.pids), self.others(), time.monotonic()
            if kill:
                gateways.send(self.pace, 0, self.seconds // 2)
                ingest.kill()
                gateways.send(self.pace, self.seconds // 2)
                ingest.start()
                own = 0.0
                until(quiet(ingest.pids), "ingest's rest", SETTLE_S)
                gateways.resend()
            else:
                gateways.send(self.pace)
            until(gateways.confirmed, "the confirmation of every message", SETTLE_S)
            wall_s = time.monotonic() - began
            used, after = cpu_s(*ingest.pids) - own, self.others()
            peak = peak_mib(ingest.pids)
        finally:
            gateways.close()
            ingest.stop()
        reader = (
            EmbeddedStore(ingest.data)
            if embedded
            else InfluxStore(
                ServerAddress(url=self.proxy, bucket=name),
                f"sqlite:///{(ingest.data / 'ledger.sqlite').absolute()}",
            )
        )
        try:
            waves = [stream for stream in reader.audit() if stream.stream == "ecg"]
        finally:
            reader.close()
        broker_s, database_s, proxy_s = (b - a for a, b in zip(others, after, strict=True))
        found, twice = sum(s.samples for s in waves), sum(s.duplicated for s in waves)
        who = "vitalwire" + (", embedded store" if embedded else "") + (", killed" if kill else "")
        return Outcome(
            who, workers, gateways.sent, found, twice, used, broker_s, database_s, proxy_s, wall_s, peak
        )

    def peer(self, installed: Path, variant: Variant, workers: int, *, kill: bool = False) -> Outcome:
        """Run Node-RED over the same ward."""
        folder, name = self.fresh()
        reds = [
            NodeRed(
                folder / f"{n}", installed, name, f"{name}-{n}", variant, self.broker, name, self.database
            )
            for n in range(workers)
        ]
        gateways = Gateways(self.broker, self.ward, self.seconds, FORM_OF[variant], self._t0_ns())
        try:
            for red in reds:
                red.start()
            pids = [red.pid for red in reds]
            until(quiet(pids), "Node-RED's rest", 60)
            own, others, began = cpu_s(*pids), self.others(), time.monotonic()
            if kill:
                gateways.send(self.pace, 0, self.seconds // 2)
                for red in reds:
                    red.kill()
                gateways.send(self.pace, self.seconds // 2)
                for red in reds:
                    red.start()
                own, pids = 0.0, [red.pid for red in reds]
            else:
                gateways.send(self.pace)
            until(gateways.taken, "the broker's acknowledgements", SETTLE_S)
            resting = quiet([*pids, self.database_pid])
            until(resting, "Node-RED's rest", SETTLE_S, 0.25)
            wall_s = time.monotonic() - began
            used, after = cpu_s(*pids) - own, self.others()
            peak = peak_mib(pids)
        finally:
            gateways.close()
            for red in reds:
                red.kill()
        server = InfluxServer(ServerAddress(url=f"http://127.0.0.1:{self.database}", bucket=name))
        asked = (
            'SELECT sum("count") AS n FROM wave' if variant == "blocks" else "SELECT count(uv) AS n FROM wave"
        )
        (record,) = server.records(asked) or [{"n": 0}]
        server.close()
        broker_s, database_s, proxy_s = (b - a for a, b in zip(others, after, strict=True))
        who = SAYS[variant] + (", killed" if kill else "")
        return Outcome(
            who,
            workers,
            gateways.sent,
            int(record["n"]),
            0,
            used,
            broker_s,
            database_s,
            proxy_s,
            wall_s,
            peak,
        )

    def _t0_ns(self) -> int:
        return (int(time.time()) - self.seconds - 60) * 1_000_000_000


@contextmanager
def bench(folder: Path, ward_size: int, seconds: int) -> Iterator[Bench]:
    """Servers started, ward made."""
    with ExitStack() as stack:
        broker, broker_pid = stack.enter_context(mosquitto(folder))
        server, proxy, proxy_pid = stack.enter_context(influx(folder / "influx"))
        ward = patients(ward_size, seconds)
        yield Bench(
            folder, ward, seconds, broker, broker_pid, server.port, server.process.pid, proxy, proxy_pid
        )


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """Lines of Markdown; ratios to the first variant of Node-RED where it ran."""
    peers = [outcome for outcome in outcomes if outcome.who.startswith("Node-RED")]
    yield (
        "| | workers | samples per CPU-second | ratio | CPU s of ingest | broker | database | proxy | wall s | "
        "samples sent | in the database | lost | twice | peak MiB |"
    )
    yield "|" + "---|" * 14
    for each in outcomes:
        ratio = f"{each.samples_per_cpu_s / peers[0].samples_per_cpu_s:.1f}" if peers else ""
        yield (
            f"| {each.who} | {each.workers} | {each.samples_per_cpu_s:,.0f} | {ratio} | {each.cpu_s:.1f} | "
            f"{each.broker_s:.1f} | {each.database_s:.1f} | {each.proxy_s:.1f} | {each.wall_s:.1f} | {each.sent:,} | "
            f"{each.found:,} | {each.sent - each.found:,} | {each.twice:,} | {each.peak_mib:.0f} |"
        )


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument(
        "--pace", type=float, default=0.0, help="times as fast as life; 0: as fast as possible"
    )
    parser.add_argument("--workers", type=int, nargs="*", default=[1])
    parser.add_argument("--embedded", action="store_true", help="also our embedded store")
    parser.add_argument("--node-red", type=Path, metavar="DIR", help="where Node-RED is or shall be")
    parser.add_argument("--variants", nargs="*", choices=[*FORM_OF], default=[*FORM_OF])
    parser.add_argument("--peer-workers", type=int, nargs="*", default=[1])
    parser.add_argument("--kill", action="store_true", help="end ingest in the middle and count")
    given = parser.parse_args()
    outcomes: list[Outcome] = []
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch, bench(Path(scratch), given.patients, given.seconds) as at:
        at.pace = given.pace
        outcomes += [at.ours(workers, kill=given.kill) for workers in given.workers]
        if given.embedded:
            outcomes.append(at.ours(1, kill=given.kill, embedded=True))
        if given.node_red is not None:
            installed = install(given.node_red.expanduser().absolute())
            outcomes += [
                at.peer(installed, variant, workers, kill=given.kill)
                for variant in given.variants
                for workers in given.peer_workers
            ]
    print(
        f"{given.patients} patients, {given.seconds} s, pace {given.pace:g}; load of the machine before: {load:.1f}"
    )
    print(*table(outcomes), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
