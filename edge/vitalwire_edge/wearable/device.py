"""One wearable behind the gateway: from its frames to spooled waveform blocks, beats, vitals and alarms."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import structlog

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.clock.device_clock import EnvelopeClock
from vitalwire_edge.signal.chain import ChainOutput
from vitalwire_edge.wearable.alarms import DeviceAlarms
from vitalwire_edge.wearable.channel import WaveformChannel
from vitalwire_edge.wearable.heart_rate import HeartRate
from vitalwire_edge.wearable.messages import channel_infos
from vitalwire_edge.wearable.outlet import Outlet
from vitalwire_edge.wearable.reorder import Reorder, Timed
from vitalwire_edge.wearable.scoring import KIND, BeatScoring
from vitalwire_edge.wearable.settling import Settling
from vitalwire_edge.wearable.surroundings import Surroundings
from vitalwire_edge.wearable.trend import DeviceTrend
from vitalwire_edge.wearable.vital_signs import judge
from vitalwire_edge.wire.codes import LEADS, Code
from vitalwire_edge.wire.frames import Goodbye, Hello, Status, Vitals, Wave
from vitalwire_edge.wire.messages import DeviceBirth, DeviceDeath, DeviceStatus, Paced, VitalValue

log = structlog.get_logger()

NS_PER_S = 1_000_000_000
_REBOOT_BACK_NS = 5 * NS_PER_S

Reason = Literal["goodbye", "closed", "silent"]


class Wearable:
    """Everything about one device name, over all its connections. One thread.

    `lifecycle` is what the cloud should know about its presence; `dropped` counts by reason what did not get through.
    """

    def __init__(self, name: str, around: Surroundings, open_alarms: Sequence[AlarmChange] = ()) -> None:
        self.name = name
        self._around = around
        self._clock = around.clock
        self.dropped: Counter[str] = Counter()
        self.frames = 0
        self.connected = False
        self.lifecycle: DeviceBirth | DeviceDeath | None = None
        self._heard_ns = around.clock.now().mono_ns
        self._boot: int | None = None
        self._hello: Hello | None = None
        self._battery: int | None = None
        self._vitals_seen: dict[Code, None] = {}
        self._departed = True
        self._paced: Paced = "unknown"
        self._outlet = Outlet(name, around)
        self._meet_patient(open_alarms)
        self._start_anew()

    def _meet_patient(self, open_alarms: Sequence[AlarmChange] = ()) -> None:
        """Alarm rules and scoring, with what is kept of the patient."""
        around = self._around
        self._paced = self._pacing()
        by_rule = [change for change in open_alarms if change.kind != KIND]
        by_model = next((change for change in open_alarms if change.kind == KIND), None)
        self._alarms = DeviceAlarms(
            self.name, around.alarms, self._paced, around.clock, self._outlet.alarm, by_rule
        )
        self._alarms.told(around.said(self.name), self._paced)
        # A pacemaker's beats have no P wave of the patient's own, and none that is ectopic as the rule means it.
        self._trend = self._new_trend()
        self._scoring: BeatScoring | None = None
        if around.scoring is not None:
            self._scoring = BeatScoring(
                self.name,
                around.scoring,
                paced=self._paced,
                clock=around.clock,
                on_scores=self._outlet.scores,
                on_alert=self._outlet.alarm,
                open_alert=by_model,
            )

    def _pacing(self) -> Paced:
        """What staff said of a pacemaker, else what the configuration says."""
        said = self._around.said(self.name).paced
        return self._around.telemetry.pacing(self.name) if said == "unknown" else said

    def _new_trend(self) -> DeviceTrend | None:
        telemetry = self._around.telemetry
        return DeviceTrend(self.name, telemetry.qtc) if telemetry.trends and self._paced != "yes" else None

    def staff_spoke(self) -> None:
        """Staff said something new of whoever wears this."""
        before, self._paced = self._paced, self._pacing()
        self._alarms.told(self._around.said(self.name), self._paced)
        if self._paced == before:
            return
        if self._scoring is not None:
            self._scoring.pacing(self._paced, self._clock.now().mono_ns)
        if "yes" in (before, self._paced):
            self._trend = self._new_trend()
            ecg = self._ecg()
            if self._trend is not None and ecg is not None:
                self._trend.begin(ecg.info.rate_mhz / 1000)
        if isinstance(self.lifecycle, DeviceBirth):
            self._birth()

    def new_patient(self, forget: Callable[[], None]) -> None:
        """Somebody else wears it from now on: `forget` what is kept on disk; alarms of the one before end here."""
        now_ns = self._clock.now().mono_ns
        self.flush()
        self._alarms.end(now_ns, "Ended: another patient")
        if self._scoring is not None:
            self._scoring.end(now_ns)
        alarms, scoring = self._alarms, self._scoring
        try:
            forget()
        finally:
            self._outlet.policy.forget()
            self._heart_rate = HeartRate()
            self._meet_patient()
            self._alarms.failures = alarms.failures
            if scoring is not None and self._scoring is not None:
                self._scoring.counts.update(scoring.counts)
            self._analyse()
            # What the one before had, or not, stands in the birth.
            if isinstance(self.lifecycle, DeviceBirth) and self.lifecycle.paced != self._paced:
                self._birth()

    def _analyse(self) -> None:
        """Have the ECG analysed from here on, from the reference beat that is known."""
        ecg = self._ecg()
        if ecg is not None:
            scoring, fs_hz = self._scoring, ecg.info.rate_mhz / 1000
            ecg.analyse(None if scoring is None else scoring.begin(int(ecg.info.code), fs_hz))
            if self._trend is not None:
                self._trend.begin(fs_hz)

    def _ecg(self) -> WaveformChannel | None:
        return next((c for c in self._channels if c.info.code in LEADS and c.usable), None)

    @property
    def heard_ns(self) -> int:
        """Monotonic time of the last frame."""
        return self._heard_ns

    @property
    def expected(self) -> bool:
        """Whether data is to come: its silence is an alarm until it says goodbye."""
        return not self._departed

    def expect(self) -> None:
        """It was there before the gateway restarted: from now on it has to come back, or it is silent."""
        self._heard_ns = self._clock.now().mono_ns
        self._departed = False

    def _start_anew(self) -> None:
        """The device restarted: its counters and its clock begin again."""
        telemetry = self._around.telemetry
        self._device_clock = EnvelopeClock()
        self._reorder = Reorder(
            frames=telemetry.reorder_frames, hold_ns=round(telemetry.reorder_s * NS_PER_S)
        )
        self._channels: list[WaveformChannel] = []
        self._heart_rate = HeartRate()
        self._last_device_ns = 0
        self._settling: Settling | None = Settling()

    def greet(self, timed: Timed) -> None:
        """The hello of a new connection: a new boot starts everything anew, the same boot goes on."""
        hello = timed.frame.payload
        assert isinstance(hello, Hello)
        device_ns = timed.frame.device_us * 1000
        rebooted = self._boot != hello.boot or device_ns + _REBOOT_BACK_NS < self._last_device_ns
        anew = rebooted or self._hello is None or hello.channels != self._hello.channels
        if anew:
            self.flush()
            self._start_anew()
            self._boot = hello.boot
            self._channels = [
                WaveformChannel(channel, self._around.telemetry.block_s) for channel in hello.channels
            ]
            for channel in self._channels:
                if not channel.usable:
                    info = channel.info
                    log.warning(
                        "channel_unusable", device=self.name, code=int(info.code), rate_mhz=info.rate_mhz
                    )
            self._analyse()
        self._hello = hello
        # On a serial line nobody sees a connection begin, so a device says the same hello again and again.
        known = self.connected and not anew and not self._departed
        self.connected = True
        self._departed = False
        if not known:
            self._birth()
        self.take(timed)

    def take(self, timed: Timed) -> None:
        """A frame that arrived."""
        self.frames += 1
        self._heard_ns = timed.arrival_ns
        if isinstance(self.lifecycle, DeviceDeath) and not self._departed:
            self._birth()
        for ready in self._reorder.push(timed):
            self._use(ready)
        self._settle(timed.arrival_ns)

    def tick(self, now_ns: int) -> None:
        """Time passes: give up waiting for holes, notice silence, let the alarm rules look at the clock."""
        for ready in self._reorder.expire(now_ns):
            self._use(ready)
        self._settle(now_ns)
        if self._scoring is not None:
            self._scoring.tick(now_ns)
        if self._departed:
            return
        silent_ns = round(self._around.telemetry.silent_after_s * NS_PER_S)
        if now_ns - self._heard_ns > silent_ns and isinstance(self.lifecycle, DeviceBirth):
            self.flush()
            self._die("silent")
        elif now_ns - self._heard_ns > 2 * NS_PER_S:
            self.flush()
        self._alarms.clock(now_ns)

    def leave(self, reason: Reason) -> None:
        """The connection is gone. After a goodbye nobody expects to hear from it, and silence is no alarm."""
        self.connected = False
        self.flush()
        if self._scoring is not None:
            self._scoring.keep()
        if isinstance(self.lifecycle, DeviceBirth):
            self._die(reason)

    def flush(self) -> None:
        """Send on what is still being gathered."""
        for ready in self._reorder.flush():
            self._use(ready)
        self._release()
        for channel in self._channels:
            for block in channel.flush(self._device_clock):
                self._outlet.wave(channel.info, self._boot or 0, block)
        self._outlet.beats()
        if self._scoring is not None:
            self._scoring.flush()

    def status(self, now_ns: int) -> DeviceStatus:
        """State for the gateway's status message."""
        quality = next((c.quality for c in self._channels if c.quality is not None), None)
        return DeviceStatus(
            device=self.name,
            connected=self.connected,
            battery_percent=self._battery,
            quality=quality,
            last_frame_age_s=round((now_ns - self._heard_ns) / NS_PER_S, 3) if self.frames else None,
            frames=self.frames,
            dropped=self.losses(),
            # Of a wearable that is away nothing is known now, whatever its last numbers were.
            news2=self._alarms.news2_status() if isinstance(self.lifecycle, DeviceBirth) else None,
        )

    def counts(self) -> Counter[str]:
        """What happened to beats and readings on their way, besides `losses`."""
        found = Counter() if self._scoring is None else Counter(dict(self._scoring.counts))
        if self._trend is not None:
            found.update(self._trend.counts)
        found["alarm_rule_failures"] = self._alarms.failures
        found["late_readings"] = self._alarms.late_readings
        found["waveform_given_up"] = self._outlet.policy.given_up
        return found

    @property
    def withheld(self) -> int:
        """ECG samples that the telemetry policy keeps here."""
        return self._outlet.policy.withheld

    def losses(self) -> dict[str, int]:
        """What did not get through, by reason."""
        found = Counter(self.dropped)
        found["duplicate"] += self._reorder.duplicate
        found["late"] += self._reorder.late
        found["missing_frames"] += self._reorder.missing
        found["overlap_samples"] += sum(c.overlapped for c in self._channels)
        return {reason: count for reason, count in sorted(found.items()) if count}

    def demand(self, seconds: float) -> None:
        """Somebody wants to see the waveform of the next `seconds`."""
        self._outlet.demand(seconds)

    def _settle(self, now_ns: int) -> None:
        if self._settling is not None and self._settling.over(now_ns):
            self._release()

    def _release(self) -> None:
        settling, self._settling = self._settling, None
        if settling is not None:
            for timed in settling.release(self._device_clock):
                self._use(timed)

    def _use(self, timed: Timed) -> None:
        if self._settling is not None:
            self._settling.take(timed)
            return
        frame = timed.frame
        device_ns = frame.device_us * 1000
        if not self._device_clock.observe(device_ns, timed.arrival_ns):
            self.dropped["clock_impossible"] += 1
            return
        self._last_device_ns = max(self._last_device_ns, device_ns)
        if isinstance(frame.payload, Wave):
            self._use_wave(device_ns, frame.payload)
            return
        match frame.payload:
            case Vitals():
                self._use_vitals(self._device_clock.map(device_ns), frame.payload)
            case Status(battery_percent=battery):
                if 0 <= battery <= 100:
                    self._battery = battery
                    self._alarms.status(self._device_clock.map(device_ns), battery)
                else:
                    self.dropped["impossible_value"] += 1
            case Goodbye():
                self._departed = True
                self.leave("goodbye")
                self._end_alarms()
            case Hello():
                pass

    def _end_alarms(self) -> None:
        """Nobody watches its patient here any more: no condition of it can be said to hold."""
        now_ns = self._clock.now().mono_ns
        failures = self._alarms.failures
        self._alarms.end(now_ns, "Ended: the wearable said goodbye")
        if self._scoring is not None:
            self._scoring.end(now_ns)
        self._alarms = DeviceAlarms(
            self.name, self._around.alarms, self._paced, self._clock, self._outlet.alarm
        )
        self._alarms.told(self._around.said(self.name), self._paced)
        self._alarms.failures = failures

    def _use_wave(self, device_ns: int, wave: Wave) -> None:
        channel = self._channels[wave.channel] if wave.channel < len(self._channels) else None
        if channel is None or not channel.usable:
            self.dropped["unusable_channel"] += 1
            return
        if not channel.believes(wave, device_ns):
            self.dropped["impossible_counter"] += 1
            return
        for block in channel.push(wave, self._device_clock):
            self._outlet.wave(channel.info, self._boot or 0, block)
        output = channel.analysis(wave)
        if output is not None and (output.beats or output.seconds or output.windows):
            self._use_analysis(channel, output)

    def _use_analysis(self, channel: WaveformChannel, output: ChainOutput) -> None:
        for beat in output.beats:
            mono_ns = channel.mono_ns(beat.sample, self._device_clock)
            self._heart_rate.add(mono_ns, beat)
            self._alarms.beat(beat, mono_ns)
            if self._scoring is not None:
                self._scoring.beat(beat.sample, mono_ns)
            self._outlet.beat(mono_ns, beat)
        if self._scoring is not None:
            self._scoring.windows(output.windows)
        for second in output.seconds:
            start_ns = channel.mono_ns(second.first_sample, self._device_clock)
            channel.quality = second.quality
            self._alarms.second(second, start_ns)
            self._outlet.beats()
            if self._scoring is not None:
                self._scoring.second(second)
            if Code.HEART_RATE not in self._vitals_seen:
                self._derive_heart_rate(start_ns + NS_PER_S, lead_off=second.lead_off)
        if self._trend is not None:
            for mono_ns, values in self._trend.take(
                output, partial(channel.mono_ns, device_clock=self._device_clock)
            ):
                told = [value for value in values if value.code not in self._vitals_seen]
                self._outlet.vitals(mono_ns, told)

    def _derive_heart_rate(self, now_ns: int, *, lead_off: bool) -> None:
        rate = self._heart_rate.at(now_ns, lead_off=lead_off)
        if rate is not None:
            # For the record and the screen; the alarm rules have the beats themselves.
            self._outlet.vitals(now_ns, [VitalValue(Code.HEART_RATE, *rate)])

    def _use_vitals(self, mono_ns: int, vitals: Vitals) -> None:
        values, impossible = judge(vitals.readings)
        if impossible:
            self.dropped["impossible_value"] += impossible
        if not values:
            return
        new = [Code(v.code) for v in values if v.code not in self._vitals_seen]
        if new:
            self._vitals_seen.update(dict.fromkeys(new))
            if isinstance(self.lifecycle, DeviceBirth):
                self._birth()
        self._outlet.vitals(mono_ns, values)
        self._alarms.vitals(mono_ns, values)

    def _birth(self) -> None:
        assert self._hello is not None
        self.lifecycle = DeviceBirth(
            session=self._around.session(),
            at_ns=self._clock.now().utc_ns,
            device_boot=self._boot or 0,
            simulated=self._around.telemetry.simulated,
            channels=channel_infos((c.info for c in self._channels if c.usable), self._vitals_seen),
            paced=self._paced,
        )

    def _die(self, reason: Reason) -> None:
        log.info("device_gone", device=self.name, reason=reason)
        self.lifecycle = DeviceDeath(
            session=self._around.session(), at_ns=self._clock.now().utc_ns, reason=reason
        )
