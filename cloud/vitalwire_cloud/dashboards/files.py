"""Dashboards, data source and provisioning as the files that `dashboards/` holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from vitalwire_cloud.dashboards.boards import BOARDS
from vitalwire_cloud.dashboards.model import FOLDER_TITLE, FOLDER_UID, SOURCE_UID, dashboard

_SOURCE: Final = f"""\
# Put into provisioning/datasources of Grafana. VITALWIRE_INFLUX_URL, VITALWIRE_INFLUX_BUCKET and VITALWIRE_INFLUX_TOKEN
# are read from Grafana's environment; without a token, as on InfluxDB 1.x, leave the last four lines out.
apiVersion: 1
datasources:
  - name: vitalwire
    uid: {SOURCE_UID}
    type: influxdb
    access: proxy
    url: $VITALWIRE_INFLUX_URL
    jsonData:
      version: InfluxQL
      dbName: $VITALWIRE_INFLUX_BUCKET
      httpMode: POST
      httpHeaderName1: Authorization
    secureJsonData:
      httpHeaderValue1: Token $VITALWIRE_INFLUX_TOKEN
"""

_PROVIDER: Final = f"""\
# Put into provisioning/dashboards of Grafana, with the dashboards in the folder that `path` names.
apiVersion: 1
providers:
  - name: vitalwire
    folder: {FOLDER_TITLE}
    folderUid: {FOLDER_UID}
    type: file
    options:
      path: /var/lib/grafana/dashboards/vitalwire
"""


def files() -> Iterator[tuple[str, str]]:
    """Name and content of every file."""
    for board in BOARDS:
        text = msgspec.json.format(msgspec.json.encode(dashboard(board)), indent=2).decode()
        yield f"{board.uid.removeprefix('vitalwire-')}.json", text + "\n"
    yield "provisioning/datasources/vitalwire.yaml", _SOURCE
    yield "provisioning/dashboards/vitalwire.yaml", _PROVIDER


def write(folder: Path) -> list[Path]:
    """Write every file below `folder`; their paths. Raises `OSError`."""
    written = []
    for name, text in files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
