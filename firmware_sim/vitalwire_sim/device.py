"""One wearable as a process: it measures in real time by its own clock and talks to its gateway.

Time on the wire: sample `n` was taken when the device's clock showed `n / rate` (both start at 0 with the first
sample), and a frame is stamped with the device's clock at the end of what it holds: for a wave the time of the sample
after its last, for vitals and status the instant they describe. A frame that waited in the buffer keeps its stamp.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from vitalwire_edge.recordings.recording import Recording, Replay, TrueBeat
from vitalwire_edge.wire.frames import Goodbye
from vitalwire_sim.faults.clock import DeviceClock
from vitalwire_sim.faults.radio import Radio
from vitalwire_sim.link import GatewayLink, Tally
from vitalwire_sim.physiology.body import Body
from vitalwire_sim.scenario import Device
from vitalwire_sim.script import Occurrence, Script
from vitalwire_sim.truth import BeatTruth, End, EpisodeEnd, EpisodeStart, TruthFile
from vitalwire_sim.wearable import Said, Wearable

log = structlog.get_logger()


class UnreachableError(OSError):
    """The whole run went by without a connection; the message names the address."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run of one device. `start_ns` is the UTC time of sample 0; `seconds` None runs until stopped."""

    device: Device
    script: Script
    host: str
    port: int
    seconds: float | None
    start_ns: int
    boot: int
    seed: int


class DeviceProcess:
    """Runs a `Plan`. `recording` replaces the simulated ECG and loops."""

    def __init__(self, plan: Plan, recording: Recording | None, truth: TruthFile) -> None:
        self._plan = plan
        self._truth = truth
        self._tally = Tally()
        self._clock = DeviceClock(plan.device.drift_ppm, plan.script)
        body = Body(plan.device.patient, plan.script, fs_hz=plan.device.fs_hz, seed=plan.seed)
        ecg = body if recording is None else Replay(recording, loop=True)
        fs_hz = float(plan.device.fs_hz) if recording is None else recording.fs_hz
        self._wearable = Wearable(plan.device, plan.script, ecg, body, fs_hz=fs_hz, seed=plan.seed)
        self._pending: Final = list(reversed(plan.script.occurrences))
        self._open: list[Occurrence] = []
        # Maps UTC to the monotonic clock once: from here on only the monotonic clock is read.
        self._zero_ns: Final = time.monotonic_ns() + plan.start_ns - time.time_ns()

    async def run(self, stop: asyncio.Event) -> Literal["done", "stopped"]:
        """Measure and send until the end, or until `stop`. The final counters are written in any case."""
        plan = self._plan
        link = GatewayLink(
            plan.host,
            plan.port,
            hello=self._wearable.hello(plan.boot),
            clock_s=self._device_now_s,
            radio=Radio(plan.script, plan.device.radio, seed=plan.seed),
            tally=self._tally,
            seed=plan.seed,
        )
        reason: Literal["done", "stopped", "failed"] = "failed"
        # A hello from before sample 0 would carry a clock that does not run yet.
        if await _until(self._zero_ns, stop):
            self._finish("stopped", 0)
            return "stopped"
        sending = asyncio.create_task(link.run())
        try:
            reason = await self._measure(link, sending, stop)
            link.put(Said(self._device_now_s(), Goodbye()))
            link.close()
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            self._finish(reason, max(link.connections - 1, 0))
        if link.connections == 0:
            raise UnreachableError(
                f"gateway {plan.host}:{plan.port} was never reached: start it first, or correct --gateway-address"
            )
        return reason

    async def _measure(
        self, link: GatewayLink, sending: asyncio.Task[None], stop: asyncio.Event
    ) -> Literal["done", "stopped"]:
        for moment in self._wearable.moments(self._plan.seconds):
            due_ns = self._zero_ns + self._clock.true_ns(moment.end_s)
            if await _until(due_ns, stop):
                return "stopped"
            if sending.done():
                sending.result()
            self._tell_episodes(moment.end_s)
            for said in moment.said:
                link.put(said)
            self._tally.missing(moment.missing)
            for beat in moment.beats:
                self._truth.write(self._beat(beat))
        return "done"

    def _device_now_s(self) -> float:
        return max(self._clock.device_s(time.monotonic_ns() - self._zero_ns), 0.0)

    def _utc_ns(self, device_s: float) -> int:
        return self._plan.start_ns + self._clock.true_ns(device_s)

    def _beat(self, beat: TrueBeat) -> BeatTruth:
        r_ns = self._utc_ns(beat.sample / self._wearable.fs_hz)
        return BeatTruth(sample=beat.sample, r_ns=r_ns, symbol=beat.symbol)

    def _tell_episodes(self, now_s: float) -> None:
        """Write what has begun and what is over by `now_s`."""
        for episode in [e for e in self._open if e.end_s <= now_s]:
            self._open.remove(episode)
            self._truth.write(self._ended(episode, episode.end_s, cut=False))
        while self._pending and self._pending[-1].start_s <= now_s:
            episode = self._pending.pop()
            self._open.append(episode)
            self._truth.write(
                EpisodeStart(
                    kind=episode.kind,
                    at_ns=self._utc_ns(episode.start_s),
                    end_ns=self._utc_ns(episode.end_s),
                    strength=episode.strength,
                    expects=episode.nature.expects,
                    allows=episode.nature.allows,
                    settle_s=episode.nature.settle_s,
                )
            )

    def _ended(self, episode: Occurrence, end_s: float, *, cut: bool) -> EpisodeEnd:
        return EpisodeEnd(
            kind=episode.kind,
            start_ns=self._utc_ns(episode.start_s),
            at_ns=self._utc_ns(end_s),
            cut=cut,
        )

    def _finish(self, reason: Literal["done", "stopped", "failed"], reconnects: int) -> None:
        for episode in self._open:
            self._truth.write(self._ended(episode, min(self._device_now_s(), episode.end_s), cut=True))
        counts = self._tally.streams
        self._truth.write(
            End(
                at_ns=self._utc_ns(self._device_now_s()),
                reason=reason,
                ecg=counts["ecg"],
                vitals=counts["vitals"],
                reconnects=reconnects,
            )
        )
        log.info("ended", reason=reason, sent=counts["ecg"].sent, not_delivered=counts["ecg"].not_delivered)


async def _until(due_ns: int, stop: asyncio.Event) -> bool:
    """Wait for the monotonic time `due_ns`; True when `stop` came first."""
    left_s = (due_ns - time.monotonic_ns()) / 1e9
    if left_s > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), left_s)
    else:
        # Late: catch up, but let the sender run.
        await asyncio.sleep(0)
    return stop.is_set()
