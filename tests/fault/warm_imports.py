"""What a process of the site needs, loaded and compiled once in the server that forks them (`warm_process.py`).

Only that server imports this module: it puts a wall clock that can be stepped in place of the system's, before anything
else can keep a reference to that one.
"""

import importlib

import wall_clock

wall_clock.install()
for name in (
    "vitalwire_edge.agent",
    "vitalwire_edge.cli",
    "vitalwire_edge.commands",
    "vitalwire_cloud.broker",
    "vitalwire_cloud.commands",
    "vitalwire_cloud.service",
):
    importlib.import_module(name)
for name in (
    "vitalwire_edge.wearable.warming",
    "vitalwire_edge.inference.trend",
    "vitalwire_edge.inference.features",
):
    importlib.import_module(name).warm()
