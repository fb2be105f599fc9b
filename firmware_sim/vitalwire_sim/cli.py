"""`vitalwire sim`: simulated wearables."""

import asyncio
import signal
import time
import zlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import typer

from vitalwire_edge.process import logs
from vitalwire_edge.recordings.locate import data_folder, open_recording
from vitalwire_edge.recordings.recording import Recording, RecordingError
from vitalwire_sim import scenario as scenarios
from vitalwire_sim.device import DeviceProcess, Plan, UnreachableError
from vitalwire_sim.kinds import KINDS
from vitalwire_sim.scenario import Scenario, ScenarioError
from vitalwire_sim.synthetic import synthetic
from vitalwire_sim.truth import Start, TruthError, TruthFile

_FAILED: Final = 1
_WRONG_USE: Final = 2
_LATE_NS: Final = 5_000_000_000
"""What a wearable's buffer can make up for."""


app = typer.Typer(
    no_args_is_help=True,
    help="Simulated wearables: physiology, recordings, scripted episodes and faults.",
    epilog="Example: vitalwire sim run --scenario ward --device chest-2 --gateway-address 127.0.0.1:7001",
)


@app.command(
    epilog="Example: vitalwire sim run --scenario ward --device chest-1 --gateway-address 127.0.0.1:7001 "
    "--seconds 90 --truth chest-1.jsonl"
)
def run(
    device: Annotated[str, typer.Option(help="Which device of the scenario to be.")],
    gateway_address: Annotated[str, typer.Option(help="host:port where the gateway listens for wearables.")],
    scenario: Annotated[str, typer.Option(help="Shipped scenario, or path of a .toml file.")] = "ward",
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after this time; by default run until stopped.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Write the ground truth here as JSON lines.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same signals.")] = 1,
    start_at: Annotated[
        int | None, typer.Option(help="UTC in nanoseconds of sample 0, to start devices together.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of recordings (or VITALWIRE_DATA).")] = None,
    recording: Annotated[
        str | None, typer.Option(help="Replay this instead: toy, or a WFDB record, EDF or CSV file.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Lead of the recording.")] = None,
    boot: Annotated[
        int | None, typer.Option(min=0, max=255, help="Boot counter that the device tells.")
    ] = None,
    log_level: Annotated[logs.Level, typer.Option(help="How much to log.")] = "info",
) -> None:
    """Be one wearable: measure in real time and send to the gateway until the end or Ctrl-C."""
    logs.setup(f"sim {device}", level=log_level)
    try:
        host, port = _address(gateway_address)
        loaded = _replaying(scenarios.load(scenario), device, recording, channel)
        chosen = loaded.device(device)
        replayed = _recording(chosen, data, _seed(seed, device))
        plan = Plan(
            device=chosen,
            script=loaded.script(device, seconds),
            host=host,
            port=port,
            seconds=seconds,
            start_ns=_start_ns(start_at),
            boot=boot if boot is not None else int(time.time()) % 256,
            seed=_seed(seed, device),
        )
    except (ScenarioError, RecordingError, ValueError) as error:
        typer.echo(f"vitalwire sim run: {error}", err=True)
        raise typer.Exit(_WRONG_USE) from error
    try:
        with TruthFile(truth) as file:
            file.write(_start(plan, loaded, scenario, seed, replayed))
            asyncio.run(_run(plan, replayed, file))
    except (TruthError, UnreachableError) as error:
        typer.echo(f"vitalwire sim run: {error}", err=True)
        raise typer.Exit(_FAILED) from error


@app.command(name="list", epilog="Example: vitalwire sim list")
def list_(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False
) -> None:
    """List the scenarios that ship with vitalwire, with their devices and episodes."""
    loaded = {name: scenarios.load(name) for name in scenarios.shipped()}
    if as_json:
        typer.echo(msgspec.json.encode(loaded).decode())
        return
    for name, one in loaded.items():
        typer.echo(f"{name}: {one.title} ({one.seconds:g} s, gateways {', '.join(one.gateways)})")
        for device in one.devices:
            what = ", ".join(f"{e.kind} at {e.start_s:g} s" for e in device.episodes) or "calm"
            who = f"replays {device.recording}" if device.recording else "simulated"
            if device.generated is not None:
                who = f"wears a generated patient in {device.generated.rhythm}"
            typer.echo(f"  {device.name} on {device.gateway} ({who}): {what}")


