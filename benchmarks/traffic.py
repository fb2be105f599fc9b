"""What the gateways of a ward say in a while, as vitalwire says it and as people say it who send JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.wire.blocks import Codec, pack
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import (
    BeatMark,
    BeatsMessage,
    ChannelInfo,
    ClockState,
    DeviceBirth,
    GatewayBirth,
    VitalsMessage,
    VitalValue,
    WaveBlock,
    encode_data,
    encode_json,
)
from vitalwire_edge.wire.topics import Stream, device_topic, gateway_topic

FS_HZ = 250
SITE = "ward"
BEHIND = 8
"""Wearables behind one gateway."""

SESSION = "0123456789abcdef"
SCALE_UV = 2.5
_CODE = Code.ECG_I
_SECOND_NS = 1_000_000_000

Form = Literal["vitalwire", "json", "msgpack"]

STREAMS: Final[tuple[Stream, ...]] = ("ecg", "vitals", "beat")
"""What a wearable says every second, a message each."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A wearable, with the ECG that it will send in counts of 2.5 uV: int16, shape (seconds * 250,)."""

    gateway: str
    device: str
    counts: NDArray[np.int16]


def patients(count: int, seconds: int) -> list[Patient]:
    """Patients with hearts of their own, `BEHIND` to a gateway."""
    return [
        Patient(f"gw-{number // BEHIND}", f"bed-{number}", heart(seconds * FS_HZ, 55 + number % 50, number))
        for number in range(count)
    ]


def heart(samples: int, rate_bpm: float, seed: int) -> NDArray[np.int16]:
    """Counts of 2.5 uV of an ECG with P, QRS and T, a rate that varies, and muscle noise of 12 uV."""
    rng = np.random.default_rng(seed)
    uv = rng.normal(0, 12, samples + FS_HZ)
    t = np.arange(-FS_HZ // 2, FS_HZ // 2) / FS_HZ
    waves = (
        (120, -0.16, 0.025),
        (-80, -0.025, 0.01),
        (1000, 0.0, 0.012),
        (-150, 0.03, 0.012),
        (250, 0.25, 0.05),
    )
    beat = sum(height * np.exp(-0.5 * ((t - at) / width) ** 2) for height, at, width in waves)
    at_s = 0.5
    while (place := round(at_s * FS_HZ)) + t.size // 2 < uv.size:
        uv[place - t.size // 2 : place + t.size // 2] += beat
        at_s += 60 / rate_bpm * float(np.clip(rng.normal(1, 0.03), 0.8, 1.2))
    return np.round(uv[:samples] / SCALE_UV).astype(np.int16)


def births(ward: list[Patient], t0_ns: int) -> Iterator[tuple[str, bytes]]:
    """Topics and payloads by which gateways and wearables introduce themselves."""
    for gateway in dict.fromkeys(patient.gateway for patient in ward):
        devices = tuple(patient.device for patient in ward if patient.gateway == gateway)
        clock = ClockState("boot", synchronised=True, offset_ns=0)
        born = GatewayBirth(session=SESSION, at_ns=t0_ns, software="bench", clock=clock, devices=devices)
        yield gateway_topic(SITE, gateway, "birth"), encode_json(born)
    channel = ChannelInfo(int(_CODE), "ECG I", "uV", None, FS_HZ * 1000, SCALE_UV)
    for patient in ward:
        device = DeviceBirth(
            session=SESSION, at_ns=t0_ns, device_boot=0, simulated=True, channels=(channel,), paced="no"
        )
        yield device_topic(SITE, patient.gateway, patient.device, "birth"), encode_json(device)


def second(patient: Patient, number: int, t0_ns: int, form: Form) -> list[tuple[str, bytes]]:
    """One second of a patient: 250 samples of ECG, three vital signs and one beat, each in a message of its own."""
    counts = patient.counts[number * FS_HZ : (number + 1) * FS_HZ]
    at_ns = t0_ns + number * _SECOND_NS
    say = {"vitalwire": _ours, "json": _json, "msgpack": _msgpack}[form]
    return [
        (device_topic(SITE, patient.gateway, patient.device, stream), payload)
        for stream, payload in zip(STREAMS, say(counts, number, at_ns), strict=True)
    ]


def _vitals(number: int) -> dict[str, float]:
    return {
        "heart_rate": 60.0 + number % 40,
        "spo2": 95.0 + number % 5,
        "respiration_rate": 12.0 + number % 9,
    }


def _ours(counts: NDArray[np.int16], number: int, at_ns: int) -> list[bytes]:
    codec, data = pack(counts)
    block = WaveBlock(
        session=SESSION,
        seq=number,
        flags=0,
        code=int(_CODE),
        device_boot=0,
        first_sample=number * FS_HZ,
        start_ns=at_ns,
        rate_mhz=FS_HZ * 1000,
        scale=SCALE_UV,
        count=counts.size,
        codec=int(codec),
        data=data,
    )
    values = tuple(VitalValue(int(Code[name.upper()]), value) for name, value in _vitals(number).items())
    vitals = VitalsMessage(session=SESSION, seq=number, flags=0, time_ns=at_ns, values=values)
    beat = BeatMark(at_ns + 500_000_000, 812.5, 1010.0, 92.0, 0.97, wide=False)
    beats = BeatsMessage(session=SESSION, seq=number, flags=0, beats=(beat,))
    return [encode_data(block), encode_data(vitals), encode_data(beats)]


def plain(counts: NDArray[np.int16], number: int, at_ns: int) -> list[dict[str, object]]:
    """The same second without any coding: what a JSON message holds."""
    return [
        {"t": at_ns // 1_000_000, "fs": FS_HZ, "ecg": (counts * SCALE_UV).tolist()},
        {"t": at_ns // 1_000_000, **_vitals(number)},
        {
            "t": at_ns // 1_000_000 + 500,
            "rr_ms": 812.5,
            "amplitude_uv": 1010.0,
            "width_ms": 92.0,
            "quality": 0.97,
            "wide": False,
        },
    ]


def _json(counts: NDArray[np.int16], number: int, at_ns: int) -> list[bytes]:
    return [json.dumps(each, separators=(",", ":")).encode() for each in plain(counts, number, at_ns)]


def _msgpack(counts: NDArray[np.int16], number: int, at_ns: int) -> list[bytes]:
    wave, *rest = plain(counts, number, at_ns)
    wave |= {"ecg": counts.astype("<i2").tobytes(), "scale": SCALE_UV, "codec": int(Codec.RAW)}
    return [msgspec.msgpack.encode(each) for each in (wave, *rest)]
