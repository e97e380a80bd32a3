"""`--plain`: an address without TLS, with a token of its own, for editors that refuse the certificate."""

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import Result, User, assert_success
from tests.kit.jupyter_client import Browser
from tests.kit.plain_client import PlainAddress, plain_address

COST = "any user of this machine can take the port"


@dataclass(frozen=True)
class PlainTunnel:
    """A session whose tunnel has a plain port."""

    user: User
    up: Result
    address: PlainAddress
    server_token: str

    @property
    def token_file(self) -> Path:
        """The file with the plain port's token."""
        (path,) = self.user.sessions.glob("*.plain-token")
        return path


@pytest.fixture(scope="module")
def tunnel(user: User) -> Iterator[PlainTunnel]:
    """The session of this module."""
    up = assert_success(user.fab("up", "--detach", "--plain", NOTEBOOKS_DEBUG="1"))
    host = user.only_record()["host"]
    yield PlainTunnel(user, up, plain_address(user), (user.remote_state(host) / "token").read_text().strip())
    assert_success(user.fab("stop"))
    assert not list(user.sessions.glob("*.plain-token"))


def test_announced(tunnel: PlainTunnel) -> None:
    """The command prints the address without the token, what the port costs, and how to get the token."""
    assert f"without TLS: {tunnel.address.base}; " in tunnel.up.stdout
    assert "status --editors` prints it with its token" in tunnel.up.stdout
    assert COST in tunnel.up.stdout
    assert tunnel.address.token not in tunnel.up.stdout + tunnel.up.stderr


def test_status(tunnel: PlainTunnel) -> None:
    """`status` has the address without the token, and `status --editors` the one with it."""
    session = tunnel.user.only_session()
    assert session["plain_url"] == tunnel.address.base == f"http://127.0.0.1:{tunnel.address.port}/"
    assert tunnel.address.port != session["local_port"]
    text = assert_success(tunnel.user.fab("status")).stdout
    assert tunnel.address.base in text and tunnel.address.token not in text + json.dumps(session)
    editors = assert_success(tunnel.user.invoke("status", "--editors")).stdout
    assert editors.splitlines()[0].split() == [session["host"], tunnel.address.url]


def test_token(tunnel: PlainTunnel) -> None:
    """The token opens the API, as a parameter or in either form of Authorization; no other token does, nor none."""
    token = tunnel.address.token
    with tunnel.address.client(token="") as client:

        def status(parameter: str = "", authorization: str = "") -> int:
            headers = {"Authorization": authorization} if authorization else {}
            return client.get(f"api/kernels{parameter}", headers=headers).status_code

        assert (
            status(f"?token={token}") == status("", f"token {token}") == status("", f"Bearer {token}") == 200
        )
        client.cookies.clear()
        wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
        for parameter, authorization in (
            ("", ""), ("?token=", ""), (f"?token={wrong}", ""), ("", f"token {wrong}"), ("", "token"),
        ):  # fmt: skip
            assert status(parameter, authorization) == 403


