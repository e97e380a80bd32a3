"""The maintainers' own tasks: `invoke -r dev --list`."""

import sys
from pathlib import Path
from typing import Any

# Invoke's loader puts this folder on the search path, and not the one with the packages.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from notebooks_over_ssh.tasks.decorator import task


@task(help={"check": "Change nothing, and fail where the pins do not fit what pyproject.toml asks for."})
def pin(c: Any, check: bool = False) -> None:
    """Pin the versions in pyproject.toml and requirements.txt."""
    from dev.pin_requirements import check as check_requirements
    from dev.pin_requirements import write

    (check_requirements if check else write)()


@task()
def screenshots(c: Any) -> None:
    """Take the pictures of docs/ anew, in a real browser."""
    from dev.screenshots import take

    take()
