"""Why a hop could not be reached, as the user meets it."""

import socket

import paramiko
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

from notebooks_over_ssh.errors import ConnectError
from notebooks_over_ssh.ssh.algorithms import NoCommonAlgorithm
from notebooks_over_ssh.util.peer_text import quote

# Every way in which a socket, a gateway or Paramiko says that there is no way.
FAILURES = (OSError, EOFError, paramiko.SSHException)


def timeout_error(hop: str, gateway: str, timeout_s: float) -> ConnectError:
    """The hop did not answer in time; `gateway` is "" where there is none."""
    return ConnectError(
        f"{_describe_hop(hop, gateway)} did not answer within {timeout_s} s",
        hint="check that you are online, and whether your site wants its VPN; -t SECONDS waits longer",
    )


def unreachable_error(error: Exception, hop: str, gateway: str, address: tuple[str, int]) -> ConnectError:
    """The hop, at this host and port, could not be reached for the reason of the error."""
    host, port = address
    if isinstance(error, socket.gaierror):
        return ConnectError(f"there is no host called {host}", hint="check the name in invoke.yaml")
    if isinstance(error, paramiko.ChannelException):
        if error.code == OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
            return ConnectError(
                f"{gateway} does not let you through to {hop}: {quote(error.text)}",
                hint="check the name of the host; your site says which hosts its gateway leads to",
            )
        return ConnectError(
            f"{gateway} cannot reach {hop}: {quote(error.text)}",
            hint="the host may be down or its name wrong: try another with --host",
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectError(
            f"{_describe_hop(hop, gateway)} refused the connection on port {port}",
            hint="check the name and the port",
        )
    if isinstance(error, NoCommonAlgorithm):
        return ConnectError(
            f"{_describe_hop(hop, gateway)} offers no {error.kind} that is known here: it has {error.offered}; "
            f"this program has {error.supported}",
            hint=f"ask who runs {hop} to allow {error.supported.partition(',')[0]} too; "
            "where it is your gateway, its ssh does what this program cannot: "
            f"set `gateway: ssh -W %h:%p {hop}` in invoke.yaml",
        )
    return ConnectError(
        f"the connection to {_describe_hop(hop, gateway)} failed: {_reason(error)}",
        hint="try again; when it stays so, try plain ssh to the same host and compare",
    )


def _describe_hop(hop: str, gateway: str) -> str:
    return f"{hop} through {gateway}" if gateway else hop


def _reason(error: Exception) -> str:
    if not str(error):
        return type(error).__name__
    # Paramiko repeats in its errors what the peer sent; those of the system are the system's own words.
    return str(error) if isinstance(error, OSError) else quote(str(error))
