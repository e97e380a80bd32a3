"""The sockets at which processes of this account offer the logins that they hold, one for each hop."""

import logging
import os
import socket
from base64 import b64decode
from pathlib import Path

import paramiko

from notebooks_over_ssh import state_files
from notebooks_over_ssh.errors import TaskError, UserError
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.mux.client import MuxClient
from notebooks_over_ssh.ssh.mux.messages import MuxError
from notebooks_over_ssh.ssh.mux.transport import MuxTransport
from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.util.socket_path import short_path

_log = logging.getLogger(__name__)

SUFFIX = ".login"


def login_socket(login_id: str) -> Path:
    """The path of the socket for a hop. Raises TaskError if its folder belongs to another account."""
    return state_files.state_folder("logins") / f"{login_id}{SUFFIX}"


def login_sockets() -> list[Path]:
    """The sockets of all logins, of which some may be stale. Raises TaskError."""
    return state_files.entries(state_files.state_folder("logins"), SUFFIX)


def use_login(login_id: str, policy: HostKeyPolicy) -> MuxTransport | None:
    """A transport over a login that another process holds on the policy's hop; None if there is none.

    The key with which the host authenticated itself there must be one that the policy accepts.
    """
    try:
        client = MuxClient(login_socket(login_id))
    except (MuxError, TaskError) as error:
        _log.debug("%s: no login to use: %s", policy.name, error)
        return None
    try:
        key = paramiko.PKey.from_type_string(*_parse_key(client.host_key))
        policy.missing_host_key(paramiko.SSHClient(), policy.host, key)
        transport = MuxTransport(client.start_proxy(), client.host_key)
    except (MuxError, UserError, ValueError, *FAILURES) as error:
        _log.debug("%s: the login of another process is not used: %s", policy.name, error)
        client.close()
        return None
    _log.debug("%s: using the login of another process", policy.name)
    return transport


def _parse_key(host_key: str) -> tuple[str, bytes]:
    blob = b64decode(host_key, validate=True)
    return Message(blob).get_text(), blob


def bind(path: Path) -> socket.socket:
    """A listening socket at the path, which replaces what is there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with short_path(temporary) as name:
            listener.bind(name)
        temporary.chmod(0o600)
        listener.listen()
        temporary.rename(path)
    except BaseException:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise
    return listener
