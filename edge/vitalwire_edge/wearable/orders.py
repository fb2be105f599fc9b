"""Orders of the cloud that a gateway carries out once and then confirms: another patient, or what staff said of one.

What was done is on disk before it is confirmed, so an order that comes again, because its confirmation was lost or the
gateway restarted, is confirmed again and does not cost the new patient what was learned since. Both kinds share one
count for each wearable, so what staff said of one patient never outlives the order that brings the next.
"""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.process.durable import write_durably
from vitalwire_edge.wearable.patient import Baselines
from vitalwire_edge.wearable.staff import StaffBook
from vitalwire_edge.wire.messages import Command, Obeyed, StaffState, encode_json

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
    forgets the files. It raises what that raises. `spoke` tells a wearable that is here that staff said something of
    its wearer.
    """

    def __init__(
        self,
        folder: Path,
        baselines: Baselines,
        *,
        clock: GatewayClock,
        renew: Callable[[str, Callable[[], None]], None],
        staff: StaffBook,
        spoke: Callable[[str], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._path = folder / "orders.json"
        self._baselines = baselines
        self._clock = clock
        self._renew = renew
        self._staff = staff
        self._spoke = spoke
        self._done = self._load()
        self._saying = threading.Lock()
        self._said: dict[tuple[str, str], bytes] = {}

    def obey(self, command: Command) -> None:
        """Carry out an order, unless that was done. What fails is not confirmed, and so comes again."""
        device, order = command.device, command.order
        if device is None or order is None or order <= 0 or "/" in device:
            self.counters["orders_refused"] += 1
            log.warning("order_refused", device=device, order=order)
            return
        try:
            if command.command == "new_patient":
                self._forget_patient(device, order)
                self._confirm(Obeyed(command="new_patient", order=order, device=device, at_ns=self._now_ns()))
            elif command.staff is not None:
                self._take_staff(device, order, command.staff)
                self._confirm(Obeyed(command="staff", order=order, device=device, at_ns=self._now_ns()))
            else:
                self.counters["orders_refused"] += 1
                log.warning(
                    "order_refused", device=device, order=order, reason="it does not say what staff said"
                )
        except OSError as error:
            self.counters["orders_failed"] += 1
            log.error("order_failed", device=device, reason=str(error))  # noqa: TRY400 - the text says it

    def _forget_patient(self, device: str, order: int) -> None:
        if order <= self._done.orders.get(device, 0):
            return

        def forget() -> None:
            self._staff.forget(device, before=order)
            self._baselines.forget(device)

        self._renew(device, forget)
        done = _Done(orders=self._done.orders | {device: order})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self._path, msgspec.json.encode(done))
        self._done = done
        self.counters["patients_forgotten"] += 1
        log.info("patient_forgotten", device=device)

    def _take_staff(self, device: str, order: int, staff: StaffState) -> None:
        # What is older than the last change of hands was said of somebody else.
        if order > self._done.orders.get(device, 0) and self._staff.keep(device, order, staff):
            self._spoke(device)
            self.counters["staff_entries_taken"] += 1
            log.info("staff_entries_taken", device=device)

    def _confirm(self, done: Obeyed) -> None:
        kind = done.command, done.device
        with self._saying:
            if len(self._said) < _MOST_WAITING or kind in self._said:
                self._said[kind] = encode_json(done)

    def _now_ns(self) -> int:
        return max(0, self._clock.now().utc_ns)

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
