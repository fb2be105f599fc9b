"""The few words of Grafana's dashboard model that ours are made of. Everything is named by UID, nothing by number."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

SOURCE_UID: Final = "vitalwire-influxdb"
FOLDER_UID: Final = "vitalwire"
FOLDER_TITLE: Final = "vitalwire"

_SOURCE: Final = {"type": "influxdb", "uid": SOURCE_UID}
_SCHEMA: Final = 39
_COLUMNS: Final = 24

Form = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """An InfluxQL query; `alias` names its series in a legend, with `$tag_device` and the like."""

    text: str
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """What is drawn. `width` in 24ths of the page, `unit` as Grafana calls it, `limits` colour from that value on."""

    title: str
    form: Form
    queries: tuple[Query, ...]
    width: int = 12
    height: int = 8
    unit: str = "short"
    description: str = ""
    limits: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. `by_device` adds the choice of devices that its queries name as `$device`."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    by_device: bool = False
    marks: Query | None = None
    since: str = "now-1h"


def dashboard(board: Board) -> dict[str, Any]:
    """Grafana's JSON of a board."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["vitalwire"],
        "timezone": "utc",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "schemaVersion": _SCHEMA,
        "time": {"from": board.since, "to": "now"},
        "templating": {"list": [_devices()] if board.by_device else []},
        "annotations": {"list": [] if board.marks is None else [_marks(board.marks)]},
        "panels": list(_panels(board.panels)),
    }


def _panels(panels: Iterable[Panel]) -> Iterable[dict[str, Any]]:
    x = y = row = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > _COLUMNS:
            x, y, row = 0, y + row, 0
        yield _panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": panel.height})
        x, row = x + panel.width, max(row, panel.height)


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}, *({"color": c, "value": v} for v, c in panel.limits)]
    options: dict[str, Any] = {}
    if panel.form == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.form,
        "gridPos": place,
        "datasource": _SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + place_in_panel),
                "datasource": _SOURCE,
                "query": query.text,
                "rawQuery": True,
                "alias": query.alias,
                "resultFormat": "table" if panel.form == "table" else "time_series",
            }
            for place_in_panel, query in enumerate(panel.queries)
        ],
    }


def _devices() -> dict[str, Any]:
    return {
        "name": "device",
        "label": "Device",
        "type": "query",
        "datasource": _SOURCE,
        "query": 'SHOW TAG VALUES FROM "vitals" WITH KEY = "device"',
        "definition": 'SHOW TAG VALUES FROM "vitals" WITH KEY = "device"',
        "refresh": 2,
        "sort": 1,
        "multi": False,
        "includeAll": False,
    }


def _marks(query: Query) -> dict[str, Any]:
    return {
        "name": "Alarms",
        "enable": True,
        "iconColor": "red",
        "datasource": _SOURCE,
        "query": query.text,
        "rawQuery": True,
        "textColumn": "text",
        "titleColumn": "kind",
        "tagsColumn": "priority",
    }
