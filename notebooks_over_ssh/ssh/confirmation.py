"""The request of a program on the host for a confirmation, before it starts anything (common.py)."""

import contextlib
import json
from typing import NamedTuple

CONFIRMATION = b"go\n"
"""The line that `wait_for_confirmation` (common.py) expects."""


class ConfirmationRequest(NamedTuple):
    """The name of a host, as it reports it, and whether it seems to be the login node of a cluster."""

    host: str
    is_login_node: bool


def find_request(output: bytearray, marker: str) -> ConfirmationRequest | None:
    """The request in the output of a program; None if it does not wait for a confirmation."""
    for line in bytes(output).split(b"\n")[:-1]:
        if line.startswith(f"{marker} {{".encode()):
            with contextlib.suppress(ValueError, RecursionError):
                fields = json.loads(line.partition(b" ")[2])
                if fields.get("asks") is True and isinstance(fields.get("host"), str):
                    return ConfirmationRequest(fields["host"], fields.get("login_node") is True)
    return None
