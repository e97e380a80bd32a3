"""What a job has written about the start of its server."""

from typing import Any

import msgspec

from notebooks_over_ssh.launchers.base import NotStartedError
from notebooks_over_ssh.launchers.slurm_state import StateReply
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import parse_reply
from notebooks_over_ssh.util.command_hint import command


class OutputReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of await_job.py."""

    marker: str
    output: str
    has_record: bool
    """Whether the machine has the job's folder."""


def has_reply(output: OutputReply | StateReply) -> bool:
    """Whether the job has written the result of its server's start."""
    return bool(output.marker) and f"\n{output.marker} " in output.output


def server_reply(connection: Connection, output: OutputReply | StateReply) -> dict[str, Any]:
    """The result of the start of a job's server. Raises RemoteError if the job has ended without one."""
    if isinstance(output, StateReply) and not has_reply(output):
        state = output.to_state(None)
        raise NotStartedError(
            f"{state.label} {state.description}",
            hint="check on the node that it has your home folder, as the login node does"
            if output.is_launch_failure
            else f"{command('serve')} submits another",
            detail=state.detail,
            source=state.label,
        )
    return parse_reply(connection, output.marker, output.output)
