"""The key of the login cookies on the host, which outlives the server."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def module(import_remote: Callable[[str], ModuleType]) -> Any:
    """cookie_key.py."""
    return import_remote("cookie_key")


@pytest.fixture
def server(tmp_path: Path) -> SimpleNamespace:
    """The files of a server."""
    (tmp_path / "runtime").mkdir()
    return SimpleNamespace(cookie_key_path=str(tmp_path / "cookie_key"), runtime=str(tmp_path / "runtime"))


def secret(module: Any, server: SimpleNamespace, digest: str = "a") -> str:
    """What Jupyter reads when it starts."""
    module.write_cookie_secret(server, "server-2", digest)
    file = Path(server.runtime) / "jupyter_cookie_secret"
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_text()


def test_kept(module: Any, server: SimpleNamespace) -> None:
    """The next server has the same key, unless the password or certificate has changed. It is not that of the file."""
    first = secret(module, server)
    assert secret(module, server) == first
    assert len({first, secret(module, server, "b"), Path(server.cookie_key_path).read_text()}) == 3
    assert Path(server.cookie_key_path).stat().st_mode & 0o777 == 0o600


def test_deleted(module: Any, server: SimpleNamespace) -> None:
    """After `stop`, also twice, the next server has another key."""
    first = secret(module, server)
    module.delete_cookie_key(server)
    module.delete_cookie_key(server)
    assert secret(module, server) != first


@pytest.mark.parametrize("content", ["", "00", "x" * 64, "0" * 63])
def test_damaged(module: Any, server: SimpleNamespace, content: str) -> None:
    """A file that is no key is replaced."""
    Path(server.cookie_key_path).write_text(content)
    first = secret(module, server)
    assert secret(module, server) == first
    assert len(Path(server.cookie_key_path).read_text()) == 64


def test_classic(module: Any, server: SimpleNamespace) -> None:
    """Notebook 6 reads a file with another name."""
    module.write_cookie_secret(server, "classic", "a")
    assert (Path(server.runtime) / "notebook_cookie_secret").exists()
