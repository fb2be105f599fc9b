"""Bringing a Grafana server to what the code says, through its HTTP API. What is as it should be is left alone."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, TokenAuth

from vitalwire_cloud.dashboards.boards import BOARDS
from vitalwire_cloud.dashboards.model import FOLDER_TITLE, FOLDER_UID, SOURCE_UID, dashboard

_NOT_FOUND: Final = 404
_GRAFANAS_OWN: Final = frozenset({"id", "version"})

Change = Literal["made", "changed", "as it was"]


class GrafanaError(Exception):
    """The server cannot be brought to it; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """The InfluxDB that Grafana's server reads: as Grafana reaches it."""

    url: str
    bucket: str
    token: str = ""


def push(url: str, token: str, source: Source) -> dict[str, Change]:
    """Folder, data source and dashboards, by UID; what became of each. Raises `GrafanaError`."""
    api = GrafanaApi.from_url(url, credential=TokenAuth(token))  # type: ignore[no-untyped-call]
    try:
        changes = {FOLDER_UID: _folder(api), SOURCE_UID: _source(api, source)}
        for board in BOARDS:
            changes[board.uid] = _dashboard(api, dashboard(board))
    except GrafanaException as error:
        raise GrafanaError(
            f"Grafana at {url} refuses ({error.status_code}): {error.message}; "
            "the token must be one of a service account that may edit data sources and dashboards"
        ) from error
    except OSError as error:
        raise GrafanaError(f"Grafana at {url} does not answer ({error}): correct --url") from error
    finally:
        api.client.s.close()
    return changes


def _folder(api: Any) -> Change:
    if _found(api.folder.get_folder, FOLDER_UID) is not None:
        return "as it was"
    api.folder.create_folder(title=FOLDER_TITLE, uid=FOLDER_UID)
    return "made"


def _source(api: Any, source: Source) -> Change:
    wanted: dict[str, Any] = {
        "uid": SOURCE_UID,
        "name": "vitalwire",
        "type": "influxdb",
        "access": "proxy",
        "url": source.url,
        "jsonData": {"version": "InfluxQL", "dbName": source.bucket, "httpMode": "POST"},
    }
    there = _found(api.datasource.get_datasource_by_uid, SOURCE_UID)
    if source.token:
        wanted["jsonData"]["httpHeaderName1"] = "Authorization"
        wanted["secureJsonData"] = {"httpHeaderValue1": f"Token {source.token}"}
    if there is None:
        api.datasource.create_datasource(wanted)
        return "made"
    # A secret cannot be read back, so a token is always sent again.
    if not source.token and all(there.get(key) == value for key, value in wanted.items()):
        return "as it was"
    api.datasource.update_datasource_by_uid(SOURCE_UID, wanted)
    return "changed"


def _dashboard(api: Any, wanted: dict[str, Any]) -> Change:
    there = _found(api.dashboard.get_dashboard, wanted["uid"])
    if there is not None:
        held = {key: value for key, value in there["dashboard"].items() if key not in _GRAFANAS_OWN}
        if held == wanted and there.get("meta", {}).get("folderUid") == FOLDER_UID:
            return "as it was"
    api.dashboard.update_dashboard(
        {
            "dashboard": wanted,
            "folderUid": FOLDER_UID,
            "overwrite": True,
            "message": "vitalwire dashboards push",
        }
    )
    return "made" if there is None else "changed"


def _found(ask: Any, uid: str) -> Any:
    """What Grafana has under a UID, or None."""
    try:
        return ask(uid)
    except GrafanaClientError as error:
        if error.status_code == _NOT_FOUND:
            return None
        raise
