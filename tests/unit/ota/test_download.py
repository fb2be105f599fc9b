"""Chunks in any order, twice, cut off, over restarts: what is complete is the file that was offered."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.inference.artifact import sha256
from vitalwire_edge.ota.download import Download
from vitalwire_edge.wire.models import CHUNK_BYTES, ModelChunk, ModelOffer, chunk_count

DATA = np.random.default_rng(1).bytes(4 * CHUNK_BYTES + 1234)
OFFER = ModelOffer("beat", 2, "0" * 64, sha256(DATA), len(DATA), chunk_count(len(DATA)))


def chunk(index: int) -> ModelChunk:
    return ModelChunk(OFFER.sha256, index, DATA[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, OFFER.chunks - 1), max_size=12), st.integers(0, 12), st.permutations(range(5)))
def test_any_order_and_a_restart_anywhere(some, restart_at, rest):
    with tempfile.TemporaryDirectory() as folder:
        download = Download(Path(folder), OFFER)
        for at, index in enumerate(some):
            if at == restart_at:
                download = Download(Path(folder), OFFER)
            assert download.put(chunk(index)) is (index not in some[:at])
        assert set(download.missing(99)) == set(range(5)) - set(some)
        for index in rest:
            download.put(chunk(index))
        assert download.complete
        assert Download(Path(folder), OFFER).complete
        assert download.read() == DATA


def test_foreign_and_misshapen_chunks_are_not_taken(tmp_path):
    download = Download(tmp_path, OFFER)
    assert not download.put(ModelChunk("f" * 64, 0, DATA[:CHUNK_BYTES]))
    assert not download.put(ModelChunk(OFFER.sha256, 0, DATA[:100]))
    assert not download.put(ModelChunk(OFFER.sha256, 4, DATA[:CHUNK_BYTES]))
    assert not download.put(ModelChunk(OFFER.sha256, 5, DATA[:CHUNK_BYTES]))
    assert download.missing(99) == (0, 1, 2, 3, 4)


def test_another_download_and_a_discarded_one_leave_nothing(tmp_path):
    Download(tmp_path, OFFER).put(chunk(0))
    other = ModelOffer("beat", 3, "0" * 64, "a" * 64, 10, 1)
    second = Download(tmp_path, other)
    assert {path.stem for path in tmp_path.iterdir()} == {"a" * 64}
    second.discard()
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_size_is_begun_again(tmp_path):
    Download(tmp_path, OFFER).put(chunk(0))
    (tmp_path / f"{OFFER.sha256}.map").write_bytes(b"\x01" * 99)
    assert Download(tmp_path, OFFER).missing(99) == (0, 1, 2, 3, 4)
