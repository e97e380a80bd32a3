"""A server that is slow to prove itself is not one that has gone."""

import threading
from typing import Any

import psutil
import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.errors import RemoteFailed
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.verification import prove
from notebooks_over_ssh.ssh.connection import close_all
from notebooks_over_ssh.ssh.prompting import Asking, Nobody
from notebooks_over_ssh.tunnel import port_access
from notebooks_over_ssh.tunnel import supervisor as lifeline
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.events import Back, News, ServerEnded
from notebooks_over_ssh.tunnel.keepalive import Watch
from tests.openssh.network import free_port
from tests.tunnel.way import MB, OUTAGE_PATIENCE_S, Way, working


def test_a_server_that_is_silent(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer while the tunnel comes back, on a busy host or over a path that just froze once more,
    is tried again until it does; of one that is not there any more the tunnel says so, and stays.
    """
    monkeypatch.setenv("HOME", str(way.network.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(lifeline, "PROOF_TIMEOUT_S", 1)
    proofs: list[int] = []

    def count(*arguments: Any) -> None:
        proofs.append(1)
        prove(*arguments)

    def over(watch: Watch) -> str:
        raise RemoteFailed("over")

    monkeypatch.setattr(port_access, "prove", count)
    with working(way, MB) as work:
        server = psutil.Process(work.before["pid"])
        psutil.Process(work.pid).terminate()
        way.wait_until(lambda: not way.record(), "the tunnel in the background has ended")
        (session,) = sessions.every_session()
        given = settings.load(Context(), local_port=free_port())
        news: list[News] = []
        ends: list[Exception] = []

        def hold() -> None:
            asking = Asking(Nobody())
            try:
                with tunnels.held(session, given, asking) as line:
                    line.hold(asking, news.append)
            except RemoteFailed as problem:
                ends.append(problem)

        holding = threading.Thread(target=hold)
        holding.start()
        try:
            way.wait_for("open")
            server.suspend()
            try:
                way.first.cut()
                way.wait_until(lambda: len(proofs) >= 3 or ends, "two proofs had no answer")
            finally:
                server.resume()
            way.wait_until(lambda: [one for one in news if isinstance(one, Back)] or ends, "it is back")
            assert not ends
        finally:
            server.kill()
            way.wait_until(lambda: not psutil.pid_exists(server.pid), "the server has gone")
            way.wait_until(
                lambda: [one for one in news if isinstance(one, ServerEnded)] or ends, "the tunnel says so"
            )
            monkeypatch.setattr(Watch, "look", over)
            holding.join(OUTAGE_PATIENCE_S)
            close_all()
        assert not holding.is_alive()
        assert [str(end) for end in ends] == ["over"]
