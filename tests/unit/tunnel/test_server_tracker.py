"""The tracker allows connections to the session's server alone: while it is known to listen, and no longer."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from notebooks_over_ssh.errors import ConnectError, RemoteError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.launchers.base import Job
from notebooks_over_ssh.tunnel import server_monitor, server_tracker
from notebooks_over_ssh.tunnel.events import ServerEnded, ServerReplaced
from notebooks_over_ssh.tunnel.server_tracker import ServerTracker
from notebooks_over_ssh.tunnel.target import Target
from tests.kit.wait import wait_until


class FakeProgram:
    """Stands in for the program on the host."""

    def __init__(
        self,
        transport: object,
        _: str,
        parameters: dict[str, object],
        on_reply: Callable[[dict[str, object]], None],
        on_end: Callable[[], None],
    ) -> None:
        self.transport, self.parameters = transport, parameters
        self._on_reply, self.end = on_reply, on_end
        self.is_running = False

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def report(self, state: str) -> None:
        self._on_reply({"state": state})


class Fakes:
    """A forwarder, the programs that were started on the host, and a server that answers unless `error` is set."""

    def __init__(self) -> None:
        self.targets = (Target(8888),)
        self.resets: list[Target] = []
        self.served = 0
        self.programs: list[FakeProgram] = []
        self.error: Exception | None = None
        self.relay: object = None
        self.transports: list[object] = []
        self.current = session(8888)

    def reset_target(self, target: Target) -> None:
        self.resets.append(target)

    def serve_queued(self) -> None:
        self.served += 1

    def open_connection(self, *_: object) -> None: ...

    def set_transport(self, transport: object) -> None:
        self.transports.append(transport)

    def verify(self, session: object, connection: Any, *_: object) -> tuple[str, None]:
        if self.error:
            raise self.error
        if self.relay and connection.port_transport is connection.transport:
            connection.port_transport = self.relay
            return "prohibited", None
        return "", None

    def make_program(self, *arguments: Any) -> FakeProgram:
        self.programs.append(FakeProgram(*arguments))
        return self.programs[-1]


def session(port: int, **changed: object) -> Any:
    fields = {
        "host": "ashbury", "pid": 100, "process_start": "boot/1", "certificate_pem": "certificate", "job": None,
    }  # fmt: skip
    return SimpleNamespace(**(fields | changed), remote_port=port)


def connection(*, is_connected: bool = True) -> Any:
    transport = object()
    return SimpleNamespace(is_connected=is_connected, transport=transport, port_transport=transport)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """What the tracker works with."""
    created = Fakes()
    monkeypatch.setattr(server_tracker, "verify_over", created.verify)
    monkeypatch.setattr(server_monitor, "BackgroundProgram", created.make_program)
    monkeypatch.setattr(server_monitor, "VERIFICATION_TTL_S", 0.0)
    monkeypatch.setattr(sessions, "reload", lambda _: created.current)
    return created


@pytest.fixture
def tracker(fakes: Fakes) -> ServerTracker:
    """A tracker whose server is watched."""
    created = ServerTracker(fakes.current, cast(Any, fakes))
    created.watch(connection())
    fakes.programs[-1].report("watching")
    return created


def may_connect(fakes: Fakes) -> bool:
    return fakes.targets[0].is_verified()


def test_server_ends(tracker: ServerTracker, fakes: Fakes) -> None:
    """When the program reports the end, connections are reset before any other is opened, and it is reported once."""
    assert may_connect(fakes)
    assert fakes.served
    tracker.changed.clear()
    fakes.programs[-1].report("ended")
    assert tracker.has_ended
    assert not may_connect(fakes)
    assert fakes.resets == [fakes.targets[0]]
    assert tracker.changed.is_set()
    assert list(tracker.check(connection())) == [ServerEnded("the server on ashbury has ended")]
    assert list(tracker.check(connection())) == []
    tracker.watch(connection())
    assert len(fakes.programs) == 1


@pytest.mark.parametrize("how", ["blind", "end"])
def test_nothing_watches(tracker: ServerTracker, fakes: Fakes, how: str) -> None:
    """Without a program that watches, the server has not ended, but must be verified before each connection."""
    fakes.programs[-1].report("blind") if how == "blind" else fakes.programs[-1].end()
    assert not tracker.has_ended
    assert not may_connect(fakes)
    assert not fakes.resets


@pytest.mark.parametrize("reason", ["a connection is queued", "the last verification is long ago"])
def test_verified_in_the_background(
    tracker: ServerTracker, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """Without a program that watches, the server is verified for a queued connection, and now and then without one."""
    fakes.programs[-1].report("blind")
    tracker.verify(connection())
    fakes.served = 0
    list(tracker.check(connection()))
    assert not fakes.served
    if reason == "a connection is queued":
        tracker.changed.clear()
        fakes.targets[0].on_queued()
        assert tracker.changed.is_set()
    else:
        monkeypatch.setattr(server_monitor, "VERIFY_INTERVAL_S", 0.0)
    list(tracker.check(connection()))
    wait_until(lambda: fakes.served, "the server is verified")


def test_next_connection(tracker: ServerTracker, fakes: Fakes) -> None:
    """After a reconnect only the program on the new connection counts, whatever the earlier one still reports."""
    new = connection()
    tracker.watch(new)
    earlier, program = fakes.programs
    assert (earlier.is_running, program.is_running) == (False, True)
    assert program.transport is new.transport
    assert not may_connect(fakes)
    earlier.report("ended")
    earlier.report("watching")
    assert (tracker.has_ended, may_connect(fakes)) == (False, False)
    program.report("watching")
    earlier.end()
    assert may_connect(fakes)


def test_verification_after_reconnect(tracker: ServerTracker, fakes: Fakes) -> None:
    """A server that another one has replaced, or that refuses, has ended; one that is slow or unreachable has not."""
    fakes.error = RemoteError("slow")
    fakes.error.__cause__ = TimeoutError()
    with pytest.raises(RemoteError, match="slow"):
        tracker.verify_after_reconnect(connection())
    fakes.error = RemoteError("reset")
    with pytest.raises(ConnectError):
        tracker.verify_after_reconnect(connection(is_connected=False))
    assert not tracker.has_ended
    assert not fakes.resets
    fakes.error = RemoteError("not your server")
    tracker.verify_after_reconnect(connection())
    assert tracker.has_ended
    assert fakes.resets
    assert tracker.report_end() == ServerEnded("not your server")


@pytest.mark.parametrize(
    "replacement",
    [
        session(8889),
        session(8888, pid=101),
        session(8888, process_start="boot/2"),
        session(8888, certificate_pem="another"),
    ],
)
def test_server_replaced(tracker: ServerTracker, fakes: Fakes, replacement: Any) -> None:
    """The server that `serve` recorded is verified, then connected to and watched; no connection reaches it before."""
    fakes.current = replacement
    fakes.error = ConnectError("the connection was lost")
    assert list(tracker.check(connection())) == []
    assert fakes.targets[0].port == replacement.remote_port
    assert fakes.resets
    assert not may_connect(fakes)
    tracker.watch(connection())
    assert fakes.programs[-1].parameters["port"] == replacement.remote_port


def test_server_replaced_and_verified(tracker: ServerTracker, fakes: Fakes) -> None:
    """The event names the new port; a program watches it at once."""
    fakes.current = session(8889)
    fakes.served = 0
    over = connection()
    assert list(tracker.check(over)) == [ServerReplaced("ashbury:8889")]
    assert fakes.served
    assert fakes.programs[-1].transport is over.transport
    assert [program.is_running for program in fakes.programs] == [False, True]
    fakes.programs[-1].report("watching")
    assert may_connect(fakes)
    assert list(tracker.check(over)) == []


def test_server_replaced_where_forwarding_is_forbidden(tracker: ServerTracker, fakes: Fakes) -> None:
    """After a reconnect without a server, the next one is reached by a relay where the host forbids forwarding."""
    fakes.programs[-1].report("ended")
    over = connection()
    tracker.verify_after_reconnect(over)
    fakes.relay = object()
    fakes.current = session(8889)
    assert list(tracker.check(over)) == [ServerReplaced("ashbury:8889")]
    assert fakes.transports == [fakes.relay]
    assert tracker.forwarding_refusal == "prohibited"
    fakes.current = session(8890)
    assert list(tracker.check(over)) == [ServerReplaced("ashbury:8890")]
    assert fakes.transports == [fakes.relay]
    assert tracker.forwarding_refusal == "prohibited"


def test_server_in_another_job(tracker: ServerTracker, fakes: Fakes) -> None:
    """A server in another job is on another machine, so this connection is not used for it."""
    job = Job(id=2, cluster="", token="0123456789abcdef", submitted="")
    fakes.current = session(8889, job=job)
    fakes.error = RemoteError("not asked")
    assert list(tracker.check(connection())) == []
    assert not may_connect(fakes)
    assert not tracker.has_ended
    assert tracker.is_of_job(job)
    assert not tracker.is_of_job(None)


def test_server_replaced_by_an_impostor(tracker: ServerTracker, fakes: Fakes) -> None:
    """If another server answers on the recorded port, that is reported, and nobody watches or reaches it."""
    fakes.current = session(8889)
    fakes.error = RemoteError("not your server")
    assert list(tracker.check(connection())) == [ServerEnded("not your server")]
    assert not may_connect(fakes)
    assert len(fakes.programs) == 1
