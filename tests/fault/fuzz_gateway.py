"""What a gateway hears, damaged: sealed answers of the cloud, releases of its software, Bluetooth values."""

import io
import math
import zipfile
from datetime import datetime
from typing import Final

import ble_captures as captured
import msgspec
import numpy as np
import release_wheel
from damage import Tally, damaged

from vitalwire_edge.inference.keys import Root
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.software.release import open_release, pack_release
from vitalwire_edge.software.wheel import read_wheel
from vitalwire_edge.sources.ble import heart_rate, oximeter, polar, spot
from vitalwire_edge.sources.ble.values import BleDataError
from vitalwire_edge.wire.codes import VITALS, ValueStatus
from vitalwire_edge.wire.frames import Reading
from vitalwire_edge.wire.messages import (
    Command,
    Committed,
    MessageError,
    StreamCommit,
    decode_committed,
    decode_json,
    encode_committed,
    encode_json,
    seal,
    unseal,
)
from vitalwire_edge.wire.models import (
    ModelChunk,
    ModelOffer,
    ModelReport,
    ModelRequest,
    decode_from_gateway,
    decode_to_gateway,
    encode_model,
)

_KEY: Final = bytes(range(32))
_TOPIC: Final = "v1/ward/gw1/committed"
_HASH: Final = "5a" * 32
_COMMITTED: Final = encode_committed(
    Committed(
        1,
        (
            StreamCommit("chest-1", "ecg", "s1", 7, ((9, 12), (14, 14))),
            StreamCommit("c", "alarm", "s", 0, ()),
        ),
    )
)
_COMMAND: Final = encode_json(
    Command(command="waveform", at_ns=1, expires_ns=2, device="chest-1", seconds=30.0)
)
_TO_GATEWAY: Final = [
    encode_model(ModelOffer("beats", 3, _HASH, _HASH, 200_000, 4)),
    encode_model(ModelChunk(_HASH, 2, bytes(range(64)))),
]
_FROM_GATEWAY: Final = [
    encode_model(ModelRequest(_HASH, (0, 1, 2))),
    encode_model(ModelReport(1, "running", "beats", 3, _HASH, _HASH, 3, _HASH, None, "", 800.0, 0.5, 7, 0)),
]


def fuzz_answers(rng: np.random.Generator, count: int, tally: Tally) -> None:
    """Damage what is sealed, and what is in a right seal; whatever is not the message itself is refused."""
    sealed = seal(_KEY, _TOPIC, _COMMITTED)
    inside = (
        ("committed", [_COMMITTED], decode_committed),
        ("command", [_COMMAND], lambda data: decode_json(data, Command)),
        ("to a gateway", _TO_GATEWAY, decode_to_gateway),
        ("from a gateway", _FROM_GATEWAY, decode_from_gateway),
    )
    for _ in range(count):
        kind = int(rng.integers(len(inside) + 1))
        try:
            if kind == len(inside):
                data = damaged(rng, [sealed])
                payload = unseal(_KEY, _TOPIC, data)
                assert payload == _COMMITTED, "a changed message was taken for a sealed one"
                tally.outcomes["seal right by chance"] += 1
            else:
                name, corpus, decode = inside[kind]
                message = decode(damaged(rng, corpus))
                msgspec.msgpack.encode(message)
                tally.outcomes[f"answer read: {name}"] += 1
        except MessageError:
            tally.outcomes["answer refused"] += 1


def _thermometer(data: bytes) -> tuple[Reading, ...]:
    return spot.temperature_measurement(data).readings


def _cuff(data: bytes) -> tuple[Reading, ...]:
    found = spot.pressure_measurement(data)
    assert found.taken is None or isinstance(found.taken, datetime)
    return found.readings


def _strap(data: bytes) -> tuple[Reading, ...]:
    measured = heart_rate.heart_rate_measurement(data)
    assert all(0 <= rr < 64 for rr in measured.rr_s)
    return (measured.reading(heart_rate.rate_code(b"\x01")),)


def _polar(data: bytes) -> tuple[Reading, ...]:
    block = polar.ecg_block(data)
    assert block is None or np.abs(block.uv).max(initial=0) <= 2**23
    return ()


def _control(data: bytes) -> tuple[Reading, ...]:
    polar.refusal(data)
    return ()


_DEVICES: Final = (
    ("strap", [captured.POLAR_H7, captured.MOVISENS, captured.UNBRANDED_STRAP], _strap),
    (
        "oximeter",
        [captured.CHOICEMMED_CONTINUOUS],
        lambda data: oximeter.continuous_measurement(data).readings(),
    ),
    ("oximeter", [captured.CHOICEMMED_SPOT], lambda data: oximeter.spot_check_measurement(data).readings()),
    ("thermometer", [data for _, data in captured.THERMOMETER], _thermometer),
    ("cuff", [captured.CUFF, captured.CUFF_IRREGULAR], _cuff),
    ("polar", list(captured.POLAR_ECG), _polar),
    ("polar", [captured.POLAR_STARTED, captured.POLAR_SETTINGS], _control),
)


def fuzz_bluetooth(rng: np.random.Generator, count: int, tally: Tally) -> None:
    """Damage what real devices sent; a reading is a number with a status that fits, or nothing."""
    for _ in range(count):
        name, corpus, decode = _DEVICES[int(rng.integers(len(_DEVICES)))]
        try:
            readings = decode(damaged(rng, corpus))
        except BleDataError:
            tally.outcomes["bluetooth value refused"] += 1
            continue
        tally.outcomes[f"bluetooth value read: {name}"] += 1
        for reading in readings:
            assert reading.code in VITALS, msgspec.structs.astuple(reading)
            if reading.status is ValueStatus.OK:
                assert math.isfinite(reading.value), msgspec.structs.astuple(reading)


def fuzz_releases(rng: np.random.Generator, count: int, tally: Tally) -> None:
    """Damage a signed release, the wheel in it, and files of the wheel; only the signed file itself is opened."""
    root = Root.new()
    signer = root.delegate(now_ns=release_wheel.NOW_NS, expires_ns=None, purpose="software")
    wheel = release_wheel.program("print(1)\n", requires=("numpy>=1.26",))
    good = pack_release(wheel, signer, version=3, created_ns=release_wheel.NOW_NS)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(count):
        kind = int(rng.integers(3))
        try:
            if kind == 0:
                data = damaged(rng, [good])
                open_release(data, root.trust, now_ns=release_wheel.NOW_NS, arch="x86_64")
                assert data == good, "a changed release was opened"
                continue
            found = read_wheel(damaged(rng, [wheel]) if kind == 1 else _rezipped(rng, members))
            assert found.software
            tally.outcomes["wheel read"] += 1
        except ArtifactRefusedError as error:
            tally.outcomes[f"release refused: {error.reason.value}"] += 1


def _rezipped(rng: np.random.Generator, members: dict[str, bytes]) -> bytes:
    name = list(members)[int(rng.integers(len(members)))]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, data in members.items():
            archive.writestr(path, damaged(rng, [data]) if path == name and data else data)
    return made.getvalue()
