"""Converts the exceptions of a failed connection to errors for the user."""

import socket

import paramiko
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

from notebooks_over_ssh.errors import ConnectError
from notebooks_over_ssh.ssh.algorithms import NoCommonAlgorithm
from notebooks_over_ssh.util.peer_text import quote

# What sockets and Paramiko raise when a connection fails.
FAILURES = (OSError, EOFError, paramiko.SSHException)


def timeout_error(hop: str, gateway: str, timeout_s: float) -> ConnectError:
    """The error for a hop that did not answer in time; `gateway` is "" if there is none."""
    return ConnectError(
        f"{_describe_hop(hop, gateway)} did not answer within {timeout_s} s",
        hint="check that you are online, and on your site's VPN if it requires one",
    )


def unreachable_error(error: Exception, hop: str, gateway: str, address: tuple[str, int]) -> ConnectError:
    """The error for a hop at `address` that could not be reached because of `error`, one of FAILURES."""
    host, port = address
    if isinstance(error, socket.gaierror):
        return ConnectError(
            f"could not resolve host name {host}: {error.strerror}",
            hint="check the name, and that you are online",
        )
    if isinstance(error, paramiko.ChannelException):
        if error.code == OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
            return ConnectError(
                f"{gateway} refuses to forward to {hop}: {quote(error.text)}",
                hint="check the host name: your site's documentation lists the hosts behind its gateway",
            )
        return ConnectError(
            f"{gateway} cannot reach {hop}: {quote(error.text)}",
            hint="check the host name, or try another host with --host",
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectError(
            f"{_describe_hop(hop, gateway)} refused the connection on port {port}",
            hint="check the host name and the port",
        )
    if isinstance(error, NoCommonAlgorithm):
        return ConnectError(
            f"no matching {error.kind} for {_describe_hop(hop, gateway)}: it offers {error.offered}; "
            f"this program supports {error.supported}",
            hint=f"if {hop} is your gateway, set `gateway: ssh -W %h:%p {hop}` in invoke.yaml; "
            f"otherwise ask its administrators to enable {error.supported.partition(',')[0]}",
        )
    return ConnectError(
        f"the connection to {_describe_hop(hop, gateway)} failed: {_reason(error)}",
        hint="try again; if it fails again, compare with plain ssh to the same host",
    )


def _describe_hop(hop: str, gateway: str) -> str:
    return f"{hop} through {gateway}" if gateway else hop


def _reason(error: Exception) -> str:
    if not str(error):
        return type(error).__name__
    # Paramiko's errors contain text from the peer; those of the operating system do not.
    return str(error) if isinstance(error, OSError) else quote(str(error))
