"""A client of the notebook server: logs in with the form, starts kernels, runs cells over a websocket."""

import contextlib
import json
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx
from websocket import WebSocket, create_connection

from tests.kit.cli import User, assert_success, port_in
from tests.kit.users import PASSWORD

# Jupyter answers a websocket only when the kernel does, for which it waits 60 s (MappingKernelManager's
# kernel_info_timeout). A kernel at nice 19 starts slowly beside other tests.
TIMEOUT_S = 90.0


@dataclass(frozen=True)
class CellReply:
    """The status and outputs of a cell."""

    status: str
    outputs: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """The printed output and the text of the value."""
        streams = "".join(output.get("text", "") for output in self.outputs)
        return streams + "".join(output.get("data", {}).get("text/plain", "") for output in self.outputs)


class Kernel:
    """A kernel, over its websocket."""

    def __init__(self, identity: str, socket: WebSocket) -> None:
        self.identity = identity
        self._socket = socket

    def send_cell(self, code: str) -> str:
        """Send a cell; returns the id of the request."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "username": "",
            "session": uuid.uuid4().hex,
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._socket.send(json.dumps({**message, "channel": "shell", "buffers": []}))
        return header["msg_id"]

    def wait_for(self, request: str, kind: str) -> dict[str, Any]:
        """The first message of this type in reply to the request."""
        return next(message for message in self.messages(request) if message["header"]["msg_type"] == kind)

    def run(self, code: str) -> CellReply:
        """Run a cell to its end."""
        outputs: list[dict[str, Any]] = []
        status = ""
        is_idle = False
        for message in self.messages(self.send_cell(code)):
            kind, content = message["header"]["msg_type"], message["content"]
            if kind in ("stream", "execute_result", "display_data", "error"):
                outputs.append(content)
            status = content["status"] if kind == "execute_reply" else status
            is_idle = is_idle or (kind == "status" and content["execution_state"] == "idle")
            if is_idle and status:
                break
        return CellReply(status, outputs)

    def messages(self, request: str) -> Iterator[dict[str, Any]]:
        """All messages in reply to the request, endlessly."""
        while True:
            message = json.loads(self._socket.recv())
            if message["parent_header"].get("msg_id") == request:
                yield message


class Browser:
    """A browser that trusts only this certificate, and keeps cookies."""

    def __init__(self, port: int, certificate_pem: str) -> None:
        self.port = port
        self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self.trust.load_verify_locations(cadata=certificate_pem)
        self._client = httpx.Client(
            base_url=f"https://localhost:{port}", verify=self.trust, trust_env=False, timeout=TIMEOUT_S
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def log_in(self, password: str) -> bool:
        """Fill in the login form; returns whether the login succeeded."""
        form = self._client.get("/login")
        assert form.status_code == 200 and 'name="password"' in form.text, form.text
        self._client.post("/login", data={"password": password, "_xsrf": self._xsrf})
        return self.status("/api/kernels") == 200

    def status(self, path: str) -> int:
        """The status code of a GET."""
        return self._client.get(path).status_code

    def status_with(self, path: str, **headers: str) -> int:
        """The status code of a GET with these additional headers."""
        return self._client.get(path, headers=headers).status_code

    def post_status(self, path: str, **data: str) -> int:
        """The status code of a POST as a page of another site can send it: a form, without the token."""
        return self._client.post(path, data=data).status_code

    def get(self, path: str) -> Any:
        """The JSON reply to a GET."""
        response = self._client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def kernels(self) -> set[str]:
        """The ids of the running kernels."""
        return {kernel["id"] for kernel in self.get("/api/kernels")}

    @contextlib.contextmanager
    def kernel(self, timeout_s: float = TIMEOUT_S) -> Iterator[Kernel]:
        """A new kernel, which keeps running when the websocket is closed."""
        headers = {"X-XSRFToken": self._xsrf}
        response = self._client.post("/api/kernels", headers=headers, json={"name": "python3"})
        assert response.status_code == 201, response.text
        with self.attach(response.json()["id"], timeout_s) as kernel:
            yield kernel

    @contextlib.contextmanager
    def attach(self, identity: str, timeout_s: float, origin: str = "") -> Iterator[Kernel]:
        """The websocket of a running kernel; `origin` is the page's, by default the server's own."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._client.cookies.jar)
        # This client reads and writes in one thread: two must not use one SSL object (openssl-threads(7)).
        socket = create_connection(
            f"wss://localhost:{self.port}/api/kernels/{identity}/channels",
            timeout_s,
            sslopt={"context": self.trust},
            origin=origin or f"https://localhost:{self.port}",
            cookie=cookies,
        )
        with contextlib.closing(socket):
            yield Kernel(identity, socket)

    @property
    def _xsrf(self) -> str:
        return self._client.cookies["_xsrf"]


@contextlib.contextmanager
def busy_kernel(user: User) -> Iterator[int]:
    """A session with a kernel that computes; yields the kernel's PID."""
    port = port_in(assert_success(user.fab("up", "--detach")))
    with Browser(port, user.only_record()["certificate_pem"]) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            pid = int(kernel.run("import os, subprocess, sys, time; print(os.getpid())").text)
            request = kernel.send_cell(
                "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(900)'], start_new_session=True)\n"
                "print('it computes', flush=True); time.sleep(900)"
            )
            assert kernel.wait_for(request, "stream")["content"]["text"] == "it computes\n"
            assert browser.get(f"/api/kernels/{kernel.identity}")["execution_state"] == "busy"
    yield pid
