"""Node-RED with node-red-contrib-influxdb as people set it up to bring MQTT into InfluxDB: the peer of ingest.

It is no part of the project: `install` fetches pinned versions with npm into a folder of one's own.
"""

import json
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from servers import BenchmarkError, free_port, until
from traffic import SITE, STREAMS, Form

PACKAGES: Final = ("node-red@4.1.15", "node-red-contrib-influxdb@0.7.0", "@msgpack/msgpack@3.1.2")
_INSTALL_S: Final = 600

Variant = Literal["json", "json-joined", "msgpack", "blocks"]

FORM_OF: Final[dict[Variant, Form]] = {
    "json": "json",
    "json-joined": "json",
    "msgpack": "msgpack",
    "blocks": "vitalwire",
}
"""In which form each variant gets its messages."""

SAYS: Final[dict[Variant, str]] = {
    "json": "Node-RED: JSON arrays, a point per sample, a write per message",
    "json-joined": "Node-RED: JSON arrays, a point per sample, 50 messages joined to a write",
    "msgpack": "Node-RED: MessagePack with int16, a point per sample, a write per message",
    "blocks": "Node-RED: vitalwire's messages, blocks stored packed and unread, 50 joined to a write",
}

_SPREAD: Final = """
const [, , , device, stream] = msg.topic.split('/');
const points = [];
const p = msg.payload;
if (stream === 'ecg') {
  const step = 1000 / p.fs;
  for (let i = 0; i < p.ecg.length; i++) {
    const tags = {device, channel: 'ecg_i'};
    points.push({measurement: 'wave', tags, fields: {uv: p.ecg[i]}, timestamp: p.t + i * step});
  }
} else {
  const {t, ...fields} = p;
  points.push({measurement: stream, tags: {device}, fields, timestamp: t});
}
"""
_UNPACK: Final = """
msg.payload = global.get('msgpack').decode(msg.payload);
if (msg.payload.ecg) {
  const raw = msg.payload.ecg, steps = new DataView(raw.buffer, raw.byteOffset, raw.byteLength), uv = [];
  for (let i = 0; i < raw.byteLength; i += 2) uv.push(steps.getInt16(i, true) * msg.payload.scale);
  msg.payload.ecg = uv;
}
"""
_COPY: Final = """
const [, , , device, stream] = msg.topic.split('/');
const m = global.get('msgpack').decode(msg.payload, {useBigInt64: true});
const points = [];
if (stream === 'ecg') {
  const [, session, seq, flags, code, boot, first, start, rate, scale, count, codec, data] = m;
  const fields = {session, seq, flags, code, boot, first, rate, scale, count, codec};
  fields.data = Buffer.from(data).toString('base64');
  points.push({measurement: 'wave', tags: {device, channel: 'ecg_i'}, fields, timestamp: String(start)});
} else if (stream === 'vitals') {
  const fields = {seq: m[2]};
  for (const [code, value, status] of m[5]) { fields['v' + code] = value; fields['s' + code] = status; }
  points.push({measurement: 'vitals', tags: {device}, fields, timestamp: String(m[4])});
} else {
  for (const [at, rr_ms, amplitude_uv, width_ms, quality, wide] of m[4]) {
    const fields = {seq: m[2], rr_ms, amplitude_uv, width_ms, quality, wide};
    points.push({measurement: 'beat', tags: {device}, fields, timestamp: String(at)});
  }
}
"""
_SEND: Final = "msg.payload = points; return msg;"
_JOIN: Final = """
const held = context.get('held') || [];
held.push(...points);
context.set('held', held);
const n = (context.get('n') || 0) + 1;
context.set('n', n);
const flush = () => {
  const out = context.get('held');
  context.set('held', []); context.set('n', 0);
  if (context.get('timer')) { clearTimeout(context.get('timer')); context.set('timer', null); }
  if (out.length) node.send({payload: out});
};
if (n >= 50) flush();
else if (!context.get('timer')) context.set('timer', setTimeout(flush, 100));
return null;
"""
_CODE: Final[dict[Variant, str]] = {
    "json": _SPREAD + _SEND,
    "json-joined": _SPREAD + _JOIN,
    "msgpack": _UNPACK + _SPREAD + _SEND,
    "blocks": _COPY + _JOIN,
}


