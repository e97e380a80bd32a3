"""-r dev pin: the exact versions that CI tests, for those who install with uv and for those who install with pip.

uv reads them from `constraint-dependencies` in pyproject.toml: a lock file would record where they were downloaded from.
pip knows no override, and would refuse Patchwork beside Fabric 3: so requirements.txt names every package with its
hashes, and is installed with `pip install --no-deps --require-hashes -r requirements.txt`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.terminal import print_step

ROOT = Path(__file__).resolve().parent.parent
PROJECT, REQUIREMENTS = ROOT / "pyproject.toml", ROOT / "requirements.txt"


def write() -> None:
    """Pin what pyproject.toml asks for, there and in requirements.txt; pins that still fit stay. Raises TaskError."""
    pin(PROJECT, REQUIREMENTS)
    print_step(
        "project",
        f"{PROJECT.name} has {len(_constraints(PROJECT))} pins, {REQUIREMENTS.name} {len(_pins(REQUIREMENTS))}",
    )


def check() -> None:
    """Raise TaskError when the pins are not what `write` would make of pyproject.toml."""
    with tempfile.TemporaryDirectory() as folder:
        project, requirements = (Path(shutil.copy(file, folder)) for file in (PROJECT, REQUIREMENTS))
        pin(project, requirements)
        # A package may gain a file for another platform, and so a hash, without the pins being wrong.
        different = sorted(
            _constraints(project) ^ _constraints(PROJECT) | _pins(requirements) ^ _pins(REQUIREMENTS)
        )
    if different:
        raise TaskError(
            f"the pins do not fit what {PROJECT.name} asks for: {', '.join(different)}",
            hint="write them again: invoke -r dev pin",
        )
    print_step("project", "the pins fit pyproject.toml")


def pin(project: Path, requirements: Path) -> None:
    """Write the pins of a project into its file, and those of its users into `requirements`. Raises TaskError."""
    import tomlkit

    document = tomlkit.parse(project.read_text(encoding="utf-8"))
    uv = document["tool"]["uv"]
    with tempfile.TemporaryDirectory() as folder:
        unpinned, pins = Path(folder) / PROJECT.name, Path(folder) / "pins.txt"
        pins.write_text("\n".join(uv.pop("constraint-dependencies", [])), encoding="utf-8")
        unpinned.write_text(tomlkit.dumps(document), encoding="utf-8")
        _compile(unpinned, pins, "--group", "sandbox", "--group", "dev")
        versions = tomlkit.array().multiline(True)
        versions.extend(sorted(_pins(pins)))
    uv["constraint-dependencies"] = versions
    project.write_text(tomlkit.dumps(document), encoding="utf-8")
    _compile(project, requirements, "--group", "sandbox", "--generate-hashes")


def _compile(project: Path, output: Path, *options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", project.name, *options]
        + ["--universal", "--python-version", "3.11", "--no-header", "--no-annotate"]
        + ["--quiet", "--output-file", str(output)],
        cwd=project.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TaskError(
            "uv could not resolve pyproject.toml",
            hint="install the tools of the project: uv sync",
            detail=tuple(done.stderr.splitlines()[-10:]),
        )


def _constraints(project: Path) -> set[str]:
    import tomllib

    found = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["uv"].get(
        "constraint-dependencies", []
    )
    return set(found)


def _pins(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.rstrip(" \\") for line in lines if "==" in line}
