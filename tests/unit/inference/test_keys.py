"""Keys come back from their files, stay private, and say what is wrong without showing what they are."""

import stat

import pytest

from vitalwire_edge.inference.keys import KeyFileError, Root, Signer, Trust, write_secret

MANIFEST = b'{"format":1}'


def test_keys_come_back_from_their_files_and_still_sign(tmp_path):
    root = Root.new()
    write_secret(tmp_path / "root.key", root.to_json())
    (tmp_path / "trust.json").write_bytes(root.trust.to_json())
    again = Root.read(tmp_path / "root.key")
    write_secret(tmp_path / "signing.key", again.delegate(now_ns=5, expires_ns=10).to_json())
    signer = Signer.read(tmp_path / "signing.key")
    trust = Trust.read(tmp_path / "trust.json")
    assert trust.verify(signer.sign(MANIFEST), MANIFEST, 9) == signer.delegation
    assert signer.delegation.expires_ns == 10


def test_trust_in_several_files(tmp_path):
    roots = [Root.new(), Root.new()]
    for index, root in enumerate(roots):
        (tmp_path / f"{index}.json").write_bytes(root.trust.to_json())
    trust = Trust.read(tmp_path / "0.json", tmp_path / "1.json")
    for root in roots:
        signer = root.delegate(now_ns=0, expires_ns=None)
        assert trust.verify(signer.sign(MANIFEST), MANIFEST, None) == signer.delegation


def test_a_secret_is_for_its_owner_only_and_is_never_replaced(tmp_path):
    path = tmp_path / "keys" / "root.key"
    write_secret(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(KeyFileError, match="exists and is not replaced"):
        write_secret(path, b"other")
    assert path.read_bytes() == b"secret"


def test_files_of_another_kind_are_named_without_their_content(tmp_path):
    root = Root.new()
    path = tmp_path / "root.key"
    write_secret(path, root.to_json())
    for read in (Signer.read, Trust.read):
        with pytest.raises(KeyFileError, match=r"root\.key is not a ") as caught:
            read(path)
        assert root.to_json().decode()[-80:-10] not in str(caught.value)
        assert caught.value.__suppress_context__
    with pytest.raises(KeyFileError, match="No such file"):
        Root.read(tmp_path / "none")


def test_a_trust_file_whose_key_id_is_anothers(tmp_path):
    first, second = Root.new().trust, Root.new().trust
    (mine,), (other,) = first.roots, second.roots
    (tmp_path / "trust.json").write_bytes(first.to_json().replace(mine.encode(), other.encode()))
    with pytest.raises(KeyFileError, match="not that of its key"):
        Trust.read(tmp_path / "trust.json")


def test_a_signing_key_with_the_delegation_of_another(tmp_path):
    root = Root.new()
    one, two = (root.delegate(now_ns=0, expires_ns=None) for _ in range(2))
    mixed = one.to_json().replace(one.delegation.public_key.encode(), two.delegation.public_key.encode())
    write_secret(tmp_path / "signing.key", mixed)
    with pytest.raises(KeyFileError, match="for another key"):
        Signer.read(tmp_path / "signing.key")
