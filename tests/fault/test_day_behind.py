"""A gateway that comes back after a day without a link: live data and alarms go first, the day follows at its pace."""

import sqlite3
import time
from contextlib import closing

import numpy as np
from gateway_parts import FS_HZ
from storm_site import Site, until

from vitalwire_edge.spool.file import SpoolFile
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import AlarmMessage, Flag, VitalsMessage, VitalValue, WaveBlock

DAY_S = 86_400
BLOCK_S = 4
BLOCKS = DAY_S // BLOCK_S
PACE = 2000
SETTINGS = {"mqtt.backlog_rows_s": str(PACE), "telemetry.block_s": str(BLOCK_S)}
_LATER = "SELECT count(*) FROM wave JOIN channel ON channel.id = channel WHERE device = 'night-1' AND stored_ns > ?"
COMMON = {"session": "", "seq": 0, "flags": 0}


def test_a_day_of_backlog_is_stored_once_behind_alarms_and_live_data(tmp_path):
    site = Site(tmp_path / "site", "mosquitto", wearables=1, settings=SETTINGS)
    rows = _fill(site, time.time_ns() - (DAY_S + 60) * 10**9)
    began_s = time.monotonic()
    with site:
        until(lambda: _stored(site) == BLOCKS, "the day in the store", 150)
        took_s = time.monotonic() - began_s
        site.settle()
    assert took_s < 3 * rows / PACE + 30
    with closing(sqlite3.connect(site.data / "store.sqlite")) as store:
        counters, flags = zip(
            *store.execute(
                "SELECT first_sample, flags FROM wave JOIN channel ON channel.id = channel WHERE device = 'night-1'"
                " ORDER BY first_sample"
            ),
            strict=True,
        )
        assert counters == tuple(range(0, BLOCKS * BLOCK_S * FS_HZ, BLOCK_S * FS_HZ)), "each block, once"
        assert all(flag & Flag.HISTORY for flag in flags)
        held = dict(
            store.execute(
                "SELECT stream, last FROM ledger JOIN series ON series.id = series WHERE device = 'night-1'"
                " AND first = 0"
            )
        )
        assert held == {"ecg": BLOCKS - 1, "vitals": DAY_S // 60 - 1, "alarm": 23}
        (alarms_ns,) = store.execute(
            "SELECT max(stored_ns) FROM alarm JOIN series ON series.id = series WHERE device = 'night-1'"
        ).fetchone()
        (behind_alarms,) = store.execute(_LATER, (alarms_ns,)).fetchone()
        (live_ns,) = store.execute(
            "SELECT min(stored_ns) FROM wave JOIN channel ON channel.id = channel WHERE device = 'chest-1'"
        ).fetchone()
        (behind_live,) = store.execute(_LATER, (live_ns,)).fetchone()
        (conflicts,) = store.execute("SELECT count(*) FROM conflict").fetchone()
    assert behind_alarms > 0.8 * BLOCKS, "alarms of the day go before its waveform"
    assert behind_live > 0.2 * BLOCKS, "live data does not wait for the day"
    assert conflicts == 0
    assert site.watch.problems() == []


def _fill(site: Site, began_ns: int) -> int:
    """A day in the gateway's spool, of a boot that is over; how many rows."""
    file = SpoolFile(site.folder / "gateway.sqlite", "the boot before")
    codec, data = pack((np.arange(BLOCK_S * FS_HZ) % 500).astype(np.int16))
    entries: list[Entry] = []
    for second in range(0, DAY_S, BLOCK_S):
        at_ns = began_ns + second * 10**9
        block = WaveBlock(
            **COMMON, code=int(Code.ECG_UNSPECIFIED), device_boot=1, first_sample=second * FS_HZ, start_ns=at_ns,
            rate_mhz=FS_HZ * 1000, scale=2.5, count=BLOCK_S * FS_HZ, codec=int(codec), data=data,
        )  # fmt: skip
        entries.append(_entry("ecg", block, second, began_ns, int(Code.ECG_UNSPECIFIED), block.count))
        if second % 60 == 0:
            pulse = VitalValue(int(Code.HEART_RATE), 60.0 + second % 7, 0)
            entries.append(
                _entry("vitals", VitalsMessage(**COMMON, time_ns=at_ns, values=(pulse,)), second, began_ns)
            )
        if second % 3600 == 0:
            alarm = AlarmMessage(
                **COMMON, alarm_id=f"night-{second}", kind="tachycardia", priority="medium",
                category="physiological", phase="raised", onset_ns=at_ns, at_ns=at_ns, text="Tachycardia", rule="r",
            )  # fmt: skip
            entries.append(_entry("alarm", alarm, second, began_ns))
    for at in range(0, len(entries), 1000):
        file.append(entries[at : at + 1000])
    file.close()
    return len(entries)


def _entry(stream, message, second: int, began_ns: int, code: int = 0, samples: int = 1) -> Entry:
    mono_ns = (1000 + second) * 10**9
    return Entry("night-1", stream, message, mono_ns, began_ns - 1000 * 10**9, True, code, samples)


def _stored(site: Site) -> int:
    return _ask(
        site, "SELECT count(*) FROM wave JOIN channel ON channel.id = channel WHERE device = 'night-1'"
    )


def _ask(site: Site, question: str) -> int:
    with closing(sqlite3.connect(f"file:{site.data}/store.sqlite?mode=ro", uri=True, timeout=5)) as store:
        (found,) = store.execute(question).fetchone()
        return int(found or 0)
