"""The sockets at which processes of this account offer the logins that they hold, one for each hop."""

import logging
import os
import socket
from base64 import b64decode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import paramiko

from notebooks_over_ssh import __version__, state_files
from notebooks_over_ssh.errors import TaskError, UserError
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.mux import messages
from notebooks_over_ssh.ssh.mux.client import MuxClient
from notebooks_over_ssh.ssh.mux.messages import MuxError, MuxRefusal, MuxTimeout
from notebooks_over_ssh.ssh.mux.transport import MuxTransport
from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.socket_path import short_path

_log = logging.getLogger(__name__)

SUFFIX = ".login"
MAX_QUERIES = 16


class LoginStaysError(Exception):
    """A process does not end its logins; `str` is the reason, `hint` the remedy, for the user to read."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class HeldLogin(msgspec.Struct, frozen=True, kw_only=True):
    """The logins that a process of this account holds, as it describes them."""

    pid: int
    hops: tuple[str, ...]
    """The accounts, as `user@host`, outermost first."""
    since: float
    """When it had logged in, by time.time()."""
    lifetime_s: float
    """For how long they are kept without a tunnel, after their last use."""
    until: float | None
    """When they end unless they are used, by time.time(); None while they are in use."""
    tunnel: str
    """The tunnel of the process, for the user to read; "" without one."""


def greeting(host_key: str, login: HeldLogin) -> dict[str, str]:
    """The extensions of a holder's first message; without the host key, the login can only be ended."""
    return {
        messages.HOST_KEY: host_key,
        messages.PROGRAM_VERSION: __version__,
        messages.DESCRIPTION: msgspec.json.encode(login).decode(),
    }


def login_socket(login_id: str) -> Path:
    """The path of the socket for a hop. Raises TaskError if its folder belongs to another account."""
    return state_files.state_folder("logins") / f"{login_id}{SUFFIX}"


def login_sockets() -> list[Path]:
    """The sockets of all logins, of which some may be stale; none if their folder cannot be read."""
    try:
        return state_files.entries(state_files.state_folder("logins"), SUFFIX)
    except TaskError as error:
        _log.debug("no logins: %s", error)
        return []


def held_logins() -> list[HeldLogin]:
    """The logins that processes of this account hold, one for each process that answers."""
    with ThreadPoolExecutor(max_workers=MAX_QUERIES) as executor:
        answers = executor.map(query, login_sockets())
    return list({login.pid: login for login in answers if login}.values())


def find_login(login_ids: Iterable[str]) -> HeldLogin | None:
    """What a process offers under one of these names; None if none does, or their folder cannot be used."""
    try:
        return next(filter(None, (query(login_socket(login_id)) for login_id in login_ids)), None)
    except TaskError as error:
        _log.debug("no logins: %s", error)
        return None


def query(path: Path) -> HeldLogin | None:
    """What a process offers at the socket; None if none answers, or one whose login cannot be used."""
    try:
        client = MuxClient(path)
    except MuxError as error:
        _log.debug("no login at %s: %s", path, error)
        return None
    client.close()
    is_usable = _is_of_this_version(client) and _reported_key(client)
    return _description(client) if is_usable else None


def end_login(path: Path) -> HeldLogin | None:
    """Ask the process that listens at the socket to end; returns what it held, None if none answers.

    Raises LoginStaysError if it has a tunnel, or hangs.
    """
    try:
        client = MuxClient(path)
    except MuxTimeout as error:
        raise _hangs(path, error) from error
    except MuxError as error:
        _log.debug("no login at %s: %s", path, error)
        return None
    held_login = _description(client)
    try:
        client.terminate()
    except MuxRefusal:
        reason = f"{held_login.tunnel if held_login else 'a tunnel'} uses it"
        raise LoginStaysError(reason, f"{command('stop')} closes the tunnel") from None
    except MuxTimeout as error:
        raise _hangs(path, error) from error
    except MuxError as error:
        _log.debug("the login at %s does not end: %s", path, error)
    finally:
        client.close()
    return held_login


def _hangs(path: Path, error: MuxTimeout) -> LoginStaysError:
    # Of a process that was stopped (SIGSTOP), SIGTERM would wait.
    remedy = f"end it with: kill -9 {error.pid}" if error.pid else f"end the process that listens at {path}"
    return LoginStaysError(
        f"the process {error.pid or ''}".rstrip() + " that holds it does not answer", remedy
    )


def _is_of_this_version(client: MuxClient) -> bool:
    return client.extensions.get(messages.PROGRAM_VERSION) == __version__


def _reported_key(client: MuxClient) -> str:
    return client.extensions.get(messages.HOST_KEY, "")


def _description(client: MuxClient) -> HeldLogin | None:
    try:
        return msgspec.json.decode(client.extensions.get(messages.DESCRIPTION, ""), type=HeldLogin)
    except msgspec.DecodeError:
        return None


def use_login(login_id: str, policy: HostKeyPolicy) -> MuxTransport | None:
    """A transport over a login that another process holds on the policy's hop; None if there is none.

    The key with which the host authenticated itself there must be one that the policy accepts.
    """
    try:
        client = MuxClient(login_socket(login_id))
    except (MuxError, TaskError) as error:
        _log.debug("%s: no login to use: %s", policy.name, error)
        return None
    host_key = _reported_key(client)
    try:
        if not _is_of_this_version(client):
            client.terminate()
            raise MuxError("it is of another version of this program, and was asked to end")
        if not host_key:
            raise MuxError("its connection does not answer")
        key = paramiko.PKey.from_type_string(*_parse_key(host_key))
        policy.missing_host_key(paramiko.SSHClient(), policy.host, key)
        transport = MuxTransport(client.start_proxy(), host_key)
        transport.held_login = _description(client)
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
