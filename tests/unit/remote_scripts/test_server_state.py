"""Which running server a program on the host reports as one that answers."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

RECORD = {"pid": 100, "process_start": "boot/1", "port": 8888, "application": "notebook"}


@pytest.mark.parametrize(
    ("changed", "is_found"),
    [
        ({}, True),
        ({"record": None}, False),
        ({"record": {**RECORD, "port": 0}}, False),
        ({"record": {**RECORD, "application": "lab"}}, False),
        ({"info": None}, False),
        ({"info": {"port": 9999}}, False),
        ({"audit": "it answered a request without login"}, False),
        ({"audit": OSError()}, False),
        ({"audit": ValueError()}, False),
    ],
    ids=[
        *("answers", "not running", "without a port", "another application"),
        *("no server info", "another port", "not protected", "refuses", "garbled answer"),
    ],
)
def test_answering(
    import_remote: Callable[[str], ModuleType], changed: dict[str, Any], is_found: bool
) -> None:
    """It has the port on record, answers there, and is as protected as when it was started."""
    state = {"record": RECORD, "info": {"port": 8888}, "audit": "", **changed}
    module: Any = import_remote("server_state")

    class Server(module.Server):  # type: ignore[misc] # any module
        def __init__(self) -> None:
            """No folder."""

        def running(self) -> Any:
            return state["record"]

        def find_server_info(self, pid: int) -> Any:
            return state["info"]

        def audit(self, record: Any, timeout_s: float) -> str:
            if isinstance(state["audit"], Exception):
                raise state["audit"]
            return str(state["audit"])

    assert (Server().find_answering("notebook") is not None) == is_found
