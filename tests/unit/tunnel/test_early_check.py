"""An early check counts for the same server over the same route, once, and not for long."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from notebooks_over_ssh.tunnel import early_check
from tests.kit.certificates import certificate, new_key, pem
from tests.kit.sessions import make_session
from tests.kit.socket_peers import Peer, tls_peer

KEY = new_key()
SESSION = make_session(certificate_pem=certificate(KEY))
PORT = 4321


@contextmanager
def server(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own: str = SESSION.certificate_pem
) -> Iterator[Peer]:
    """A server behind the tunnel at PORT."""
    with tls_peer(pem(KEY) + own, folder, b"") as peer:
        monkeypatch.setattr(socket, "create_connection", lambda address: peer.dial())
        yield peer


def test_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One check is made, without a request, and its result is used once."""
    with server(tmp_path, monkeypatch) as peer:
        early_check.begin(SESSION, PORT)
        early_check.begin(SESSION, PORT)
        assert early_check.result(SESSION, PORT) is not None
        assert early_check.result(SESSION, PORT) is None
    assert (peer.connections, peer.requests) == (1, [b""])


@pytest.mark.parametrize(
    "changed",
    [{"remote_port": 1}, {"pid": 9}, {"process_start": "later"}, {"certificate_pem": certificate(KEY)}],
    ids=lambda changed: next(iter(changed)),
)
def test_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]) -> None:
    """The result says nothing about another server, nor about another route."""
    with server(tmp_path, monkeypatch):
        early_check.begin(SESSION, PORT)
        assert early_check.result(msgspec.structs.replace(SESSION, **changed), PORT) is None
        assert early_check.result(SESSION, PORT + 1) is None
        assert early_check.result(SESSION, PORT) is not None


def test_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with another certificate is sent nothing, and has no result."""
    with server(tmp_path, monkeypatch, own=certificate(KEY)) as peer:
        early_check.begin(SESSION, PORT)
        assert early_check.result(SESSION, PORT) is None
    assert not any(peer.requests)


def test_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old result does not count."""
    monkeypatch.setattr(early_check, "MAX_AGE_S", 0.0)
    with server(tmp_path, monkeypatch):
        early_check.begin(SESSION, PORT)
        assert early_check.result(SESSION, PORT) is None
