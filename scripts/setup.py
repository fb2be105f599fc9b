"""Install vitalwire into a virtual environment: one pip call against constraints.txt, then `pip check`.

Says how much will be downloaded before it starts and shows pip's own progress while it runs. Needs nothing but
Python's standard library.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from urllib.parse import urlparse

ROOT = Path(__file__).parents[1]
LOWEST, HIGHEST = (3, 11), (3, 13)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--extras", default="edge,cloud,sim", help="extras of pyproject.toml, with commas")
    arguments = parser.parse_args()
    folder = arguments.venv
    if not LOWEST <= sys.version_info[:2] <= HIGHEST:
        say(
            f"needs Python 3.11 to 3.13, this is {sys.version.split()[0]}; name another: make PYTHON=python3.11"
        )
        return 2
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"creating {folder}")
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    install = [
        "install",
        "--constraint",
        str(ROOT / "constraints.txt"),
        "--editable",
        f"{ROOT}[{arguments.extras}]",
    ]
    announce_download(pip, install)
    for step in (install, ["check"]):
        if subprocess.call(pip + step) != 0:
            say(f"pip {step[0]} failed; the lines above say why. Nothing outside {folder} was changed.")
            return 1
    return 0


def announce_download(pip: list[str], install: list[str]) -> None:
    """Say how many packages are missing and how large they are; no more than a courtesy, so never an error."""
    say("looking up what has to be downloaded ...")
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        plan = subprocess.run(
            [*pip, *install, "--dry-run", "--quiet", "--report", str(report)],
            capture_output=True,
            check=False,
        )
        if plan.returncode != 0:
            say("(the size could not be determined)")
            return
        items = json.loads(report.read_text())["install"]
    urls = [item["download_info"]["url"] for item in items]
    local = sum(urlparse(url).scheme == "file" for url in urls)
    say(f"{len(urls)} packages to install, {len(urls) - local} of them to download ({size_of(urls)})")


def size_of(urls: list[str]) -> str:
    """Sum of the sizes that the servers state."""
    import concurrent.futures  # noqa: PLC0415 - only here
    import urllib.request  # noqa: PLC0415 - only here

    def one(url: str) -> int:
        if not url.startswith("https:"):
            return 0
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - https only
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - https only
            return int(answer.headers.get("Content-Length", 0))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        try:
            total = sum(pool.map(one, urls))
        except OSError:
            return "size not stated"
    return f"about {total / 1e6:.0f} MB"


def say(text: str) -> None:
    sys.stdout.write(f"vitalwire setup: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
