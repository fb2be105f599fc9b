"""The three dashboards: the fleet, one patient, ingest. InfluxQL only, which every version of the server answers."""

# Queries are put together from constants.
# ruff: noqa: S608

from typing import Final

from vitalwire_cloud.dashboards.model import Board, Panel, Query

_WHEN: Final = "$timeFilter"
_DEVICE: Final = '"device" =~ /^$device$/ AND $timeFilter'
_STEP: Final = "GROUP BY time($__interval)"
_RAISED: Final = "\"phase\" = 'raised'"
_ALARM_COLUMNS: Final = '"kind", "priority", "phase", "text"'


def _mean(field: str, *, where: str, group: str, alias: str, measurement: str = "vitals") -> Query:
    return Query(f'SELECT mean("{field}") FROM "{measurement}" WHERE {where} {group} fill(null)', alias)


def _vital(title: str, unit: str, *fields: tuple[str, str]) -> Panel:
    queries = tuple(_mean(field, where=_DEVICE, group=_STEP, alias=name) for field, name in fields)
    return Panel(title, "timeseries", queries, width=12, height=7, unit=unit)


FLEET: Final = Board(
    "vitalwire-fleet",
    "Fleet",
    "Every device at a glance: who reports, the newest numbers, open trouble.",
    (
        Panel(
            "Devices that sent waveform",
            "stat",
            (
                Query(
                    'SELECT count("seq") FROM'
                    f' (SELECT last("seq") AS "seq" FROM "wave" WHERE {_WHEN} GROUP BY "device")'
                ),
            ),
            width=6,
            height=5,
        ),
        Panel(
            "High alarms raised",
            "stat",
            (
                Query(
                    f'SELECT count("alarm_id") FROM "alarm" WHERE "priority" = \'high\' AND {_RAISED} AND {_WHEN}'
                ),
            ),
            width=6,
            height=5,
            limits=((1, "red"),),
        ),
        Panel(
            "Alarms raised",
            "timeseries",
            tuple(
                Query(
                    f'SELECT count("alarm_id") FROM "alarm" WHERE "priority" = \'{priority}\''
                    f" AND {_RAISED} AND {_WHEN} {_STEP} fill(0)",
                    priority,
                )
                for priority in ("high", "medium", "low")
            ),
            height=5,
        ),
        Panel(
            "Newest numbers of each device",
            "table",
            (
                Query(
                    'SELECT last("heart_rate") AS "HR", last("spo2") AS "SpO2", last("respiration_rate") AS "Resp",'
                    f' last("temperature") AS "Temp" FROM "vitals" WHERE {_WHEN} GROUP BY "device"'
                ),
            ),
            height=10,
        ),
        Panel(
            "Newest alarm messages",
            "table",
            (
                Query(
                    f'SELECT "device", {_ALARM_COLUMNS} FROM "alarm" WHERE {_WHEN} ORDER BY time DESC LIMIT 50'
                ),
            ),
            height=10,
        ),
        Panel(
            "Heart rate of every device",
            "timeseries",
            (
                _mean(
                    "heart_rate",
                    where=_WHEN,
                    group='GROUP BY time($__interval), "device"',
                    alias="$tag_device",
                ),
            ),
            width=24,
            unit="none",
        ),
        Panel(
            "Strangest beat of every device",
            "timeseries",
            (
                Query(
                    f'SELECT max("score") FROM "score" WHERE {_WHEN} GROUP BY time($__interval), "device" fill(null)',
                    "$tag_device",
                ),
            ),
            width=24,
            description="Score of the beat model; each patient has a threshold of their own.",
        ),
    ),
)

