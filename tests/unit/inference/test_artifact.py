"""An artifact opens as it was packed, and every bad one is refused with its own reason."""

import io
import struct
import subprocess
import sys
import zipfile

import msgspec
import numpy as np
import pytest
import tiny_model as tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.inference import container, selftest
from vitalwire_edge.inference.artifact import (
    MANIFEST,
    SIGNATURE,
    Host,
    open_artifact,
    pack,
    read_manifest,
    sha256,
)
from vitalwire_edge.inference.keys import Root, Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal

DAY_NS = 86_400 * 10**9
NOW_NS = 1_800_000_000 * 10**9
ROOT = Root.new()
SIGNER = ROOT.delegate(now_ns=NOW_NS, expires_ns=NOW_NS + 30 * DAY_NS)
HOST = Host("x86_64", ("ai-edge-litert",))
PARTS = tiny.parts()
GOOD = pack(PARTS, tiny.manifest(), SIGNER)


def refused(data: bytes, *, trust: Trust = ROOT.trust, now_ns: int | None = NOW_NS, **more) -> Refusal:
    with pytest.raises(ArtifactRefusedError) as caught:
        open_artifact(data, trust, now_ns=now_ns, **({"host": HOST} | more))
    assert str(caught.value).startswith(caught.value.reason)
    return caught.value.reason


def repacked(**changed: bytes) -> bytes:
    """The good file with parts replaced and a container that is right in itself."""
    names = {name.replace(".", "_"): name for name in container.read(GOOD)}
    replaced = {names[key]: value for key, value in changed.items()}
    return container.write(container.read(GOOD) | replaced)


def test_it_opens_as_it_was_packed():
    artifact = open_artifact(GOOD, ROOT.trust, now_ns=NOW_NS, host=HOST)
    assert dict(artifact.parts) == PARTS
    assert artifact.model == PARTS["beat.int8.tflite"]
    assert artifact.runtime == "ai-edge-litert"
    assert artifact.sha256 == sha256(GOOD)
    assert artifact.file_name == "beat-1.vwm"
    assert artifact.signed_by == SIGNER.delegation
    assert read_manifest(GOOD, ROOT.trust) == (artifact.manifest, artifact.manifest_sha256)


def test_the_same_parts_give_the_same_bytes_in_any_order_and_process():
    assert pack(dict(reversed(PARTS.items())), tiny.manifest(), SIGNER) == GOOD
    program = (
        "import sys; from vitalwire_edge.inference.container import write; "
        "sys.stdout.buffer.write(write({'a.bin': b'1', 'b': b''}))"
    )
    other = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert other == container.write({"a.bin": b"1", "b": b""})


def test_any_zip_tool_reads_it():
    with zipfile.ZipFile(io.BytesIO(GOOD)) as zipped:
        assert zipped.testzip() is None
        assert zipped.namelist()[:2] == [MANIFEST, SIGNATURE]
        assert zipped.read("card.json") == PARTS["card.json"]
        assert zipped.getinfo("card.json").date_time == (1980, 1, 1, 0, 0, 0)


def test_vectors_are_plain_numpy():
    with np.load(io.BytesIO(PARTS["selftest.npz"]), allow_pickle=False) as arrays:
        assert set(arrays) == {"input_0", "output_0", "tolerance"}
        assert arrays["input_0"].shape == (8, tiny.WIDTH)


def test_a_file_beyond_the_limit_is_refused_before_it_is_parsed():
    assert refused(GOOD, max_bytes=len(GOOD) - 1) is Refusal.TOO_LARGE
    assert refused(b"no container at all" * 10, max_bytes=16) is Refusal.TOO_LARGE


def test_a_truncated_file():
    assert {refused(GOOD[:size]) for size in range(0, len(GOOD), 97)} == {Refusal.TRUNCATED}


@pytest.mark.parametrize(
    "data", [b"hello" * 100, bytes(100), b"<html>" + GOOD, GOOD + b"x" * 22 + GOOD[-22:]], ids=len
)
def test_something_else(data):
    assert refused(data) is Refusal.MALFORMED


def test_a_key_that_is_not_pinned():
    assert refused(GOOD, trust=Root.new().trust) is Refusal.UNKNOWN_KEY
    assert refused(GOOD, trust=Trust({})) is Refusal.UNKNOWN_KEY


def test_a_manifest_that_was_changed():
    changed = container.read(GOOD)[MANIFEST].replace(b'"version":1', b'"version":9')
    assert refused(repacked(manifest_json=changed)) is Refusal.WRONG_SIGNATURE


