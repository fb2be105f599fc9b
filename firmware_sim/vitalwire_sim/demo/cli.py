"""`vitalwire demo`: the whole system on this machine."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.shutdown import stop_on_signals
from vitalwire_edge.recordings.locate import first_ecg
from vitalwire_edge.recordings.recording import RecordingError
from vitalwire_sim.demo.processes import ProcessError
from vitalwire_sim.demo.report import build_report, print_report
from vitalwire_sim.demo.run import Demo, Plan
from vitalwire_sim.scenario import ScenarioError, load

app = typer.Typer(
    help="Run broker, cloud, gateways and simulated wearables on this machine and show the live page.",
    epilog="Example: vitalwire demo --seconds 90 --no-browser --json out.json",
)


@app.callback(invoke_without_command=True)
def demo(
    seconds: Annotated[
        float | None, typer.Option(min=10, help="End after this long; default: run until Ctrl-C.")
    ] = None,
    scenario: Annotated[str, typer.Option(help="A shipped scenario, or the path of one.")] = "ward",
    seed: Annotated[int, typer.Option(help="Seed of the simulated patients.")] = 1,
    json: Annotated[Path | None, typer.Option(help="Write what happened to this file.")] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Keep store, spools and logs here; default: a temporary folder.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="VITALWIRE_DATA",
            help="Replay the first ECG in this folder (WFDB, EDF or CSV) instead of the one that comes along.",
        ),
    ] = None,
    web_port: Annotated[
        int | None, typer.Option(help="Port of the live page; default: 8800 if it is free.")
    ] = None,
    *,
    browser: Annotated[bool, typer.Option(help="Open the live page in a browser.")] = True,
) -> None:
    """Exit 0 when nothing was lost or stored twice and every scripted episode was raised, else 1."""
    console = Console(highlight=False)
    stop = stop_on_signals()
    try:
        script = load(scenario)
        recording = first_ecg(data) if data is not None else None
    except (ScenarioError, RecordingError) as error:
        raise ConfigError(str(error)) from error
    if recording is not None:
        console.print(f"replaying {recording}")
    with ExitStack() as stack:
        folder = work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vitalwire-demo-")))
        if work_dir is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise ConfigError(f"--work-dir {folder} is not empty: name a new folder")
        plan = Plan(
            scenario_name=scenario,
            scenario=script,
            seconds=seconds,
            seed=seed,
            folder=folder,
            browser=browser,
            web_port=web_port,
            recording=recording,
        )
        try:
            evidence = Demo(plan, console.print, stop).run()
        except ProcessError as error:
            console.print(f"vitalwire demo: {error}", style="red", markup=False)
            raise typer.Exit(1) from error
        report = build_report(plan, evidence)
    print_report(report, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    raise typer.Exit(0 if report.ok else 1)
