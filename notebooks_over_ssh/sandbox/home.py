"""The home folder that all compute hosts share: a notebook, and environments laid out as Conda's."""

from pathlib import Path

from notebooks_over_ssh.sandbox.conda_environments import (
    ensure_base,
    ensure_environment,
    ensure_plain_environment,
)
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.util.atomic_write import atomic_write

_SOURCES = Path(__file__).with_name("static") / "home"


def ensure_home(paths: SandboxPaths) -> None:
    """Create what is missing or broken in the home folder, and keep the user's changes.

    Raises OSError when it cannot be written, TaskError when a package for the environments is not installed.
    """
    paths.home.mkdir(mode=0o700, exist_ok=True)
    for source in sorted(_SOURCES.rglob("*")):
        target = paths.home / source.relative_to(_SOURCES)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists():
            atomic_write(target, source.read_bytes(), mode=0o644)
    base = paths.home / "miniconda3"
    ensure_base(base)
    ensure_environment(base / "envs" / "mlp")
    ensure_plain_environment(base / "envs" / "plain")
    _list_environments(paths.home / ".conda" / "environments.txt", base)


def _list_environments(list_file: Path, base: Path) -> None:
    list_file.parent.mkdir(exist_ok=True)
    existing = list_file.read_text().splitlines() if list_file.exists() else []
    environments = [str(base), str(base / "envs" / "mlp"), str(base / "envs" / "plain")]
    missing = [prefix for prefix in environments if prefix not in existing]
    if missing:
        atomic_write(list_file, "".join(f"{prefix}\n" for prefix in existing + missing).encode(), mode=0o644)