PATIENT: Final = Board(
    "vitalwire-patient",
    "Patient vitals and alarms",
    "One device: numbers, beats, model score and alarms.",
    (
        _vital("Heart rate and pulse", "none", ("heart_rate", "HR"), ("pulse_rate", "Pulse")),
        _vital("Oxygen saturation", "percent", ("spo2", "SpO2")),
        _vital("Respiration", "none", ("respiration_rate", "Resp")),
        _vital("Temperature", "celsius", ("temperature", "Temp")),
        _vital(
            "Blood pressure", "none", ("systolic", "Sys"), ("diastolic", "Dia"), ("mean_pressure", "Mean")
        ),
        _vital(
            "PR, QRS, QT and QTc of the median beat",
            "ms",
            *(("pr_interval", "PR"), ("qrs_duration", "QRS"), ("qt_interval", "QT"), ("qtc_interval", "QTc")),
        ),
        _vital("Heart rate variability, 5 minutes", "ms", ("sdnn", "SDNN"), ("rmssd", "RMSSD")),
        _vital("Heart rate variability, 24 hours", "ms", ("sdann", "SDANN"), ("sdnn_index", "SDNN index")),
        _vital(
            "Ectopic beats an hour",
            "none",
            *(("ventricular_per_h", "V"), ("premature_per_h", "S"), ("couplets_per_h", "couplets")),
            ("runs_per_h", "runs"),
        ),
        _vital("Ectopy, share of beats", "percent", ("ventricular_burden", "V"), ("bigeminy", "bigeminy")),
        Panel(
            "Interval between beats",
            "timeseries",
            (
                Query(f'SELECT min("rr_ms") FROM "beat" WHERE {_DEVICE} {_STEP} fill(null)', "shortest"),
                Query(f'SELECT max("rr_ms") FROM "beat" WHERE {_DEVICE} {_STEP} fill(null)', "longest"),
            ),
            height=7,
            unit="ms",
        ),
        Panel(
            "Wide beats",
            "timeseries",
            (
                Query(
                    f'SELECT count("seq") FROM "beat" WHERE "wide" = true AND {_DEVICE} {_STEP} fill(0)',
                    "wide",
                ),
            ),
            height=7,
        ),
        Panel(
            "Beat model",
            "timeseries",
            (
                Query(f'SELECT max("score") FROM "score" WHERE {_DEVICE} {_STEP} fill(null)', "score"),
                Query(
                    f'SELECT mean("threshold") FROM "score" WHERE {_DEVICE} {_STEP} fill(null)', "threshold"
                ),
            ),
            height=7,
        ),
        Panel(
            "Alarm messages",
            "table",
            (
                Query(
                    f'SELECT {_ALARM_COLUMNS}, "value", "limit" FROM "alarm" WHERE {_DEVICE}'
                    " ORDER BY time DESC LIMIT 200"
                ),
            ),
            width=24,
        ),
        Panel(
            "Heart rate by the minute, from before the numbers expired",
            "timeseries",
            tuple(
                Query(
                    f'SELECT "{field}" FROM "vitals_1m" WHERE "channel" = \'heart_rate\' AND {_DEVICE}', field
                )
                for field in ("low", "mean", "high")
            ),
            width=24,
            unit="none",
        ),
    ),
    by_device=True,
    marks=Query(f'SELECT {_ALARM_COLUMNS} FROM "alarm" WHERE {_RAISED} AND {_DEVICE}'),
)

INGEST: Final = Board(
    "vitalwire-ingest",
    "Ingest",
    "What arrives, how late, and what stands at a time that was taken.",
    (
        Panel(
            "Waveform samples stored",
            "timeseries",
            (Query(f'SELECT sum("count") FROM "wave" WHERE {_WHEN} {_STEP} fill(0)', "samples"),),
        ),
        Panel(
            "Messages stored",
            "timeseries",
            tuple(
                Query(f'SELECT count("seq") FROM "{measurement}" WHERE {_WHEN} {_STEP} fill(0)', name)
                for measurement, name in (
                    ("wave", "blocks"),
                    ("vitals", "numbers"),
                    ("beat", "beats"),
                    ("score", "scores"),
                    ("alarm", "alarms"),
                )
            ),
        ),
        Panel(
            "From the last sample to its place in the store",
            "timeseries",
            (
                Query(
                    f'SELECT percentile("late_ms", 50) FROM "wave" WHERE {_WHEN} {_STEP} fill(null)', "p50"
                ),
                Query(
                    f'SELECT percentile("late_ms", 99) FROM "wave" WHERE {_WHEN} {_STEP} fill(null)', "p99"
                ),
            ),
            unit="ms",
            description="Backlog is late by as long as its link was down.",
        ),
        Panel(
            "Points moved beside another one",
            "timeseries",
            tuple(
                Query(
                    f'SELECT count("moved_ns") FROM "{measurement}" WHERE {_WHEN} {_STEP} fill(0)',
                    measurement,
                )
                for measurement in ("wave", "vitals", "beat")
            ),
            limits=((1, "orange"),),
            description="Two messages hold one time: both are kept, and one of them deserves a question.",
        ),
        Panel(
            "Samples stored of each device",
            "table",
            (
                Query(
                    'SELECT sum("count") AS "samples", max("late_ms") AS "latest by (ms)"'
                    f' FROM "wave" WHERE {_WHEN} GROUP BY "device"'
                ),
            ),
            width=24,
            height=10,
        ),
    ),
)

BOARDS: Final = (FLEET, PATIENT, INGEST)
