"""`vitalwire generate`: synthetic ECG as annotated files, on a gateway or in the cloud."""

from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import msgspec
import typer

from vitalwire_edge.inference.artifact import Artifact, open_artifact
from vitalwire_edge.inference.generator import BeatGenerator, Style, StyleError, shipped
from vitalwire_edge.inference.keys import KeyFileError, Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.inference.runtime import ModelFileError, RuntimeMissingError
from vitalwire_edge.recordings.locate import data_folder, open_recording
from vitalwire_edge.recordings.recording import RecordingError
from vitalwire_edge.recordings.writing import write
from vitalwire_edge.synthesis.patient import Wish, generated, shares_of, style_of
from vitalwire_edge.synthesis.rhythm import RHYTHMS, RhythmError
from vitalwire_edge.synthesis.strip import NOTE

_FORMATS: Final = {".hea": "wfdb", ".edf": "edf", ".csv": "csv"}
_WRONG_USE: Final = 2

app = typer.Typer(
    help="Write synthetic ECG with its beats and rhythms as WFDB, EDF or CSV, marked as synthetic in the file.",
    epilog="Example: vitalwire generate --out af.hea --rhythm af --rate-bpm 95 --seconds 60\n\n"
    "Example: vitalwire generate --out mixed.edf --classes N:0.85,S:0.05,V:0.1 --from vae --seed 7\n\n"
    "Example: vitalwire generate --out like208.csv --style mitdb/208.hea --count 3",
)


class GeneratedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, for `--json`."""

    files: tuple[str, ...]
    seed: int
    model: str
    family: str
    style: str
    rhythm: str
    fs_hz: float
    seconds: float
    beats: dict[str, int]
    note: str


@app.callback(invoke_without_command=True)
def generate(
    out: Annotated[Path, typer.Option("--out", help="File to write: .hea, .edf or .csv.", metavar="FILE")],
    seconds: Annotated[float, typer.Option("--seconds", min=5, max=86_400, help="Length of a strip.")] = 60.0,
    rhythm: Annotated[str, typer.Option("--rhythm", help=f"One of {', '.join(RHYTHMS)}.")] = "sinus",
    classes: Annotated[
        str, typer.Option("--classes", help="Shares of the beats, as N:0.9,V:0.1.", metavar="SHARES")
    ] = "",
    rate_bpm: Annotated[
        float | None, typer.Option("--rate-bpm", help="Mean heart rate.", show_default="the style's")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same strip.")] = 1,
    family: Annotated[
        Literal["gan", "vae"], typer.Option("--from", help="Which generator makes the beats.")
    ] = "gan",
    style: Annotated[
        str | None,
        typer.Option(
            "--style", help="Beats as in this recording.", metavar="RECORD", show_default="nobody's"
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of recordings (or VITALWIRE_DATA).")
    ] = None,
    channel: Annotated[
        str | None, typer.Option("--channel", help="Lead of the recording of --style.")
    ] = None,
    fs_hz: Annotated[float, typer.Option("--fs", min=100, max=1000, help="Samples a second.")] = 250.0,
    count: Annotated[
        int, typer.Option("--count", min=1, max=10_000, help="So many strips, of seeds in order.")
    ] = 1,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Signed generator.", metavar="FILE", show_default="the shipped one"),
    ] = None,
    trust: Annotated[
        Path | None, typer.Option("--trust", help="Trusted keys for --model.", metavar="FILE")
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write synthetic ECG with its beats and rhythms, marked as synthetic in the file."""
    form = _FORMATS.get(out.suffix.lower())
    if form is None:
        _wrong(f"--out {out}: end it with one of {', '.join(_FORMATS)}")
    try:
        artifact = _artifact(model, trust)
        generator = BeatGenerator.of(artifact, family)
        own = _style(generator, style, data, channel)
        shares = dict(shares_of(classes)) if classes else None
        written = []
        for number in range(count):
            name = out.stem if count == 1 else f"{out.stem}-{number + 1:0{len(str(count))}d}"
            wish = Wish(
                rhythm=rhythm,
                seconds=seconds,
                rate_bpm=rate_bpm,
                shares=shares,
                fs_hz=fs_hz,
                seed=seed + number,
            )
            strip = generated(generator, wish, style=own, name=name)
            note = (
                f"{NOTE}; {family} of {artifact.file_name} {artifact.manifest_sha256[:12]}, "
                f"style {style or 'of nobody'}, rhythm {rhythm}, seed {wish.seed}"
            )
            files = write(out.with_name(name), form, [strip], note=note)
            written.append(
                GeneratedFile(
                    files=tuple(str(file) for file in files),
                    seed=wish.seed,
                    model=artifact.manifest_sha256,
                    family=family,
                    style=style or "nobody",
                    rhythm=rhythm,
                    fs_hz=strip.fs_hz,
                    seconds=strip.duration_s,
                    beats=_counted([beat.symbol for beat in strip.beats]),
                    note=note,
                )
            )
    except (
        *(RhythmError, RecordingError, StyleError, ArtifactRefusedError, KeyFileError),
        *(ModelFileError, RuntimeMissingError, ValueError, OSError),
    ) as error:
        _wrong(str(error))
    if json:
        typer.echo(msgspec.json.encode(written).decode())
        return
    for one in written:
        beats = ", ".join(f"{number} {symbol}" for symbol, number in one.beats.items())
        typer.echo(f"{', '.join(one.files)}: {one.seconds:g} s {one.rhythm}, {beats}, synthetic")


def _artifact(model: Path | None, trust: Path | None) -> Artifact:
    if model is None:
        return shipped()
    if trust is None:
        raise ValueError("--model needs --trust: the file of keys that its signature is checked with")
    return open_artifact(model.read_bytes(), Trust.read(trust), now_ns=None)


def _style(
    generator: BeatGenerator, style: str | None, data: Path | None, channel: str | None
) -> Style | None:
    if style is None:
        return None
    return style_of(open_recording(style, data=data_folder(data), channel=channel), generator.styles)


def _counted(symbols: list[str]) -> dict[str, int]:
    return {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))}


def _wrong(message: str) -> NoReturn:
    typer.echo(f"vitalwire generate: {message}", err=True)
    raise typer.Exit(_WRONG_USE)
