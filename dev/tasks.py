"""Tasks for maintainers: `invoke -r dev --list`."""

import sys
from pathlib import Path
from typing import Any

# Invoke's loader adds this folder to sys.path, but not the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from notebooks_over_ssh.tasks.action import Action
from notebooks_over_ssh.tasks.decorator import task
from notebooks_over_ssh.terminal import print_line


@task(help={"check": "Only check that the pins match pyproject.toml."})
def pin(c: Any, check: bool = False) -> Action:
    """Pin the versions in pyproject.toml and requirements.txt."""
    from dev.pin_requirements import check as check_requirements
    from dev.pin_requirements import write

    return Action(check_requirements if check else write, plan=check_requirements)


@task()
def screenshots(c: Any) -> Action:
    """Update the screenshots in docs/ with a real browser."""
    from dev.screenshots import update

    return Action(update, plan=lambda: print_line("would update the screenshots in docs/"))
