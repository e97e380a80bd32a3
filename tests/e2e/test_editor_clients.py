"""The clients that editors and programs use, over the plain port, with nothing but the address that they are given."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.cli import User, assert_success
from tests.kit.plain_client import plain_address


@pytest.fixture(scope="module")
def url(user: User) -> Iterator[str]:
    """The address, with the token, of a session of this module."""
    assert_success(user.fab("up", "--detach", "--plain"))
    yield plain_address(user).url
    assert_success(user.fab("stop", "--force"))


def run(user: User, command: list[str], url: str) -> dict[str, Any]:
    """The results that the client printed."""
    output = assert_success(user.execute(command, f"{url}\n")).stdout
    results: dict[str, Any] = json.loads(output.splitlines()[-1])
    return results


def test_jupyterlab_services(user: User, url: str, node_client: list[str]) -> None:
    """Jupyter's own JavaScript client, which VS Code uses: files, a session, cells, interrupt and restart; a wrong
    token is refused.
    """
    assert run(user, node_client, url) == {
        "refused": 403,
        "saved": True,
        "first": ["ok", "42\n"],
        "error": "error",
        "interrupted": "error",
        "restarted": ["ok", "False\n"],
    }


def test_python_clients(user: User, url: str, python_client: list[str]) -> None:
    """The two clients from PyPI: files, a kernel, cells and restart; a wrong token is refused."""
    assert run(user, python_client, url) == {
        "version": True,
        "saved": True,
        "printed": "42\n",
        "error": "error",
        "listed": True,
        "restarted": "False\n",
        "refused": "ForbiddenError",
    }
