"""`vitalwire model ...`: what is published, who runs it, publish, go back, and the keys that sign."""

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn, cast, get_args

import msgspec
import typer

from vitalwire_cloud.registry import publishing
from vitalwire_cloud.registry.gate import Decision, Evidence, decide
from vitalwire_cloud.registry.ledger import Model, RegistryError, open_ledger
from vitalwire_cloud.registry.rollout import progress
from vitalwire_edge.inference import runtime
from vitalwire_edge.inference.keys import KeyFileError, Purpose, Root, Signer, Trust, write_secret

app = typer.Typer(no_args_is_help=True, help="The models of the fleet: list, show, publish, roll back, keys.")
keys_app = typer.Typer(no_args_is_help=True, help="Keys that sign models.")
app.add_typer(keys_app, name="keys")

_DAY_NS = 86_400 * 10**9

_DataDir = Annotated[
    Path, typer.Option("--data-dir", help="Folder of the cloud service's data.", metavar="DIR")
]
_Key = Annotated[
    Path, typer.Option("--key", help="Signing key, made by `model keys delegate`.", metavar="FILE")
]
_Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.command("list", epilog="Example: vitalwire model list --data-dir ./data")
def list_models(*, data_dir: _DataDir, as_json: _Json = False) -> None:
    """Every published model, the newest first, and how many gateways run it."""
    try:
        with closing(open_ledger(data_dir)) as ledger:
            models, gateways = ledger.models(), ledger.gateways()
    except RegistryError as error:
        _fail(error)
    at_work = {m.version: sum(g.running_sha256 == m.manifest_sha256 for g in gateways) for m in models}
    if as_json:
        said = [
            {"version": m.version, "name": m.name, "stage": m.stage, "why": m.why}
            | {"manifest_sha256": m.manifest_sha256, "size": m.size, "gateways": at_work[m.version]}
            for m in models
        ]
        typer.echo(msgspec.json.encode(said).decode())
        return
    for model in models:
        back = f", is {model.manifest.names_model[:12]} again" if model.manifest.names_model else ""
        typer.echo(
            f"{model.name} {model.version} {model.manifest_sha256[:12]}{back}: {model.stage}, "
            f"runs on {at_work[model.version]} of {len(gateways)} gateways{_because(model.why)}"
        )


@app.command(epilog="Example: vitalwire model show 3 --data-dir ./data")
def show(
    version: Annotated[int, typer.Argument(help="Version to show.")],
    *,
    data_dir: _DataDir,
    as_json: _Json = False,
) -> None:
    """One model: its manifest, why it was signed, and what each gateway said about it."""
    try:
        with closing(open_ledger(data_dir)) as ledger:
            model = ledger.model(version)
            reports = ledger.reports(model.sha256)
            page = publishing.report_path(ledger, model)
    except RegistryError as error:
        _fail(error)
    gate = None if model.gate is None else msgspec.json.decode(model.gate, type=Decision)
    if as_json:
        everything = {
            "manifest": model.manifest,
            "manifest_sha256": model.manifest_sha256,
            "sha256": model.sha256,
            "signed_by": model.signed_by,
            "stage": model.stage,
            "why": model.why,
            "gate": gate,
            "report": None if page is None else str(page),
            "reports": [
                {"site": r.site, "gateway": r.gateway} | msgspec.structs.asdict(r.report) for r in reports
            ],
        }
        typer.echo(msgspec.json.encode(everything).decode())
        return
    typer.echo(f"{model.name} {model.version}: {model.stage}{_because(model.why)}")
    typer.echo(f"manifest {model.manifest_sha256}, parent {model.manifest.parent_hash or 'none'}")
    typer.echo(f"{model.size} bytes, signed by {model.signed_by}, file {ledger.folder / model.file_name}")
    if page is not None:
        typer.echo(f"how it was judged: {page}")
    for check in () if gate is None else gate.checks:
        typer.echo(f"  {'passed' if check.passed else 'FAILED'} {check.name}: {check.text}")
    for each in reports:
        report = each.report
        extra = f": {report.reason}, {report.detail}" if report.reason else ""
        took = "" if report.p99_us is None else f", self-test p99 {report.p99_us:.0f} us"
        missed = report.beats_missed_in_swap
        swapped = "" if missed is None else f", {missed} beats missed in the swap"
        typer.echo(f"  {each.site}/{each.gateway} {report.state}{extra}{took}{swapped}")
    made = progress(reports)
    counts = f"confirmed by {len(made.running)}, on probation on {len(made.candidate)}"
    typer.echo(f"  {counts}, refused by {len(made.refused)}")


