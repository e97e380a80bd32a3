"""The TCP proxy of the toolkit, by itself."""

import socket

from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.sshd import LOOPBACK
from tests.kit.tcp_proxy import TcpProxy
from tests.kit.wait import wait_until

TIMEOUT_S = 10.0


def test_early_bytes(loop: AsyncioThread) -> None:
    """Data that arrives before the proxy is connected to its target is passed on, with every release of CPython."""
    with socket.create_server((LOOPBACK, 0)) as target:
        target.settimeout(TIMEOUT_S)
        relay = TcpProxy(loop, target.getsockname()[1])
        try:
            relay.freeze()
            with socket.create_connection((LOOPBACK, relay.port), TIMEOUT_S) as near:
                near.sendall(b"early")
                wait_until(lambda: bool(relay._endpoints), "the proxy accepts")
                relay.unfreeze()
                far, _ = target.accept()
                with far:
                    far.settimeout(TIMEOUT_S)
                    assert far.recv(5, socket.MSG_WAITALL) == b"early"
        finally:
            relay.close()
