"""Wheels by hand, for releases in tests: a program of a few lines, or the gateway's own code under another version."""

import io
import zipfile
from pathlib import Path

from vitalwire_edge.inference.artifact import sha256
from vitalwire_edge.inference.keys import Root, Signer
from vitalwire_edge.software.release import open_release, pack_release
from vitalwire_edge.software.slots import file_hash
from vitalwire_edge.wire.models import ModelOffer, chunk_count

NOW_NS = 1_800_000_000 * 10**9
EDGE = Path(__file__).parents[1] / "edge"


def wheel(
    files: dict[str, bytes],
    *,
    software: str = "0.2.0",
    requires: tuple[str, ...] = (),
    python: str = ">=3.11",
    tag: str = "py3-none-any",
    name: str = "vitalwire",
    spoil: str | None = None,
) -> bytes:
    """A wheel of `files`; `spoil` names one that is not what RECORD says."""
    info = f"{name}-{software}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    metadata = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {software}\nRequires-Python: {python}\n{needs}\n"
    )
    whole = files | {
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},{file_hash(data)},{len(data)}\n" for path, data in whole.items())
    if spoil is not None:
        whole[spoil] += b"#"
    whole[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in whole.items():
            archive.writestr(path, data)
    return made.getvalue()


def program(code: str, **more) -> bytes:
    """A wheel whose `python -m vitalwire_edge` runs `code`."""
    return wheel({"vitalwire_edge/__init__.py": b"", "vitalwire_edge/__main__.py": code.encode()}, **more)


def gateway_wheel(software: str, **changed: bytes) -> bytes:
    """The gateway of this checkout, which compiles nothing ahead, as another version; `changed` files by module."""
    files = {
        str(path.relative_to(EDGE)): path.read_bytes()
        for path in sorted((EDGE / "vitalwire_edge").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and "successor" not in path.parts
    }
    for name, content in files.items():
        if b"\ndef warm() -> None:" in content:
            # Compiling takes longer than everything that these tests are about.
            files[name] = content + b"\n\ndef warm() -> None:\n    pass\n"
    for module, content in changed.items():
        files[f"vitalwire_edge/{module}.py"] = content
    info = f"vitalwire-{software}.dist-info"
    files[f"{info}/entry_points.txt"] = b"[vitalwire.commands]\nedge = vitalwire_edge.commands:app\n"
    return wheel(files, software=software)


class Publisher:
    """A root, a key for software, and what they sign."""

    def __init__(self) -> None:
        self.root = Root.new()
        self.signer = self.key("software")

    def key(self, purpose) -> Signer:
        return self.root.delegate(now_ns=NOW_NS, expires_ns=None, purpose=purpose)

    def release(self, data: bytes, version: int, **more) -> bytes:
        return pack_release(data, self.signer, version=version, created_ns=NOW_NS, **more)


def offer_of(data: bytes, trust) -> ModelOffer:
    """The offer that fits a release."""
    release = open_release(data, trust, now_ns=None)
    manifest = release.manifest
    return ModelOffer(
        manifest.name,
        manifest.version,
        release.manifest_sha256,
        sha256(data),
        len(data),
        chunk_count(len(data)),
    )
