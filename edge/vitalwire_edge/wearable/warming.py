"""Everything compiled that a wearable's data passes through, made ready before the first one connects."""

import gc
from typing import Final

from vitalwire_edge.alarms import fibrillation
from vitalwire_edge.clock import device_clock
from vitalwire_edge.signal import chain, vitals
from vitalwire_edge.wire import rice

_YOUNG: Final = 20_000
"""Objects made since the last look at the youngest ones: frames and messages come and go by the thousand a second."""


def warm() -> None:
    """Compile every kernel, or load it from numba's cache. The beat model's own are warmed where it is loaded."""
    chain.warm()
    vitals.warm()
    fibrillation.warm()
    device_clock.warm()
    rice.warm()


def settle() -> None:
    """Keep the collector of cycles away from what stays for good: libraries are some 200,000 objects.

    What frames and messages leave behind needs no collector; it still looks for cycles, in what is new.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
