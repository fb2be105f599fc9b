"""One waveform channel of one wearable: cut, timed and packed for the wire, and analysed if it is the ECG lead."""

from typing import Final

import msgspec
import numpy as np
import structlog

from vitalwire_edge.clock.device_clock import EnvelopeClock
from vitalwire_edge.signal.beats import RunningReference
from vitalwire_edge.signal.chain import ChainOutput, EcgChain, SampleOverlapError
from vitalwire_edge.signal.resample import SampleRateError
from vitalwire_edge.wearable.waveform import Block, BlockCutter
from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import WAVE_UNITS
from vitalwire_edge.wire.frames import Wave, WaveChannel

log = structlog.get_logger()

_SAMPLE_CLOCK_OFF_NS: Final = 1_000_000_000
_LARGEST_COUNTER: Final = 2**62
_RAIL: Final = 32767
_LARGEST_BLOCK: Final = 16_000
_SLOWEST_MHZ: Final = 1_000
_FASTEST_MHZ: Final = 10_000_000


class PackedBlock(msgspec.Struct, frozen=True):
    """A block ready for its message: `mono_ns` is its first sample on the gateway's monotonic clock."""

    mono_ns: int
    first_sample: int
    count: int
    lead_off: bool
    codec: int
    data: bytes


class WaveformChannel:
    """State of channel `info`. `quality` is the last judged second's, None where nothing is judged."""

    def __init__(self, info: WaveChannel, block_s: float) -> None:
        self.info = info
        self.quality: float | None = None
        self._rate_mhz = info.rate_mhz
        self._scale = np.float32(info.scale)
        self._usable = info.code in WAVE_UNITS and _SLOWEST_MHZ <= info.rate_mhz <= _FASTEST_MHZ
        block = int(info.rate_mhz * block_s) // 1000
        self._cutter = BlockCutter(max(1, min(block, _LARGEST_BLOCK)))
        self._sample_clock = EnvelopeClock(late_ns=_SAMPLE_CLOCK_OFF_NS, early_ns=_SAMPLE_CLOCK_OFF_NS)
        self._chain: EcgChain | None = None
        self._resets = 0
        self._ends_mono_ns = 0

    @property
    def usable(self) -> bool:
        """Whether the cloud can take it: a waveform, at 1 Hz to 10 kHz."""
        return self._usable

    @property
    def overlapped(self) -> int:
        """Samples that came twice."""
        return self._cutter.overlapped

    def analyse(self, reference: RunningReference | None = None) -> bool:
        """Run the signal chain on this channel. False when its rate is outside what the chain supports."""
        try:
            self._chain = EcgChain(
                fs_hz=self._rate_mhz / 1000, full_scale_uv=_RAIL * self.info.scale, reference=reference
            )
        except SampleRateError as error:
            log.warning("channel_not_analysed", code=int(self.info.code), reason=str(error))
            return False
        return True

    def believes(self, wave: Wave, device_ns: int) -> bool:
        """Whether the sample counter goes with the device's clock. Take each frame here first, in order."""
        end = wave.first_sample + wave.samples.size
        if end > _LARGEST_COUNTER or not self._sample_clock.observe(self._nominal_ns(end), device_ns):
            return False
        if self._sample_clock.resets != self._resets:
            # The counter was set anew without a reboot: what came before is another stretch.
            self._resets = self._sample_clock.resets
            if self._cutter.next_sample is not None and wave.first_sample < self._cutter.next_sample:
                self._cutter.next_sample = None
                if self._chain is not None:
                    self.analyse(self._chain.reference)
        return True

    def push(self, wave: Wave, device_clock: EnvelopeClock) -> list[PackedBlock]:
        """Blocks that `wave` completes."""
        blocks = self._cutter.push(wave.first_sample, wave.samples, lead_off=wave.lead_off)
        return [self._packed(block, device_clock) for block in blocks] if blocks else []

    def flush(self, device_clock: EnvelopeClock) -> list[PackedBlock]:
        """What is being gathered, as it is."""
        return [self._packed(block, device_clock) for block in self._cutter.flush()]

    def analysis(self, wave: Wave) -> ChainOutput | None:
        """What the signal chain makes of `wave`, or None without a chain or without new samples."""
        chain = self._chain
        if chain is None:
            return None
        first_sample, samples = wave.first_sample, wave.samples
        following = chain.next_sample
        if following is not None and following > first_sample:
            twice = following - first_sample
            if twice >= samples.size:
                return None
            first_sample, samples = following, samples[twice:]
        try:
            return chain.push(first_sample, samples.astype(np.float32) * self._scale, lead_off=wave.lead_off)
        except SampleOverlapError as error:
            log.warning("chain_overlap", reason=str(error))
            return None

    def mono_ns(self, sample: int, device_clock: EnvelopeClock) -> int:
        """Gateway monotonic time of a sample."""
        return device_clock.map(self._sample_clock.map(self._nominal_ns(sample)))

    def _nominal_ns(self, sample: int) -> int:
        return sample * 1_000_000_000_000 // self._rate_mhz

    def _packed(self, block: Block, device_clock: EnvelopeClock) -> PackedBlock:
        if block.after_gap:
            device_clock.align(
                self._sample_clock.map(self._nominal_ns(block.first_sample)), self._ends_mono_ns
            )
        codec, data = pack(block.samples)
        end = block.first_sample + block.samples.size
        self._ends_mono_ns = self.mono_ns(end, device_clock)
        return PackedBlock(
            self.mono_ns(block.first_sample, device_clock),
            block.first_sample,
            block.samples.size,
            block.lead_off,
            int(codec),
            data,
        )
