"""Where compiled parts are kept: numba refuses to load a module whose compiled form it can keep nowhere."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

VARIABLE: Final = "NUMBA_CACHE_DIR"


def find_room() -> None:
    """See to it that compiled parts can be kept, before the first of them is loaded.

    Beside the code, else in the user's cache folder, as numba itself chooses. Where neither can be written (an
    installation that is read-only, an account without a home) a folder of this process alone has to do: shared
    temporary folders are no place for code. Then each start compiles anew, and stderr says what to set.
    """
    if os.environ.get(VARIABLE):
        return
    cache = os.environ.get("XDG_CACHE_HOME")
    ours = Path(__file__).parents[1] / "__pycache__"
    users = Path(cache or os.path.expanduser("~/.cache")) / "numba"  # noqa: PTH111 - which never raises
    if _writable(ours) or _writable(users):
        return
    folder = tempfile.mkdtemp(prefix="vitalwire-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder
    sys.stderr.write(
        f"vitalwire: neither {ours} nor {users} can be written, so each start compiles anew, for half a minute: "
        f"set {VARIABLE} to a folder that only this account can write\n"
    )


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