@app.command(
    epilog="Example: vitalwire model publish ./candidate --key signing.key --data-dir ./data\n\n"
    "Example: vitalwire model publish beat-2.vwm --signed --trust trust.json --data-dir ./data"
)
def publish(
    candidate: Annotated[
        Path, typer.Argument(help="Folder that `train` and `export` left, or a signed file.")
    ],
    *,
    data_dir: _DataDir,
    key: Annotated[
        Path | None, typer.Option("--key", help="Signing key, made by `model keys delegate`.", metavar="FILE")
    ] = None,
    signed: Annotated[bool, typer.Option("--signed", help="The file is signed already.")] = False,
    trust: Annotated[
        list[Path] | None, typer.Option("--trust", help="With --signed: root keys to trust.", metavar="FILE")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Sign a candidate that passes the gate, and offer it to the first gateways. Ends with 1 where it is not signed."""
    if signed == (key is not None) or signed != bool(trust):
        raise typer.BadParameter("give --key for a candidate, or --signed and --trust for a signed file")
    decision = None
    try:
        with closing(open_ledger(data_dir)) as ledger:
            if key is None:
                model = publishing.register(
                    ledger, _read(candidate), Trust.read(*trust or ()), now_ns=time.time_ns(), stage="first"
                )
            else:
                content, signer = publishing.read_candidate(candidate), Signer.read(key)
                decision = decide(_evidence(candidate / publishing.EVIDENCE))
                if not as_json:
                    _say_gate(decision)
                model = publishing.publish(
                    ledger, content, decision, signer, now_ns=time.time_ns(), load=runtime.load
                )
    except (RegistryError, KeyFileError) as error:
        if as_json:
            _say_outcome(None, decision, str(error))
        _fail(error)
    if as_json:
        _say_outcome(model, decision, "")
    else:
        _published(model)


@app.command(
    epilog="Example: vitalwire model rollback 2 --key signing.key --data-dir ./data --why 'too many alerts'"
)
def rollback(
    version: Annotated[int, typer.Argument(help="Older version to run again.")],
    *,
    key: _Key,
    data_dir: _DataDir,
    why: Annotated[str, typer.Option(help="Kept with the rollout.")] = "asked for by the operator",
) -> None:
    """Sign a higher version that is an older model again, and offer it to every gateway."""
    try:
        signer = Signer.read(key)
        with closing(open_ledger(data_dir)) as ledger:
            model = publishing.rollback(ledger, version, signer, now_ns=time.time_ns(), why=why)
    except (RegistryError, KeyFileError) as error:
        _fail(error)
    _published(model)


@keys_app.command(
    "init", epilog="Example: vitalwire model keys init ./offline    Then take root.key off line."
)
def keys_init(
    folder: Annotated[Path, typer.Argument(help="Folder for root.key and trust.json.")],
) -> None:
    """Make a root key, and the trust file that gateways pin."""
    root = Root.new()
    trust = folder / "trust.json"
    try:
        write_secret(folder / "root.key", root.to_json())
        trust.write_bytes(root.trust.to_json())
    except (KeyFileError, OSError) as error:
        _fail(error)
    typer.echo(f"{folder / 'root.key'}: keep it off line; it only signs delegations")
    typer.echo(f"{trust}: give it to every gateway (models.trust_files)")


@keys_app.command(
    "delegate",
    epilog="Example: vitalwire model keys delegate --root offline/root.key --out signing.key --days 90",
)
def keys_delegate(
    *,
    root: Annotated[Path, typer.Option(help="Root key, made by `keys init`.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="File for the signing key.", metavar="FILE")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it ends.")] = 365,
    purpose: Annotated[str, typer.Option(help="What it may sign: models or software.")] = "models",
) -> None:
    """Make a signing key that the root key vouches for until it ends."""
    now_ns = time.time_ns()
    if purpose not in get_args(Purpose):
        raise typer.BadParameter(f"{purpose!r}: use {' or '.join(get_args(Purpose))}", param_hint="--purpose")
    try:
        signer = Root.read(root).delegate(
            now_ns=now_ns, expires_ns=now_ns + days * _DAY_NS, purpose=cast("Purpose", purpose)
        )
        write_secret(out, signer.to_json())
    except KeyFileError as error:
        _fail(error)
    typer.echo(
        f"{out}: key {signer.delegation.key_id} for {purpose}, ends in {days} days; only its owner may read it"
    )


def _say_gate(decision: Decision) -> None:
    for check in decision.checks:
        typer.echo(f"{'passed' if check.passed else 'FAILED'} {check.name}: {check.text}")


def _say_outcome(model: Model | None, decision: Decision | None, why: str) -> None:
    """What `publish --json` prints: also of a candidate that was refused, with the reason."""
    outcome = {
        "published": model is not None,
        "version": None if model is None else model.version,
        "manifest_sha256": None if model is None else model.manifest_sha256,
        "parent_hash": None if model is None else model.manifest.parent_hash,
        "file": None if model is None else model.file_name,
        "gate": decision,
        "why": why,
    }
    typer.echo(msgspec.json.encode(outcome).decode())


def _evidence(path: Path) -> Evidence:
    if not path.is_file():
        raise RegistryError(f"there is no {path}: run `vitalwire evaluate candidate` first")
    try:
        return msgspec.json.decode(_read(path), type=Evidence)
    except msgspec.MsgspecError as error:
        raise RegistryError(f"{path} is no evidence: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from error


def _published(model: Model) -> None:
    typer.echo(f"{model.name} {model.version} ({model.manifest_sha256[:12]}) is on offer: {model.stage}")


def _because(why: str) -> str:
    return f" ({why})" if why else ""


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"vitalwire model: {error}", err=True)
    raise typer.Exit(1)
