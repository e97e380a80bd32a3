"""A server that answers slowly does not count as ended."""

import threading
from typing import Any

import psutil
import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.verification import verify_server
from notebooks_over_ssh.ssh.connections import close_all
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
from notebooks_over_ssh.tunnel import port_access, server_tracker
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.events import Reconnected, ServerEnded, TunnelEvent
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import MB, OUTAGE_TIMEOUT_S, ProxiedNetwork, running_workload


def test_silent_server(proxied: ProxiedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer during a reconnect, on a busy host or over a path that froze again, is tried
    until it does; when it has ended, the tunnel reports that, and stays.
    """
    monkeypatch.setenv("HOME", str(proxied.network.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(server_tracker, "VERIFY_TIMEOUT_S", 1)
    proofs: list[int] = []

    def count(*arguments: Any) -> None:
        proofs.append(1)
        verify_server(*arguments)

    def over(watch: KeepaliveMonitor) -> str:
        raise RemoteError("over")

    monkeypatch.setattr(port_access, "verify_server", count)
    with running_workload(proxied, MB) as work:
        server = psutil.Process(work.before["pid"])
        psutil.Process(work.pid).terminate()
        proxied.wait_until(lambda: not proxied.record(), "the tunnel in the background has ended")
        (session,) = sessions.list_sessions()
        loaded = settings.load(Context(), local_port=free_port())
        events: list[TunnelEvent] = []
        ends: list[Exception] = []

        def hold() -> None:
            credentials = CredentialPrompter(NullPrompter())
            try:
                with tunnels.open_tunnel(session, loaded, credentials) as supervisor:
                    for event in supervisor.run(credentials):
                        events.append(event)  # noqa: PERF402 # another thread reads it meanwhile
            except RemoteError as error:
                ends.append(error)

        holding = threading.Thread(target=hold)
        holding.start()
        try:
            proxied.wait_for("open")
            server.suspend()
            try:
                proxied.first.cut()
                proxied.wait_until(lambda: len(proofs) >= 3 or ends, "two verifications had no reply")
            finally:
                server.resume()
            proxied.wait_until(
                lambda: [one for one in events if isinstance(one, Reconnected)] or ends,
                "the tunnel has reconnected",
            )
            assert not ends
        finally:
            server.kill()
            proxied.wait_until(lambda: not psutil.pid_exists(server.pid), "the server has ended")
            proxied.wait_until(
                lambda: [one for one in events if isinstance(one, ServerEnded)] or ends,
                "the tunnel reports it",
            )
            monkeypatch.setattr(KeepaliveMonitor, "check", over)
            holding.join(OUTAGE_TIMEOUT_S)
            close_all()
        assert not holding.is_alive()
        assert [str(end) for end in ends] == ["over"]
