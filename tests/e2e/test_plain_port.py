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
class Opened:
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
def opened(user: User) -> Iterator[Opened]:
    """The session of this module."""
    up = assert_success(user.fab("up", "--detach", "--plain", NOTEBOOKS_DEBUG="1"))
    host = user.only_session()["host"]
    yield Opened(user, up, plain_address(user), (user.remote_state(host) / "token").read_text().strip())
    assert_success(user.fab("stop"))
    assert not list(user.sessions.glob("*.plain-token"))


def test_announced(opened: Opened) -> None:
    """The command prints the address without the token, what the port costs, and how to get the token."""
    assert f"without TLS: {opened.address.base}; " in opened.up.stdout
    assert "status --editors` prints it with its token" in opened.up.stdout
    assert COST in opened.up.stdout
    assert opened.address.token not in opened.up.stdout + opened.up.stderr


def test_status(opened: Opened) -> None:
    """`status` has the address without the token, and `status --editors` the one with it."""
    session = opened.user.only_session()
    assert session["plain_url"] == opened.address.base == f"http://127.0.0.1:{opened.address.port}/"
    assert opened.address.port != session["local_port"]
    text = assert_success(opened.user.fab("status")).stdout
    assert opened.address.base in text and opened.address.token not in text + json.dumps(session)
    editors = assert_success(opened.user.invoke("status", "--editors")).stdout
    assert editors.splitlines()[0].split() == [session["host"], opened.address.url]


def test_token(opened: Opened) -> None:
    """The token opens the API, as a parameter or in either form of Authorization; no other token does, nor none."""
    token = opened.address.token
    with opened.address.client(token="") as client:

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


def test_kernel(opened: Opened) -> None:
    """A kernel runs code over the WebSocket; without the token there is no WebSocket."""
    with opened.address.kernel() as kernel:
        assert kernel.run("print(6 * 7)").text == "42\n"
        large = kernel.run("print('x' * 500_000)").text
        assert large == "x" * 500_000 + "\n"
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        with opened.address.client(token="") as client:
            path = f"api/kernels/{kernel.identity}/channels"
            response = client.get(path, headers={**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        assert response.status_code == 403


def test_files(opened: Opened) -> None:
    """A large file arrives unchanged, up and down."""
    content = "".join(f"{number:07}\n" for number in range(1_000_000))
    with opened.address.client() as client:
        model = {"type": "file", "format": "text", "content": content}
        assert client.put("api/contents/large.txt", json=model).status_code == 201
        assert client.get("files/large.txt").text == content
        assert client.delete("api/contents/large.txt").status_code == 204


def test_host(opened: Opened) -> None:
    """Another Host is refused, with the token too: a web site's name may lead to 127.0.0.1."""
    with opened.address.client() as client:
        assert client.get("api", headers={"Host": f"site.example:{opened.address.port}"}).status_code == 403
        assert client.get("api", headers={"Host": f"localhost:{opened.address.port}"}).status_code == 200


def test_login_by_token(opened: Opened) -> None:
    """The address with the token logs a browser in; then Jupyter checks XSRF and origin as ever."""
    with opened.address.client(token="") as client:
        page = client.get(opened.address.url, follow_redirects=True)
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


def test_server_token_stays(opened: Opened) -> None:
    """No page and no header has the server's own token; a page has the port's in its place, which its scripts use."""
    with opened.address.client(token="") as client:
        page = client.get(opened.address.url, follow_redirects=True)
        for response in (*page.history, page, client.get("notebooks/plots.ipynb"), client.get("lab")):
            assert opened.server_token not in response.text + str(response.headers)
        assert f'"token": "{opened.address.token}"' in page.text
    with opened.address.client(token=opened.server_token) as client:
        assert client.get("api/kernels").status_code == 200  # whoever has it needs no other


def test_login_cookie_is_sealed(opened: Opened) -> None:
    """The login cookie of the plain port is of no use at the tunnel's port with TLS."""
    session = opened.user.only_session()
    with (
        opened.address.client(token="") as client,
        Browser(session["local_port"], opened.user.certificate_pem(session["host"])) as browser,
    ):
        client.get(opened.address.url, follow_redirects=True)
        (login,) = [cookie for cookie in client.cookies.jar if cookie.name.startswith("username-")]
        host = f"127.0.0.1:{opened.address.port}"  # the name of the cookie has it
        assert browser.status_with("/api/kernels", Cookie=f"{login.name}={login.value}", Host=host) == 403
        assert client.get("api/kernels").status_code == 200


def test_secrets(opened: Opened) -> None:
    """The token is in one file, which only its owner can read, and in no log, record, argument list or environment."""
    token = opened.address.token.encode()
    with opened.address.client() as client:
        client.get(f"no-such-page?token={opened.address.token}")
        client.get("no-such-page", headers={"Referer": opened.address.url})
    files = [path for path in opened.user.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {"server.log"} <= {path.name for path in files if path.suffix == ".log"}
    assert any("debug" in path.name and path.stat().st_size for path in files)
    assert [path for path in files if token in path.read_bytes()] == [opened.token_file]
    assert stat.S_IMODE(opened.token_file.stat().st_mode) == 0o600
    server_token = opened.server_token.encode()
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


def test_other_user(opened: Opened) -> None:
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
    command = ["/usr/bin/python3", "-c", code, str(opened.token_file), str(opened.address.port)]
    output = subprocess.check_output(
        command, user="nobody", group="nogroup", extra_groups=[], cwd="/", text=True
    )
    assert output.split("\n")[:2] == ["no permission", "403"]


def test_second_run(opened: Opened) -> None:
    """A second `tunnel --plain` and one without the flag keep the open port and its token."""
    for arguments in (["--plain"], []):
        assert_success(opened.user.fab("tunnel", "--detach", *arguments))
        assert plain_address(opened.user) == opened.address


def test_dry_run(opened: Opened) -> None:
    """--dry says what the flag would do."""
    plan = assert_success(opened.user.fab("--dry", "tunnel", "--plain")).stdout
    assert "without TLS" in plan and opened.address.token not in plan
    assert "without TLS" not in assert_success(opened.user.fab("--dry", "tunnel")).stdout