def test_kernel(tunnel: PlainTunnel) -> None:
    """A kernel runs code over the WebSocket; without the token there is no WebSocket."""
    with tunnel.address.kernel() as kernel:
        assert kernel.run("print(6 * 7)").text == "42\n"
        large = kernel.run("print('x' * 500_000)").text
        assert large == "x" * 500_000 + "\n"
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        with tunnel.address.client(token="") as client:
            path = f"api/kernels/{kernel.identity}/channels"
            response = client.get(path, headers={**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        assert response.status_code == 403


def test_files(tunnel: PlainTunnel) -> None:
    """A large file arrives unchanged, up and down."""
    content = "".join(f"{number:07}\n" for number in range(1_000_000))
    with tunnel.address.client() as client:
        model = {"type": "file", "format": "text", "content": content}
        assert client.put("api/contents/large.txt", json=model).status_code == 201
        assert client.get("files/large.txt").text == content
        assert client.delete("api/contents/large.txt").status_code == 204


def test_host(tunnel: PlainTunnel) -> None:
    """Another Host is refused, with the token too: a web site's name may lead to 127.0.0.1."""
    with tunnel.address.client() as client:
        assert client.get("api", headers={"Host": f"site.example:{tunnel.address.port}"}).status_code == 403
        assert client.get("api", headers={"Host": f"localhost:{tunnel.address.port}"}).status_code == 200


def test_login_by_token(tunnel: PlainTunnel) -> None:
    """The address with the token logs a browser in; then Jupyter checks XSRF and origin as ever."""
    with tunnel.address.client(token="") as client:
        page = client.get(tunnel.address.url, follow_redirects=True)
        assert page.status_code == 200 and "jupyter-config-data" in page.text
        assert client.get("api/kernels").status_code == 200
        foreign = {"Origin": "https://site.example"}
        assert client.get("api/kernels", headers=foreign).status_code == 404
        assert client.post("api/kernels").status_code == 403
        xsrf = {"X-XSRFToken": client.cookies["_xsrf"]}
        assert client.post("api/kernels", headers=xsrf | foreign).status_code == 404
        created = client.post("api/kernels", headers=xsrf, json={"name": "python3"})
        assert created.status_code == 201
        deleted = client.delete(f"api/kernels/{created.json()['id']}", headers=xsrf)
        assert deleted.status_code == 204


def test_server_token_stays(tunnel: PlainTunnel) -> None:
    """No page and no header has the server's own token; a page has the port's in its place, which its scripts use."""
    with tunnel.address.client(token="") as client:
        page = client.get(tunnel.address.url, follow_redirects=True)
        for response in (*page.history, page, client.get("notebooks/plots.ipynb"), client.get("lab")):
            assert tunnel.server_token not in response.text + str(response.headers)
        assert f'"token": "{tunnel.address.token}"' in page.text
    with tunnel.address.client(token=tunnel.server_token) as client:
        assert client.get("api/kernels").status_code == 200  # whoever has it needs no other


def test_login_cookie_is_sealed(tunnel: PlainTunnel) -> None:
    """The login cookie of the plain port is of no use at the tunnel's port with TLS."""
    session = tunnel.user.only_session()
    with (
        tunnel.address.client(token="") as client,
        Browser(session["local_port"], tunnel.user.certificate_pem(session["host"])) as browser,
    ):
        client.get(tunnel.address.url, follow_redirects=True)
        (login,) = [cookie for cookie in client.cookies.jar if cookie.name.startswith("username-")]
        host = f"127.0.0.1:{tunnel.address.port}"  # the name of the cookie has it
        assert browser.status_with("/api/kernels", Cookie=f"{login.name}={login.value}", Host=host) == 403
        assert client.get("api/kernels").status_code == 200


def test_secrets(tunnel: PlainTunnel) -> None:
    """The token is in one file, which only its owner can read, and in no log, record, argument list or environment."""
    token = tunnel.address.token.encode()
    with tunnel.address.client() as client:
        client.get(f"no-such-page?token={tunnel.address.token}")
        client.get("no-such-page", headers={"Referer": tunnel.address.url})
    files = [path for path in tunnel.user.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {"server.log"} <= {path.name for path in files if path.suffix == ".log"}
    assert any("debug" in path.name and path.stat().st_size for path in files)
    assert [path for path in files if token in path.read_bytes()] == [tunnel.token_file]
    assert stat.S_IMODE(tunnel.token_file.stat().st_mode) == 0o600
    server_token = tunnel.server_token.encode()
    assert {path.name for path in files if server_token in path.read_bytes()} <= {"token"} | {
        path.name for path in files if path.name.startswith("jpserver-")
    }
    for pid in psutil.pids():
        for kind in ("cmdline", "environ"):
            try:
                content = Path("/proc", str(pid), kind).read_bytes()
            except OSError:
                continue
            assert token not in content and server_token not in content


def test_other_user(tunnel: PlainTunnel) -> None:
    """Another user of this machine can connect, but neither read the token nor use the server without it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to run a program as another user")
    code = (
        "import http.client, sys\n"
        "try: open(sys.argv[1])\n"
        "except PermissionError: print('no permission')\n"
        "connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[2]), timeout=20)\n"
        "connection.request('GET', '/api/kernels')\n"
        "print(connection.getresponse().status)\n"
    )
    command = ["/usr/bin/python3", "-c", code, str(tunnel.token_file), str(tunnel.address.port)]
    output = subprocess.check_output(
        command, user="nobody", group="nogroup", extra_groups=[], cwd="/", text=True
    )
    assert output.split("\n")[:2] == ["no permission", "403"]


def test_second_run(tunnel: PlainTunnel) -> None:
    """A second `tunnel --plain` and one without the flag keep the open port and its token."""
    for arguments in (["--plain"], []):
        assert_success(tunnel.user.fab("tunnel", "--detach", *arguments))
        assert plain_address(tunnel.user) == tunnel.address


def test_dry_run(tunnel: PlainTunnel) -> None:
    """--dry says what the flag would do."""
    plan = assert_success(tunnel.user.fab("--dry", "tunnel", "--plain")).stdout
    assert "without TLS" in plan and tunnel.address.token not in plan
    assert "without TLS" not in assert_success(tunnel.user.fab("--dry", "tunnel")).stdout
