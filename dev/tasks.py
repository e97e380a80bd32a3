"""Tasks for maintainers: `invoke -r dev --list`."""

import sys
from pathlib import Path
from typing import Any

# Invoke's loader adds this folder to sys.path, but not the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from notebooks_over_ssh.tasks.decorator import task


@task(help={"check": "Only check that the pins match pyproject.toml."})
def pin(c: Any, check: bool = False) -> None:
    """Pin the versions in pyproject.toml and requirements.txt."""
    from dev.pin_requirements import check as check_requirements
    from dev.pin_requirements import write

    (check_requirements if check else write)()


@task()
def screenshots(c: Any) -> None:
    """Update the screenshots in docs/ with a real browser."""
    from dev.screenshots import update

    update()
