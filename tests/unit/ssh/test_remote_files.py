"""What a step says of the host with Patchwork's help is left out where Patchwork is not installed."""

import sys
from typing import Any, cast

import pytest

from notebooks_over_ssh.ssh.remote_files import has_program


@pytest.mark.parametrize("module", ["patchwork", "six"])
def test_without_patchwork(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Without Patchwork, or the module that it needs, no program is found, and the host is not asked."""
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, cast(Any, None))
    not_a_connection: Any = object()
    assert not has_program(not_a_connection, "jupyter")
