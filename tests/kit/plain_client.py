"""A client of the plain port: the address with its token, and kernels over it."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx
from websocket import create_connection

from tests.kit.cli import User, assert_success
from tests.kit.jupyter_client import TIMEOUT_S, Kernel


@dataclass(frozen=True)
class PlainAddress:
    """The address that `status --editors` prints."""

    url: str

    @property
    def base(self) -> str:
        """The address without the token."""
        return self.url.partition("?")[0]

    @property
    def port(self) -> int:
        """The port."""
        port = urlsplit(self.url).port
        assert port
        return port

    @property
    def token(self) -> str:
        """The token."""
        (token,) = parse_qs(urlsplit(self.url).query)["token"]
        return token

    def client(self, *, token: str | None = None) -> httpx.Client:
        """A client that sends this token, by default the right one, in Authorization; none for ""."""
        value = self.token if token is None else token
        headers = {"Authorization": f"token {value}"} if value else {}
        return httpx.Client(base_url=self.base, headers=headers, trust_env=False, timeout=TIMEOUT_S)

    @contextlib.contextmanager
    def kernel(self) -> Iterator[Kernel]:
        """A new kernel during the body."""
        with self.client() as client:
            response = client.post("api/kernels", json={"name": "python3"})
            assert response.status_code == 201, response.text
            with self.attach(response.json()["id"]) as kernel:
                yield kernel
            assert client.delete(f"api/kernels/{kernel.identity}").status_code == 204

    @contextlib.contextmanager
    def attach(self, identity: str) -> Iterator[Kernel]:
        """The websocket of a running kernel; the token is in its address, as in Jupyter's own client."""
        url = f"ws://127.0.0.1:{self.port}/api/kernels/{identity}/channels"
        parameters = f"?session_id={uuid.uuid4()}&token={self.token}"
        with contextlib.closing(create_connection(url + parameters, TIMEOUT_S)) as socket:
            yield Kernel(identity, socket)


def plain_address(user: User) -> PlainAddress:
    """The address of the user's only tunnel."""
    output = assert_success(user.fab("status", "--editors")).stdout
    return PlainAddress(output.splitlines()[0].split()[1])
