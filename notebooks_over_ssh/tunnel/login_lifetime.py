"""Keeps the logins of a process that has no tunnel, or has one no more."""

from notebooks_over_ssh.ssh.mux.holder import LoginHolder
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor

POLL_INTERVAL_S = 1.0


def keep(logins: LoginHolder) -> None:
    """Return when a client ends the logins, when none has used them for their lifetime, or when all are lost."""
    monitors = [KeepaliveMonitor(hop) for hop in logins.connections]
    while logins.may_stay(POLL_INTERVAL_S):
        for monitor in list(monitors):
            if monitor.check():
                logins.drop(monitor.connection)
                monitors.remove(monitor)
