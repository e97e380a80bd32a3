"""project.pin: the pinned, hashed requirements.txt for those who install with pip.

pip knows no override, and would refuse Patchwork beside Fabric 3: so every package is in the file, and it is installed
with `pip install --no-deps --require-hashes -r requirements.txt`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fabfile.errors import Failed
from fabfile.terminal import step

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "requirements.txt"


def write() -> None:
    """Pin what pyproject.toml asks for in requirements.txt; pins that still fit stay. Raises Failed."""
    _compile(FILE)
    step("project", f"{FILE.name} has {len(_pins(FILE))} packages")


def check() -> None:
    """Raise Failed when requirements.txt is not what `write` would make of pyproject.toml."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / FILE.name
        shutil.copy(FILE, fresh)
        _compile(fresh)
        # A package may gain a file for another platform, and so a hash, without the pins being wrong.
        different = sorted(_pins(fresh) ^ _pins(FILE))
    if different:
        raise Failed(
            f"{FILE.name} does not fit pyproject.toml: {', '.join(different)}",
            hint="make it anew: invoke project.pin",
        )
    step("project", f"{FILE.name} fits pyproject.toml")


def _compile(file: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--group", "sandbox"]
        + ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
        + ["--quiet", "--output-file", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise Failed(
            "uv could not resolve pyproject.toml",
            hint="install the tools of the project: uv sync",
            detail=tuple(made.stderr.splitlines()[-10:]),
        )


def _pins(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.rstrip(" \\") for line in lines if "==" in line}