def test_a_signature_by_a_key_that_no_root_delegated_to():
    stranger = Root.new().delegate(now_ns=NOW_NS, expires_ns=None)
    manifest = container.read(GOOD)[MANIFEST]
    own, theirs = (msgspec.json.decode(s.sign(manifest)) for s in (SIGNER, stranger))
    # The stranger's key in a statement that names our root: the root never signed it.
    claimed = theirs["delegation"].replace(stranger.delegation.root_key_id, SIGNER.delegation.root_key_id)
    forged = theirs | {"delegation": claimed}
    assert refused(repacked(signature_json=msgspec.json.encode(forged))) is Refusal.WRONG_SIGNATURE
    mixed = own | {"signature": theirs["signature"]}
    assert refused(repacked(signature_json=msgspec.json.encode(mixed))) is Refusal.WRONG_SIGNATURE


def test_a_root_key_signs_delegations_only():
    root = Root.new()
    signer = root.delegate(now_ns=0, expires_ns=None)
    manifest = container.read(GOOD)[MANIFEST]
    said = msgspec.json.decode(signer.sign(manifest))
    said["signature"] = said["root_signature"]
    broken = repacked(signature_json=msgspec.json.encode(said))
    assert refused(broken, trust=root.trust) is Refusal.WRONG_SIGNATURE


@pytest.mark.parametrize("signature", [b"", b"{}", b"[]", b'{"format":2}', b"\xff" * 100])
def test_a_signature_that_is_none(signature):
    assert refused(repacked(signature_json=signature)) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'{"format"', b'{ "format"'),
        lambda text: text[:-1] + b',"signature":' + text.rpartition(b'"signature":')[2],
        lambda text: text.replace(text[-20:], text[-20:].upper()),
    ],
)
def test_a_signature_has_one_form_so_that_a_model_is_one_file(change):
    text = container.read(GOOD)["signature.json"]
    assert change(text) != text
    assert refused(repacked(signature_json=change(text))) is Refusal.MALFORMED


def test_a_huge_signature_is_refused_before_it_is_parsed():
    assert refused(repacked(signature_json=b"[" * 100_000)) is Refusal.TOO_LARGE


def test_a_huge_manifest_is_refused_before_it_is_parsed():
    assert refused(repacked(manifest_json=b"[" * 100_000)) is Refusal.TOO_LARGE


def test_expiry_counts_only_with_a_synchronised_clock():
    late = NOW_NS + 31 * DAY_NS
    assert refused(GOOD, now_ns=late) is Refusal.EXPIRED
    assert open_artifact(GOOD, ROOT.trust, now_ns=None, host=HOST).manifest.version == 1
    short = pack(PARTS, tiny.manifest(expires_ns=NOW_NS + DAY_NS), SIGNER)
    assert refused(short, now_ns=NOW_NS + DAY_NS) is Refusal.EXPIRED
    assert open_artifact(short, ROOT.trust, now_ns=NOW_NS + DAY_NS - 1, host=HOST).manifest.version == 1


def test_versions_only_grow():
    assert refused(GOOD, running_version=1) is Refusal.OLDER_VERSION
    assert refused(GOOD, running_version=7) is Refusal.OLDER_VERSION


@pytest.mark.parametrize(
    "host", [Host("riscv64", HOST.runtimes), Host("x86_64", ()), Host("x86_64", ("tflite-runtime",))]
)
def test_the_wrong_hardware(host):
    assert refused(GOOD, host=host) is Refusal.WRONG_HARDWARE


def test_the_first_runtime_with_a_variant_is_taken():
    needs = msgspec.structs.replace(
        tiny.NEEDS, variants={"ai-edge-litert": "beat.int8.tflite", "tflite-runtime": "beat.static.tflite"}
    )
    both = pack(PARTS | {"beat.static.tflite": b"static"}, tiny.manifest(hardware=needs), SIGNER)
    old = open_artifact(both, ROOT.trust, now_ns=None, host=Host("x86_64", ("tflite-runtime",)))
    assert old.model == b"static"
    new = open_artifact(
        both, ROOT.trust, now_ns=None, host=Host("x86_64", ("ai-edge-litert", "tflite-runtime"))
    )
    assert new.model == PARTS["beat.int8.tflite"]


def test_a_part_that_was_exchanged_added_or_left_out():
    assert refused(repacked(beat_int8_tflite=tiny.tflite(3, 0))) is Refusal.HASH_MISMATCH
    whole = container.read(GOOD)
    assert refused(container.write(whole | {"more.bin": b"x"})) is Refusal.HASH_MISMATCH
    del whole["card.json"]
    assert refused(container.write(whole)) is Refusal.HASH_MISMATCH


