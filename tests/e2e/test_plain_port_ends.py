"""The end of a plain port: nothing of it is of use at the next one."""

import json

import httpx
import pytest

from tests.kit.cli import User, assert_success, kill
from tests.kit.plain_client import plain_address
from tests.kit.ports import free_port
from tests.kit.users import PASSWORD


def test_next_tunnel(user: User) -> None:
    """The flag adds the port to an open tunnel; with the tunnel the port, the token and its file end, and the next
    tunnel has other ones.
    """
    port = free_port()  # no other test takes it while the tunnel is replaced
    assert_success(user.fab("up", "--detach", "--local-port", str(port)))
    assert user.only_session()["plain_url"] is None
    assert_success(user.fab("tunnel", "--detach", "--plain"))
    session = user.only_session()
    assert session["local_port"] == port
    first = plain_address(user)
    with first.client(token="") as client:
        client.get(first.url, follow_redirects=True)
        cookies = dict(client.cookies)

    tunnel = json.loads(next(user.sessions.glob("*.tunnel.json")).read_text())
    kill(tunnel["pid"])
    assert user.only_session()["plain_url"] is None
    with first.client() as client, pytest.raises(httpx.ConnectError):
        client.get("api")

    assert_success(user.fab("tunnel", "--detach", INVOKE_NOTEBOOK_PLAIN="true"))
    second = plain_address(user)
    assert second.token != first.token and second.port != first.port
    with second.client(token=first.token) as client:
        assert client.get("api/kernels").status_code == 403
    with second.client(token="") as client:
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        headers = {
            "Host": f"127.0.0.1:{second.port}",
            "Cookie": cookie.replace(str(first.port), str(second.port)),
        }
        assert client.get("api/kernels", headers=headers).status_code == 403
    assert_success(user.fab("stop"))
    assert not list(user.sessions.glob("*.plain-token"))


def test_restarted_server(user: User) -> None:
    """`secure --restart` opens the tunnel again with a plain port, which leads to the new server."""
    assert_success(user.fab("up", "--detach", "--plain"))
    first = plain_address(user)
    assert_success(user.fab("secure", "--renew", "--restart", "--password-file", "-", stdin=f"{PASSWORD}\n"))
    second = plain_address(user)
    assert second.token != first.token
    with second.client() as client:
        assert client.get("api/kernels").status_code == 200
    assert_success(user.fab("stop"))
