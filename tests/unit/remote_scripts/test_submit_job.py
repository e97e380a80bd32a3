"""The command that submits the server's job."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def test_signal_of_the_user(
    import_remote: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal before the time limit goes to the batch script. A --signal of the user's comes later, and overrides
    it: of an option that is given twice, sbatch takes the last.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    submit_job: Any = import_remote("submit_job")
    commands: list[list[str]] = []

    def run(command: list[str]) -> tuple[int, str, list[str]]:
        commands.append(command)
        return 0, "12\n", []

    monkeypatch.setattr(submit_job.slurm, "run", run)
    own = "--signal=B:USR1@300"
    parameters = {"script": "", "request": "", "marker": "m", "options": ["--gpus=1", own], "signal_s": 60}
    job = submit_job.submit(parameters)
    signals = [word for word in commands[-1] if word.startswith("--signal")]
    assert signals == ["--signal=B:TERM@60", own]
    assert job["options"] == ["--gpus=1", own]
