"""The request to run a command in a session (RFC 4254, section 6.5)."""

from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST


def exec_request(number: int, command: str, *, want_reply: bool) -> paramiko.Message:
    """The request to run the command in the session with the peer's channel number."""
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(number)
    message.add_string("exec")
    message.add_boolean(want_reply)
    message.add_string(command)
    return message


def request_exec(channel: paramiko.Channel, command: str) -> None:
    """Send an exec request without waiting for the reply, so that input can follow at once."""
    channel.event.clear()
    transport: Any = channel.transport  # the stubs omit _send_user_message
    transport._send_user_message(exec_request(channel.remote_chanid, command, want_reply=True))


def wait_for_exec_reply(channel: paramiko.Channel, timeout_s: float) -> None:
    """Wait until the peer has replied to `request_exec`, or closed the channel. Raises TimeoutError."""
    if not channel.event.wait(timeout_s):
        raise TimeoutError
