"""A login node of a Slurm cluster is recognized by what it has, and what it does not run."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("program", "config", "processes", "expected"),
    [
        ("/usr/bin/sbatch", True, ["sshd", "slurmctld"], True),
        ("/usr/bin/sbatch", True, ["sshd", "slurmd"], False),
        ("/usr/bin/sbatch", False, ["sshd"], False),
        (None, True, ["sshd"], False),
    ],
)
def test_login_node(
    import_remote: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str | None,
    config: bool,
    processes: list[str],
    expected: bool,
) -> None:
    """Slurm's sbatch and its configuration are there, and no slurmd, which runs jobs, is."""
    common: Any = import_remote("common")
    path = tmp_path / "slurm.conf"
    if config:
        path.touch()
    monkeypatch.setenv("SLURM_CONF", str(path))
    monkeypatch.setattr(common, "HAS_PROC", True)
    monkeypatch.setattr(common.shutil, "which", lambda name: program)
    monkeypatch.setattr(common.os, "listdir", lambda folder: [*map(str, range(len(processes))), "self"])
    monkeypatch.setattr(common, "process_name", lambda pid: processes[pid])
    assert common.is_login_node() is expected
