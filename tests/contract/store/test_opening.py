"""The configuration decides which store is opened; what is wrong with it is said by its key."""

from pathlib import Path

import pytest
from stored import T0, item, vitals, wave

from vitalwire_cloud.config import ENV_PREFIX, CloudConfig
from vitalwire_cloud.store.check import store as examine
from vitalwire_cloud.store.interface import Quarantined, StoreUnavailableError
from vitalwire_cloud.store.opening import open_reader, open_store
from vitalwire_edge.process import config as layers
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.findings import Subject
from vitalwire_edge.wire.messages import Skip


def config(folder: Path, **flags: str) -> CloudConfig:
    named = {f"store.influxdb.{key}": value for key, value in flags.items()}
    named |= {"store.backend": "influxdb", "data_dir": str(folder)}
    return layers.load(CloudConfig, env_prefix=ENV_PREFIX, flags=named)


def file_of(folder: Path, address) -> Path:
    path = folder / "cloud.toml"
    path.write_text(
        f'data_dir = "{folder}"\n[store]\nbackend = "influxdb"\n'
        f'[store.influxdb]\nurl = "{address.url}"\nbucket = "{address.bucket}"\norg = "{address.org}"\n'
    )
    return path


def verdict(**subject: Path) -> tuple[str, str]:
    (finding,) = examine(Subject(**subject))
    return finding.verdict, finding.detail


def test_what_the_service_stores_is_there_for_a_reader_and_for_the_doctor(influx_site, tmp_path):
    with influx_site.bucket() as address:
        chosen = config(tmp_path, url=address.url, bucket=address.bucket, org=address.org)
        with pytest.raises(StoreUnavailableError, match="no ledger"):
            open_reader(chosen)
        store = open_store(chosen)
        store.write([wave(0), vitals(0)], [])
        gone = Skip(session="s-1", first=1, last=2, samples=500, reason="age")
        store.write([item(gone, "ecg")], [])
        reader = open_reader(chosen)
        assert [(a.stream, a.samples, a.skipped) for a in reader.audit()] == [
            ("ecg", 250, 500),
            ("vitals", 1, 0),
        ]
        reader.close()
        assert verdict(cloud_config=file_of(tmp_path, address))[0] == "ok"
        store.write([], [Quarantined("t", b"x", "broken", T0)])
        assert verdict(cloud_config=file_of(tmp_path, address)) == (
            "warning",
            "influxdb: 0 devices, 0 conflicts, 1 quarantined messages",
        )
        store.close()


def test_the_doctor_names_a_server_that_does_not_answer(tmp_path, monkeypatch):
    chosen = config(tmp_path, url="http://127.0.0.1:9")
    store = open_store(chosen)
    assert "store.influxdb.url" in str(store.ready())
    store.close()
    monkeypatch.setenv("VITALWIRE_CLOUD_STORE__BACKEND", "influxdb")
    monkeypatch.setenv("VITALWIRE_CLOUD_STORE__INFLUXDB__URL", "http://127.0.0.1:9")
    found, detail = verdict(data_dir=tmp_path)
    assert found == "problem"
    assert "store.influxdb.url" in detail


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"url": "influxdb:8086"}, r"store\.influxdb\.url 'influxdb:8086'"),
        ({"token_file": "/nowhere"}, r"store\.influxdb\.token_file /nowhere cannot be read"),
    ],
)
def test_what_cannot_be_used_is_wrong_configuration(tmp_path, flags, told):
    with pytest.raises(ConfigError, match=told):
        open_store(config(tmp_path, **flags))
