"""Waveform codecs lose nothing, never grow a block, and refuse what they did not write."""

import numpy as np
import pytest
import wfdb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import resample_poly

from vitalwire_edge.wire import blocks, rice
from vitalwire_edge.wire.messages import MessageError, WaveBlock, encode_data

rice.warm()  # Compiling takes longer than hypothesis lets an example take.

int16 = st.integers(-32768, 32767)
any_block = arrays(np.int16, st.integers(1, 600), elements=int16)
smooth_block = st.builds(
    lambda seed, n, step: (
        np.random.default_rng(seed).normal(0, step, n).cumsum().clip(-32768, 32767).astype(np.int16)
    ),
    st.integers(0, 2**32),
    st.integers(1, 1000),
    st.floats(0, 2000),
)


@given(any_block | smooth_block)
def test_every_block_comes_back_and_never_grows(samples):
    codec, data = blocks.pack(samples)
    assert len(data) <= 2 * samples.size
    np.testing.assert_array_equal(blocks.unpack(codec, data, samples.size), samples)


@given(st.sampled_from([*blocks.Codec, 7]), st.binary(max_size=300), st.integers(1, 500))
def test_bytes_of_unknown_origin_are_refused_or_valid_samples(codec, data, count):
    try:
        samples = blocks.unpack(codec, data, count)
    except MessageError:
        return
    assert samples.dtype == np.int16
    assert samples.shape == (count,)


@given(smooth_block, st.data())
def test_a_truncated_block_is_refused(samples, data):
    codec, packed = blocks.pack(samples)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(MessageError):
        blocks.unpack(codec, packed[:cut], samples.size)


def test_golden_bytes():
    samples = np.array([0, 10, 20, 31, 41, 52, 60, 75], dtype=np.int16)
    codec, data = blocks.pack(samples)
    assert (codec, data.hex()) == (blocks.Codec.RICE, "0200000a00020200f4402660")


def test_a_second_of_one_lead_costs_at_most_180_bytes(recordings):
    total = seconds = 0
    for record in ("101", "108", "208", "230"):
        signal = wfdb.rdrecord(str(recordings / "mitdb" / record), channels=[0], sampto=360 * 120).p_signal[
            :, 0
        ]
        steps = np.round(resample_poly(signal * 1000, 25, 36) / 5).astype(np.int16)
        for start in range(0, steps.size - 999, 1000):
            codec, data = blocks.pack(steps[start : start + 1000])
            total += len(
                encode_data(
                    WaveBlock(
                        session="0123456789abcdef",
                        seq=1_000_000,
                        flags=0,
                        code=131330,
                        device_boot=1,
                        first_sample=10**8,
                        start_ns=1_800_000_000 * 10**9,
                        rate_mhz=250_000,
                        scale=5.0,
                        count=1000,
                        codec=codec,
                        data=data,
                    )
                )
            )
            seconds += 4
    assert total / seconds <= 180
