"""Whether every part of `vitalwire[edge]` has a wheel for a gateway, so that nobody needs a compiler there.

Asked for aarch64 and x86_64 and each supported Python, at the versions of constraints.txt. Nothing is installed.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC_MINORS = (17, 24, 26, 27, 28, 34, 35, 36)
"""Up to Debian 12, which Raspberry Pi OS of 2023 is."""


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["edge"]]
    missing = False
    for arch in ("aarch64", "x86_64"):
        for python in PYTHONS:
            problem = lacking(wanted, arch, python)
            missing |= bool(problem)
            sys.stdout.write(
                f"gateway on {arch}, Python {python}: {problem or f'{len(wanted)} parts have wheels'}\n"
            )
    return int(missing)


def lacking(wanted: list[str], arch: str, python: str) -> str:
    """Why the parts do not resolve, or nothing."""
    tags = [f"manylinux_2_{minor}_{arch}" for minor in GLIBC_MINORS] + [f"manylinux2014_{arch}"]
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "pip",
                    "--disable-pip-version-check",
                    "install",
                    "--dry-run",
                    "--quiet",
                ),
                *(
                    "--ignore-installed",
                    "--target",
                    nowhere,
                    "--only-binary",
                    ":all:",
                    "--implementation",
                    "cp",
                ),
                *("--python-version", python, "--constraint", str(ROOT / "constraints.txt")),
                *(part for tag in tags for part in ("--platform", tag)),
                *wanted,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [line for line in done.stderr.splitlines() if "WARNING" not in line]
    return "\n".join(lines) if done.returncode else ""


if __name__ == "__main__":
    raise SystemExit(main())
