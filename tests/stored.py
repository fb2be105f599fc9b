"""Messages as a gateway would have sent them, for tests of store and desk."""

import numpy as np

from vitalwire_cloud.store.interface import Item, StoredAlarm
from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatMark,
    BeatsMessage,
    ScoreMark,
    ScoresMessage,
    Skip,
    VitalsMessage,
    VitalValue,
    WaveBlock,
)

T0 = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000
FS_HZ = 250
MODEL = "5a" * 32


def item(message, stream: str, *, device: str = "w-1", gateway: str = "gw-1") -> Item:
    seq = message.first if isinstance(message, Skip) else message.seq
    return Item(gateway, device, stream, message.session, seq, message, T0)


def wave(seq: int, samples=None, *, device: str = "w-1", gateway: str = "gw-1", **changes) -> Item:
    """Second `seq` of a steady recording; its samples are the sample counter modulo 1000."""
    if samples is None:
        samples = (np.arange(seq * FS_HZ, (seq + 1) * FS_HZ) % 1000).astype(np.int16)
    codec, data = pack(samples)
    fields = {
        "session": "s-1",
        "seq": seq,
        "flags": 0,
        "code": int(Code.ECG_I),
        "device_boot": 0,
        "first_sample": seq * FS_HZ,
        "start_ns": T0 + seq * SECOND_NS,
        "rate_mhz": FS_HZ * 1000,
        "scale": 2.0,
        "count": samples.size,
        "codec": int(codec),
        "data": data,
    }
    return item(WaveBlock(**{**fields, **changes}), "ecg", device=device, gateway=gateway)


def vitals(seq: int, value: float | None = 70.0, *, session: str = "s-1", time_ns: int | None = None) -> Item:
    number = VitalValue(int(Code.HEART_RATE), value, 0 if value is not None else 2)
    at_ns = T0 + seq * SECOND_NS if time_ns is None else time_ns
    return item(VitalsMessage(session=session, seq=seq, flags=0, time_ns=at_ns, values=(number,)), "vitals")


def beats(seq: int, *r_ns: int) -> Item:
    marks = tuple(BeatMark(at, None, 900.0, 90.0, 0.9, False) for at in r_ns)
    return item(BeatsMessage(session="s-1", seq=seq, flags=0, beats=marks), "beat")


def scores(seq: int, r_ns: int, score: float | None = 3.5) -> Item:
    parts = (1.0, 2.0, 0.5) if score is not None else ()
    message = ScoresMessage(
        session="s-1", seq=seq, flags=0, model=MODEL, version=2, threshold=4.0,
        scores=(ScoreMark(r_ns, score, *parts),),
    )  # fmt: skip
    return item(message, "score")


def alarm(
    seq: int, phase: str, *, alarm_id: str = "a-1", at_s: float | None = None, **changes
) -> AlarmMessage:
    at_ns = T0 + round((seq if at_s is None else at_s) * SECOND_NS)
    fields = {
        "session": "s-1",
        "seq": seq,
        "flags": 0,
        "alarm_id": alarm_id,
        "kind": "asystole",
        "priority": "high",
        "category": "physiological",
        "phase": phase,
        "onset_ns": T0,
        "at_ns": at_ns,
        "text": f"text {seq}",
        "rule": "asystole",
    }
    return AlarmMessage(**{**fields, **changes})


def stored(message: AlarmMessage, *, gateway: str = "gw-1") -> StoredAlarm:
    return StoredAlarm(message.seq + 1, gateway, "w-1", message, message.at_ns + SECOND_NS // 10)
