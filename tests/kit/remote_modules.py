"""Imports the modules that run on the host by the names that they have there."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import notebooks_over_ssh

FOLDER = Path(notebooks_over_ssh.__file__).parent / "remote_scripts"


@pytest.fixture
def import_remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Returns a module of `remote_scripts` by its name; each test gets modules of its own."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)
