"""`invoke -r dev pin`: pins the exact versions that CI tests, for uv and for pip.

uv reads `constraint-dependencies` in pyproject.toml; a lock file would also record the URL of the package index.
pip has no overrides and would reject Patchwork with Fabric 3, so requirements.txt lists every package with its hashes:
`pip install --no-deps --require-hashes -r requirements.txt`.
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
USERS = ("--extra", "sandbox", "--group", "patchwork")


def write() -> None:
    """Update the pins in both files, and keep those that still satisfy the requirements. Raises TaskError."""
    pin(PROJECT, REQUIREMENTS)
    print_step(
        "project",
        f"{PROJECT.name} has {len(_constraints(PROJECT))} pins, {REQUIREMENTS.name} {len(_pins(REQUIREMENTS))}",
    )


def check() -> None:
    """Raise TaskError when `write` would change the pins."""
    with tempfile.TemporaryDirectory() as folder:
        project, requirements = (Path(shutil.copy(file, folder)) for file in (PROJECT, REQUIREMENTS))
        pin(project, requirements)
        # Hashes are not compared: a release can gain a file, and so a hash, for another platform.
        different = sorted(
            _constraints(project) ^ _constraints(PROJECT) | _pins(requirements) ^ _pins(REQUIREMENTS)
        )
    if different:
        raise TaskError(
            f"the pins do not match the requirements in {PROJECT.name}: {', '.join(different)}",
            hint="update them: invoke -r dev pin",
        )
    print_step("project", "the pins match pyproject.toml")


def pin(project: Path, requirements: Path) -> None:
    """Write the pins of all groups into `project`, and those of its users into `requirements`. Raises TaskError."""
    import tomlkit

    document = tomlkit.parse(project.read_text(encoding="utf-8"))
    uv = document["tool"]["uv"]
    with tempfile.TemporaryDirectory() as folder:
        unpinned, pins = Path(folder) / PROJECT.name, Path(folder) / "pins.txt"
        pins.write_text("\n".join(uv.pop("constraint-dependencies", [])), encoding="utf-8")
        unpinned.write_text(tomlkit.dumps(document), encoding="utf-8")
        _compile(unpinned, pins, *USERS, "--extra", "kerberos", "--group", "dev")
        versions = tomlkit.array().multiline(True)
        versions.extend(sorted(_pins(pins)))
    uv["constraint-dependencies"] = versions
    project.write_text(tomlkit.dumps(document), encoding="utf-8")
    _compile(project, requirements, *USERS, "--generate-hashes")


def _compile(project: Path, output: Path, *options: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", project.name, *options]
        + ["--universal", "--python-version", "3.11", "--no-header", "--no-annotate"]
        + ["--quiet", "--output-file", str(output)],
        cwd=project.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise TaskError(
            "uv could not resolve the requirements in pyproject.toml",
            hint="install the development tools: uv sync",
            detail=tuple(result.stderr.splitlines()[-10:]),
        )


def _constraints(project: Path) -> set[str]:
    import tomllib

    constraints = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["uv"].get(
        "constraint-dependencies", []
    )
    return set(constraints)


def _pins(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.rstrip(" \\") for line in lines if "==" in line}
