"""Everything compiled that a wearable's data passes through, made ready before the first one connects."""

from vitalwire_edge.alarms import fibrillation
from vitalwire_edge.clock import device_clock
from vitalwire_edge.signal import chain, vitals
from vitalwire_edge.wire import rice


def warm() -> None:
    """Compile every kernel, or load it from numba's cache. The beat model's own are warmed where it is loaded."""
    chain.warm()
    vitals.warm()
    fibrillation.warm()
    device_clock.warm()
    rice.warm()
