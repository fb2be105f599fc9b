"""Orders of the cloud that a gateway carries out once and then confirms: a wearable has another patient.

What was done is on disk before it is confirmed, so an order that comes again, because its confirmation was lost or the
gateway restarted, is confirmed again and does not cost the new patient what was learned since.
"""

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.process.durable import write_durably
from vitalwire_edge.wearable.patient import Baselines
from vitalwire_edge.wire.messages import Command, Obeyed, encode_json

log = structlog.get_logger()

FORMAT: Final = 1
_MOST_WAITING: Final = 256


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    """The highest order done for each device."""

    format: int = FORMAT
    orders: dict[str, int] = {}


class Orders:
    """Carries out orders on the agent's thread; `take` hands their confirmations to the link, to be sealed.

    `renew` makes a wearable that is here forget what it holds in memory, and calls what it is given in between: that
    forgets the files. It raises what that raises.
    """

    def __init__(
        self,
        folder: Path,
        baselines: Baselines,
        *,
        clock: GatewayClock,
        renew: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._path = folder / "orders.json"
        self._baselines = baselines
        self._clock = clock
        self._renew = renew
        self._done = self._load()
        self._saying = threading.Lock()
        self._said: dict[str, bytes] = {}

    def obey(self, command: Command) -> None:
        """Forget the patient of a wearable, unless that was done. What fails is not confirmed, and so comes again."""
        device, order = command.device, command.order
        if device is None or order is None or order <= 0 or "/" in device:
            self.counters["orders_refused"] += 1
            log.warning("order_refused", device=device, order=order)
            return
        if order > self._done.orders.get(device, 0):
            try:
                self._renew(device, partial(self._baselines.forget, device))
                done = _Done(orders=self._done.orders | {device: order})
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_durably(self._path, msgspec.json.encode(done))
            except OSError as error:
                self.counters["orders_failed"] += 1
                log.error("order_failed", device=device, reason=str(error))  # noqa: TRY400 - the text says it
                return
            self._done = done
            self.counters["patients_forgotten"] += 1
            log.info("patient_forgotten", device=device)
        at_ns = max(0, self._clock.now().utc_ns)
        confirmed = encode_json(Obeyed(command="new_patient", order=order, device=device, at_ns=at_ns))
        with self._saying:
            if len(self._said) < _MOST_WAITING or device in self._said:
                self._said[device] = confirmed

    def connected(self) -> None:
        """The link is up: the cloud asks again for what it did not hear."""

    def receive(self, payload: bytes) -> None:
        """Orders come as commands; nothing else is heard."""
        del payload

    def take(self) -> list[bytes]:
        """Confirmations to be sealed and said; they are gone from here."""
        with self._saying:
            said, self._said = list(self._said.values()), {}
        return said

    def _load(self) -> _Done:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Done)
        except FileNotFoundError:
            return _Done()
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("orders_unreadable", path=str(self._path), reason=str(error), effect="done once more")
            return _Done()