def install(folder: Path) -> Path:
    """Put the pinned versions into `folder` unless they are there, and return it. Raises `BenchmarkError`."""
    if (folder / "node_modules" / "node-red" / "red.js").exists():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise BenchmarkError("npm is not installed: install Node.js 18 or later, or name --node-red DIR")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    if done.returncode:
        raise BenchmarkError(f"npm could not install Node-RED into {folder}: {done.stderr[-500:]}")
    return folder


@dataclass(slots=True)
class NodeRed:
    """One Node-RED with a flow from the broker into a database; several share the messages."""

    folder: Path
    installed: Path
    group: str
    name: str
    variant: Variant
    broker: int
    database: str
    influx: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its flow runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        modules = self.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(self.installed / "node_modules")
        port = free_port()
        (self.folder / "settings.js").write_text(
            f"module.exports = {{uiHost: '127.0.0.1', uiPort: {port}, flowFile: 'flows.json', credentialSecret: false,"
            "disableEditor: true, logging: {console: {level: 'warn'}}, contextStorage: {default: {module: 'memory'}},"
            "functionGlobalContext: {msgpack: require('@msgpack/msgpack')}};"
        )
        (self.folder / "flows.json").write_text(json.dumps(self._flow()))
        node = shutil.which("node")
        if node is None:
            raise BenchmarkError("node is not installed: install Node.js 18 or later")
        red = self.installed / "node_modules" / "node-red" / "red.js"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [node, str(red), "--userDir", str(self.folder)], stdout=log, stderr=log
            )
        until(lambda: self._runs(port), f"the start of Node-RED (see {self.folder / 'log'})", 60)

    def _runs(self, port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/flows", timeout=2) as answer:
                return bool(json.load(answer))
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self.process is None:
            raise BenchmarkError("Node-RED was not started")
        return self.process.pid

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _flow(self) -> list[dict[str, object]]:
        packed = self.variant in ("msgpack", "blocks")
        broker: dict[str, object] = {
            "id": "broker",
            "type": "mqtt-broker",
            "broker": "127.0.0.1",
            "port": str(self.broker),
            "clientid": self.name,
            "autoConnect": True,
            "usetls": False,
            "protocolVersion": "5",
            "keepalive": "60",
            "cleansession": False,
            "autoUnsubscribe": False,
            "sessionExpiry": "3600",
        }
        database: dict[str, object] = {
            "id": "db",
            "type": "influxdb",
            "hostname": "127.0.0.1",
            "port": str(self.influx),
            "database": self.database,
            "influxdbVersion": "1.x",
            "usetls": False,
        }
        doors: list[dict[str, object]] = [
            {
                "id": f"in-{stream}",
                "type": "mqtt in",
                "z": "flow",
                "topic": f"$share/{self.group}/v1/{SITE}/+/+/{stream}",
                "qos": "1",
                "datatype": "buffer" if packed else "json",
                "broker": "broker",
                "nl": False,
                "rap": True,
                "rh": 0,
                "inputs": 0,
                "wires": [["shape"]],
            }
            for stream in STREAMS
        ]
        code = _CODE[self.variant]
        shape: dict[str, object] = {
            "id": "shape",
            "type": "function",
            "z": "flow",
            "func": code,
            "outputs": 1,
        }
        precision = "n" if self.variant == "blocks" else "ms"
        out: dict[str, object] = {"id": "out", "type": "influxdb batch", "z": "flow", "influxdb": "db"}
        tab: dict[str, object] = {"id": "flow", "type": "tab", "label": "ward"}
        return [
            tab,
            broker,
            database,
            *doors,
            {**shape, "wires": [["out"]]},
            {**out, "precision": precision, "wires": []},
        ]
