"""The signed models that come with the software, and the root key that gateways pin.

A new gateway starts with `first`. `successor` is a second, later model: where a machine cannot export a model of its
own (the exporter exists for x86_64 only) it is what a gateway can be updated to.
"""

from importlib import resources
from pathlib import Path
from typing import Final

from vitalwire_edge.inference.keys import Trust

TRUST_FILE: Final = "trust.json"


def folder() -> Path:
    """Where they lie."""
    return Path(str(resources.files(__name__)))


def first() -> bytes:
    """The beat model that a new gateway scores with."""
    return (folder() / "beat-1.vwm").read_bytes()


def successor() -> bytes:
    """A later beat model, to update to."""
    return (folder() / "successor" / "beat-2.vwm").read_bytes()


def trust() -> Trust:
    """What verifies all of them. Raises `KeyFileError`."""
    return Trust.read(folder() / TRUST_FILE)
