"""Uses an OpenSSH master (ControlMaster in ssh_config(5)) that has logged in to a hop."""

import logging
import socket
import time
from pathlib import Path
from typing import NamedTuple

import paramiko

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.ssh.bootstrap import IDENTIFYING_BOOTSTRAP, IDENTITY_MARKER
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.hop_transport import make_transport
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.mux.client import MuxClient
from notebooks_over_ssh.ssh.mux.messages import MuxError
from notebooks_over_ssh.ssh.mux.streams import MasterForward, MasterSession
from notebooks_over_ssh.ssh.mux.transport import MuxTransport

_log = logging.getLogger(__name__)

MAX_OUTPUT_BYTES = 256 * 1024


class Identity(NamedTuple):
    """A host as it describes itself, through a login that is not ours."""

    name: str
    address: str
    """The address and port at which its SSH server was reached."""
    port: int


def is_alive(path: Path) -> bool:
    """Whether a master of this account answers there."""
    try:
        MuxClient(path).close()
    except MuxError as error:
        _log.debug("no master at %s: %s", path, error)
        return False
    return True


def connect_port(path: Path, host: str, port: int, timeout_s: float) -> MasterForward | None:
    """A connection from the master's server to a port; None if the master cannot be used."""
    try:
        forward = MasterForward(path)
        forward.open(host, port, timeout_s)
    except MuxError as error:
        _log.debug("the master at %s is not used for %s port %d: %s", path, host, port, error)
        return None
    _log.debug("connecting to %s port %d through the master at %s", host, port, path)
    return forward


def open_transport(path: Path, policy: HostKeyPolicy, timeout_s: int) -> MuxTransport | None:
    """A transport over the master's login on the policy's hop; None if the master cannot be used.

    The host is verified as at a login of our own: by its key, or by its name if it is the machine of a session.
    """
    try:
        session = MasterSession(path)
        try:
            identity = _read_identity(session, timeout_s)
            host_key = _verify(path, identity, policy, timeout_s)
        except BaseException:
            session.close()
            raise
    except (MuxError, UserError, *FAILURES) as error:
        _log.debug("%s: the master at %s is not used: %s", policy.name, path, error)
        return None
    _log.debug("%s: using the login of the master at %s", policy.name, path)
    # asyncio takes longer to import than everything else here.
    from notebooks_over_ssh.ssh.mux.bridge import Bridge

    own_end, bridge_end = socket.socketpair()
    Bridge(bridge_end, path, timeout_s, session).start()
    return MuxTransport(own_end, host_key)


def _read_identity(session: MasterSession, timeout_s: float) -> Identity:
    """Run a command that prints it, and then what BOOTSTRAP does. Raises MuxError, OSError."""
    deadline = time.monotonic() + timeout_s
    session.open(IDENTIFYING_BOOTSTRAP, timeout_s)
    output = b""
    while len(output) < MAX_OUTPUT_BYTES:
        session.output.settimeout(max(0.001, deadline - time.monotonic()))
        block = session.output.recv(4096)
        output += block
        _, _, answer = output.decode("utf-8", "replace").rpartition(f"\n{IDENTITY_MARKER} ")
        fields = answer.split("\n")[0].split(" ")
        if "\n" in answer and len(fields) == 3 and fields[2].isdigit():
            session.output.settimeout(None)
            return Identity(fields[0], fields[1], int(fields[2]))
        if not block:
            break
    raise MuxError("the host does not run programs")


def _verify(path: Path, identity: Identity, policy: HostKeyPolicy, timeout_s: int) -> str:
    """The host's key (base64). Raises MuxError, a UserError, or one of FAILURES."""
    machine = policy.machine
    if machine is not None and not policy.pins:
        if identity.name.lower() != machine.name.lower():
            raise MuxError(f"it leads to {identity.name}, not to {machine.name}")
        return machine.host_key
    forward = MasterForward(path)
    forward.open(identity.address, identity.port, timeout_s)
    transport = make_transport(policy, timeout_s, forward)
    try:
        transport.start_client(timeout=timeout_s)
        key = transport.get_remote_server_key()
        policy.missing_host_key(paramiko.SSHClient(), policy.host, key)
        return str(key.get_base64())
    finally:
        transport.close()