def test_parts_in_another_order_are_not_the_one_form_of_the_file():
    whole = container.read(GOOD)
    head = {name: whole.pop(name) for name in (MANIFEST, SIGNATURE)}
    other = container.write(head | dict(reversed(whole.items())))
    assert refused(other) is Refusal.MALFORMED


def test_bytes_hidden_between_the_parts_are_refused():
    directory_at = struct.unpack("<I", GOOD[-6:-2])[0]
    hidden = GOOD[:directory_at] + b"hidden" + GOOD[directory_at:-6] + struct.pack("<IH", directory_at + 6, 0)
    assert refused(hidden) is Refusal.MALFORMED


def test_what_cannot_be_opened_is_not_packed():
    with pytest.raises(ArtifactRefusedError, match=r"lack selftest\.npz"):
        pack({k: v for k, v in PARTS.items() if k != "selftest.npz"}, tiny.manifest(), SIGNER)
    with pytest.raises(ArtifactRefusedError, match="part name"):
        pack(PARTS | {"../evil": b""}, tiny.manifest(), SIGNER)
    small = msgspec.structs.replace(tiny.NEEDS, max_bytes=100)
    with pytest.raises(ArtifactRefusedError, match="too_large"):
        pack(PARTS, tiny.manifest(hardware=small), SIGNER)


def test_a_later_format_says_so():
    with pytest.raises(ArtifactRefusedError, match=r"unknown_format.*update"):
        pack(PARTS, tiny.manifest(format=2), SIGNER)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 7))
def test_no_flipped_bit_passes(at, bit):
    flipped = bytearray(GOOD)
    flipped[at] ^= 1 << bit
    refused(bytes(flipped))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_cut_or_splice_passes(data):
    first = data.draw(st.integers(0, len(GOOD)))
    second = data.draw(st.integers(0, len(GOOD)).filter(lambda at: at != first))
    refused(GOOD[:first] + GOOD[second:])


@given(st.binary(max_size=300))
def test_noise_is_a_refusal_and_nothing_else(noise):
    refused(noise)
    refused(b"PK\x03\x04" + noise)
    with pytest.raises(ArtifactRefusedError):
        selftest.unpack_vectors(noise)


# The self-test.


def opened(parts: dict[str, bytes], **hardware):
    needs = msgspec.structs.replace(tiny.NEEDS, **hardware)
    return open_artifact(
        pack(parts, tiny.manifest(hardware=needs), SIGNER), ROOT.trust, now_ns=NOW_NS, host=HOST
    )


def failed(artifact, **more) -> ArtifactRefusedError:
    with pytest.raises(ArtifactRefusedError) as caught:
        selftest.run(artifact, tiny.load, **more)
    return caught.value


def test_a_model_that_gives_what_it_gave_passes_with_figures():
    passed = selftest.run(opened(PARTS), tiny.load)
    assert 0 < passed.p99_us < tiny.NEEDS.max_p99_us
    assert passed.worst_error <= 1
    assert passed.vectors == 8


def test_a_model_that_gives_something_else():
    error = failed(opened(tiny.parts(off=0.01)))
    assert error.reason is Refusal.SELF_TEST_OFF
    assert error.worst_error == pytest.approx(100, rel=0.01)


def test_a_model_that_gives_nan():
    bad = tiny.parts() | {"beat.int8.tflite": tiny.tflite(float("nan"), 0)}
    assert failed(opened(bad)).reason is Refusal.SELF_TEST_OFF


def test_a_model_file_that_is_none():
    assert failed(opened(PARTS | {"beat.int8.tflite": b"TFL3 not really"})).reason is Refusal.SELF_TEST_OFF


def test_a_model_that_fits_but_is_slow():
    ticks = iter(range(0, 10**12, 50_000)).__next__
    with pytest.raises(ArtifactRefusedError, match="too_slow: p99 of one inference is 50 us") as caught:
        selftest.prove(
            PARTS["beat.int8.tflite"],
            "ai-edge-litert",
            PARTS["selftest.npz"],
            tiny.load,
            limit_us=49,
            clock_ns=ticks,
        )
    assert caught.value.p99_us == 50.0
    assert failed(opened(PARTS), max_p99_us=0.001).reason is Refusal.TOO_SLOW


def test_vectors_with_objects_or_false_headers_are_refused():
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    pickled = container.write({"input_0.npy": file.getvalue()})
    header = PARTS["selftest.npz"].replace(b"(8, 32)", b"(9, 32)")
    for data in (pickled, header, container.write({"input_0.npy": b"\x93NUMPY\x01\x00\xff\xff"})):
        with pytest.raises(ArtifactRefusedError) as caught:
            selftest.unpack_vectors(data)
        assert caught.value.reason is Refusal.MALFORMED