@app.command(epilog="Example: vitalwire sim write chest-2 --device chest-2 --seconds 90 --format edf")
def write(
    target: Annotated[Path, typer.Argument(help="Name to write to, without suffix.")],
    device: Annotated[str, typer.Option(help="Which device of the scenario; one with a simulated patient.")],
    scenario: Annotated[str, typer.Option(help="Shipped scenario, or path of a .toml file.")] = "ward",
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How much to write.")] = 90,
    form: Annotated[Literal["wfdb", "edf", "csv"], typer.Option("--format", help="What to write.")] = "wfdb",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same signals.")] = 1,
) -> None:
    """Write a simulated ECG with its true beats to a file, marked as synthetic. Not in real time."""
    # The writers load a third of a second longer, which `run`, started many times at once, need not pay.
    from vitalwire_edge.recordings.writing import write as write_recording  # noqa: PLC0415

    try:
        loaded = scenarios.load(scenario)
        chosen = loaded.device(device)
        if chosen.recording is not None:
            raise ScenarioError(f"device {device!r} replays a recording: use vitalwire data convert for that")
        if chosen.generated is not None:
            raise ScenarioError(
                f"device {device!r} wears a generated patient: use vitalwire generate for that"
            )
        ecg = synthetic(chosen, loaded.script(device, seconds), seconds=seconds, seed=_seed(seed, device))
        files = write_recording(
            target, form, [ecg], note=f"SYNTHETIC ECG, no patient: {scenario} {device} {seed}"
        )
    except (ScenarioError, RecordingError, OSError) as error:
        typer.echo(f"vitalwire sim write: {error}", err=True)
        raise typer.Exit(_WRONG_USE) from error
    typer.echo(f"{', '.join(str(file) for file in files)}: {ecg.duration_s:g} s, {len(ecg.beats)} beats")


@app.command(epilog="Example: vitalwire sim cohort ./cohort --patients 8 --seconds 480 --seed 1")
def cohort(
    folder: Annotated[Path, typer.Argument(help="Folder for the records.")],
    patients: Annotated[int, typer.Option(min=1, max=999, help="How many.")] = 8,
    seconds: Annotated[float, typer.Option(min=10, max=86_400, help="How much of each.")] = 480,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same patients.")] = 1,
    prefix: Annotated[str, typer.Option(help="Before the number in the name of each record.")] = "sim",
) -> None:
    """Write simulated patients with ectopic beats as annotated WFDB, to try training and evaluation on."""
    from vitalwire_sim.cohort import write_cohort  # noqa: PLC0415 - as for `write`

    try:
        headers = write_cohort(folder, patients, seconds=seconds, seed=seed, prefix=prefix)
    except (RecordingError, ValueError, OSError) as error:
        typer.echo(f"vitalwire sim cohort: {error}", err=True)
        raise typer.Exit(_WRONG_USE) from error
    typer.echo(f"{folder}: {len(headers)} records of {seconds:g} s, synthetic")


async def _run(plan: Plan, recording: Recording | None, truth: TruthFile) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await DeviceProcess(plan, recording, truth).run(stop)


def _replaying(loaded: Scenario, name: str, recording: str | None, channel: str | None) -> Scenario:
    """`loaded` with device `name` replaying `recording`, without what a recorded heart cannot be made to do."""
    device = loaded.device(name)
    if recording is None and channel is None:
        return loaded
    kept = tuple(e for e in device.episodes if not KINDS[e.kind].cardiac)
    changed = msgspec.structs.replace(
        device,
        recording=recording or device.recording,
        channel=channel or device.channel,
        generated=None,
        episodes=kept,
    )
    devices = tuple(changed if one is device else one for one in loaded.devices)
    return msgspec.structs.replace(loaded, devices=devices)


def _seed(seed: int, device: str) -> int:
    """Devices of one scenario are different people."""
    return zlib.crc32(f"{seed}/{device}".encode())


def _recording(device: scenarios.Device, data: Path | None, seed: int) -> Recording | None:
    """What replaces the simulated ECG, if anything does."""
    if device.generated is not None:
        # The generator's runtime loads a while, which devices without need not pay.
        from vitalwire_sim.generated import generated_ecg  # noqa: PLC0415

        return generated_ecg(device, device.generated, seed=seed)
    if device.recording is None:
        return None
    return open_recording(device.recording, data=data_folder(data), channel=device.channel)


def _start(plan: Plan, loaded: Scenario, scenario: str, seed: int, recording: Recording | None) -> Start:
    return Start(
        device=plan.device.name,
        gateway=plan.device.gateway,
        site=loaded.site,
        scenario=scenario,
        seed=seed,
        boot=plan.boot,
        start_ns=plan.start_ns,
        fs_hz=float(plan.device.fs_hz) if recording is None else recording.fs_hz,
        lead=plan.device.lead,
        recording=None if recording is None else recording.name,
    )


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"--gateway-address {text!r}: write it as host:port, e.g. 127.0.0.1:7001")
    return host.strip("[]"), int(port)


def _start_ns(start_at: int | None) -> int:
    now_ns = time.time_ns()
    if start_at is None:
        return now_ns
    if not -_LATE_NS < start_at - now_ns < 3600 * 1_000_000_000:
        raise ValueError(
            f"--start-at {start_at}: give UTC nanoseconds from 5 s ago to an hour ahead (now is {now_ns})"
        )
    return start_at
