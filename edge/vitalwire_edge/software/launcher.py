"""`vitalwire-launch`: start the gateway's software from the slot that shall run. Standard library only.

It is what the service manager starts, and it becomes the software (`execve`), so the service manager watches the
software itself. A release on probation has a number of starts, counted on disk before each. It also has a deadline: an
alarm clock of the kernel (`alarm(2)` outlives `execve`) that ends the process unless the software, once it is ready,
sets it later, and once it is confirmed, stops it. So a release that crashes, hangs or never gets to work is left by
itself, whatever is wrong with it. The launcher is part of what was installed and is not updated over the air.
"""

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from vitalwire_edge.software import slots
from vitalwire_edge.software.slots import Boot, Failed, SlotError

FOLDER_VARIABLE: Final = "VITALWIRE_SOFTWARE"
SLOT_VARIABLE: Final = "VITALWIRE_SLOT"
_STARTS: Final = 2
_READY_S: Final = 180


def choose(folder: Path, starts: int = _STARTS) -> str | None:
    """The slot to start, None for the installed software; the start of a candidate is on disk when this returns.

    Never raises: whatever is wrong with folder, record or slots, something starts.
    """
    try:
        return _choose(folder, starts)
    except OSError as error:
        # Without a record that can be written no start can be counted, so nothing is tried.
        _say(f"{folder}: {error}; no candidate is started")
        return _sound(folder, _quiet_boot(folder))


def main(arguments: list[str] | None = None) -> None:
    """Become the software. Exit codes are those of the software."""
    parser = argparse.ArgumentParser(
        prog="vitalwire-launch", description="Start the newest software of this gateway that works."
    )
    parser.add_argument("--folder", type=Path, required=True, help="where releases are kept")
    parser.add_argument("--starts", type=int, default=_STARTS, help="starts that a new release has")
    parser.add_argument("--ready-s", type=int, default=_READY_S, help="seconds until a new release is ready")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and what to run, e.g. edge run")
    told = parser.parse_args(arguments)
    command = told.command[1:] if told.command[:1] == ["--"] else told.command
    slot = choose(told.folder, told.starts)
    environment = dict(os.environ)
    environment[FOLDER_VARIABLE] = str(told.folder)
    environment[SLOT_VARIABLE] = slot or ""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if slot is not None:
        # Nothing is compiled into a slot: after a power cut half a file would be found there.
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        others = environment.get("PYTHONPATH")
        place = str((told.folder / slot).resolve())
        environment["PYTHONPATH"] = place if not others else place + os.pathsep + others
        if _quiet_boot(told.folder).candidate == slot:
            signal.alarm(told.ready_s)
    _say(f"starting {'the installed software' if slot is None else 'slot ' + slot}")
    os.execve(sys.executable, [sys.executable, "-P", "-m", "vitalwire_edge", *command], environment)  # noqa: S606 - none is wanted


def _choose(folder: Path, starts: int) -> str | None:
    folder.mkdir(parents=True, exist_ok=True)
    boot = slots.read_boot(folder)
    if boot.candidate is not None:
        try:
            release = slots.release_in(folder, boot.candidate)
        except SlotError as error:
            # Unpacking it did not end, or the disk is bad: it can be offered again.
            _say(f"{error}; it is not started")
            boot = replace(boot, candidate=None, starts=0)
        else:
            if boot.starts < starts:
                slots.write_boot(folder, replace(boot, starts=boot.starts + 1))
                return boot.candidate
            why = f"it was started {boot.starts} times and never confirmed itself"
            _say(f"release {release.version} ({release.software}) is given up: {why}")
            boot = replace(boot, candidate=None, starts=0, failed=Failed(release, why))
        slots.write_boot(folder, boot)
    return _sound(folder, boot)


def _sound(folder: Path, boot: Boot) -> str | None:
    """The first of the confirmed slots that is whole."""
    for slot in (boot.confirmed, boot.previous):
        if slot is not None:
            try:
                slots.release_in(folder, slot)
            except SlotError as error:
                _say(f"{error}; it is not started")
            else:
                return slot
    return None


def _quiet_boot(folder: Path) -> Boot:
    try:
        return slots.read_boot(folder)
    except OSError:
        return Boot()


def _say(text: str) -> None:
    sys.stderr.write(f"vitalwire-launch: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
