"""A background tunnel over two real hops, each behind a TCP proxy, and its clients."""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import psutil

from tests.kit.cli import User, assert_success
from tests.kit.jupyter_client import TIMEOUT_S, Browser
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.ports import free_port
from tests.kit.sshd import LOOPBACK, Network, known_hosts_line
from tests.kit.tcp_proxy import TcpProxy
from tests.kit.wait import wait_until

PASSWORD = "a password of the tests"
MB = 1024 * 1024
# Only guards against hanging.
OUTAGE_TIMEOUT_S = 60.0
# Counts in a thread, also while no client is connected.
COUNT = """
import threading, time
counted = []
def count():
    while True:
        counted.append((len(counted), time.time()))
        time.sleep(0.05)
threading.Thread(target=count, daemon=True).start()
"""


class Tunnel:
    """The user's only tunnel, by its record and log."""

    def __init__(self, user: User) -> None:
        self.user = user

    def record(self) -> dict[str, Any]:
        """The tunnel's record; {} if there is none."""
        record: dict[str, Any] = {}
        for path in self.user.sessions.glob("*.tunnel.json"):
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                record = json.loads(path.read_text())
        return record

    def log(self) -> str:
        """The log of the background tunnel."""
        return "".join(path.read_text() for path in self.user.sessions.glob("*.tunnel.log"))

    def wait_for(self, state: str) -> None:
        """Wait until the tunnel's record has this state."""
        self.wait_until(lambda: self.record().get("state") == state, f"the tunnel is {state}")

    def wait_for_outages(self, outages: int) -> None:
        """Wait until the log has that many outages, and the tunnel is open."""
        self.wait_until(
            lambda: self.outages() >= outages and self.record().get("state") == "open",
            f"{outages} outages are over",
        )

    def wait_until(self, condition: Callable[[], object], description: str) -> None:
        """Wait for a condition; the AssertionError has the tunnel's record and log."""
        try:
            wait_until(condition, description)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.record()}\n{self.log()}") from None

    def outages(self) -> int:
        """The number of outages in the log."""
        return self.log().count("reconnecting")


class ProxiedNetwork(Tunnel):
    """The two hops with a proxy before each: `first` leads to the gateway, `second` from there to the host."""

    def __init__(self, network: Network, loop: AsyncioThread) -> None:
        super().__init__(network.user)
        self.network = network
        self.first = TcpProxy(loop, network.gateway.port)
        self.second = TcpProxy(loop, network.host.port)
        network.set_hostname(LOOPBACK)
        self.write_known_hosts()
        network.configure(
            gateway=f"{LOOPBACK}:{self.first.port}", notebook={"host": f"{LOOPBACK}:{self.second.port}"}
        )
        (network.folder / "password").write_text(f"{PASSWORD}\n")

    def write_known_hosts(self) -> None:
        """Write the keys of both hops, with the ports of their proxies, to known_hosts."""
        hops = ((self.first, self.network.gateway), (self.second, self.network.host))
        lines = [known_hosts_line(relay.port, server.public_key) for relay, server in hops]
        self.network.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def set_gateway_alias(self, name: str, relay: TcpProxy) -> None:
        """Make `name` an alias of the proxy in ~/.ssh/config, and the gateway in the settings."""
        config = self.network.home / ".ssh" / "config"
        config.parent.mkdir(mode=0o700, exist_ok=True)
        config.write_text(f"Host {name}\n HostName {LOOPBACK}\n Port {relay.port}\n HostKeyAlias {name}\n")
        self.network.configure(gateway=name, notebook={"host": f"{LOOPBACK}:{self.second.port}"})

    def close(self) -> None:
        """Stop the proxies."""
        self.first.close()
        self.second.close()

    def file(self, size: int) -> str:
        """Write a file of random bytes to the working directory; returns its SHA-256."""
        data = os.urandom(size)
        (self.network.remote_home / "mlpractical" / "large.bin").write_bytes(data)
        return hashlib.sha256(data).hexdigest()


class DownloadClient(Browser):
    """A browser that downloads a file, with a long timeout."""

    def download(self, on_progress: Callable[[int], None] = lambda size: None) -> str:
        """The SHA-256 of the large file; `on_progress` gets the size received so far. Raises httpx.HTTPError."""
        digest, size = hashlib.sha256(), 0
        headers = {"Referer": f"https://localhost:{self.port}/tree"}
        with self._client.stream(
            "GET", "/files/large.bin", headers=headers, timeout=OUTAGE_TIMEOUT_S
        ) as response:
            assert response.status_code == 200, response.read()[:1000]
            for chunk in response.iter_raw():
                digest.update(chunk)
                size += len(chunk)
                on_progress(size)
        return digest.hexdigest()

    def slow_status(self, path: str) -> int:
        """The status code of a slow response, over a new connection."""
        cookies = {cookie.name: str(cookie.value) for cookie in self._client.cookies.jar}
        with httpx.Client(
            verify=self.trust, trust_env=False, timeout=OUTAGE_TIMEOUT_S, cookies=cookies
        ) as client:
            return client.get(f"https://localhost:{self.port}{path}").status_code


@dataclass
class Download:
    """A download in its own thread, paused in the middle until it is finished."""

    client: DownloadClient
    digest: str = ""
    error: httpx.HTTPError | None = None
    _paused: threading.Event = field(default_factory=threading.Event)
    _resume: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._paused.wait(TIMEOUT_S), "the download never began"
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Resume, and wait for the end."""
        self._resume.set()
        self._thread.join(OUTAGE_TIMEOUT_S)
        assert not self._thread.is_alive(), "the download never ended"

    def _run(self) -> None:
        try:
            self.digest = self.client.download(self._read)
        except httpx.HTTPError as error:
            self.error = error

    def _read(self, size: int) -> None:
        if size >= MB and not self._paused.is_set():
            self._paused.set()
            self._resume.wait(OUTAGE_TIMEOUT_S * 2)


@contextlib.contextmanager
def background_request(client: DownloadClient) -> Iterator[Future[int]]:
    """The status code of a request in a thread, which may wait for the end of an outage."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(client.slow_status, "/api/kernels")


class Workload:
    """What runs through the tunnel: a kernel that counts, and a file with its checksum."""

    def __init__(self, proxied: ProxiedNetwork, client: DownloadClient, size: int) -> None:
        self.proxied = proxied
        self.client = client
        self.checksum = proxied.file(size)
        self.before = proxied.user.only_session()
        assert (self.before["tunnel"], self.before["server"]) == ("open", "running")
        self.pid = proxied.record()["pid"]
        with client.kernel() as kernel:
            assert kernel.run(COUNT).status == "ok"
            self.kernel = kernel.identity
        self._count = self._read_count()
        assert client.download() == self.checksum

    def assert_unchanged(self) -> None:
        """Address, process, server and kernel are the same; the count has no gap, and no byte is wrong."""
        session = self.proxied.user.only_session()
        for key in ("url", "local_port", "server", "pid", "tunnel", "remote_port", "started"):
            assert session[key] == self.before[key], f"{key}: {session}\n{self.proxied.log()}"
        assert session["login_required"] is None
        assert self.proxied.record()["pid"] == self.pid
        assert psutil.Process(self.pid).is_running()
        assert self.kernel in self.client.kernels()
        counts = self._read_count()
        assert counts[: len(self._count)] == self._count, "the kernel was restarted"
        assert [number for number, _ in counts] == list(range(len(counts)))
        assert len(counts) > len(self._count), "the kernel has stopped"
        self._count = counts
        assert self.client.download() == self.checksum

    def assert_complete_or_failed(self, download: Download) -> None:
        """A download is either complete, or its client got an error."""
        assert download.error is not None or download.digest == self.checksum

    def _read_count(self) -> list[tuple[int, float]]:
        with self.client.attach(self.kernel, OUTAGE_TIMEOUT_S) as kernel:
            reply = kernel.run("import json; print(json.dumps(counted[:]))")
        assert reply.status == "ok"
        return [(number, moment) for number, moment in json.loads(reply.text)]


@contextlib.contextmanager
def running_workload(proxied: ProxiedNetwork, size: int) -> Iterator[Workload]:
    """Run `up --detach`, with a workload during the body; everything is stopped in the end."""
    user = proxied.user
    try:
        # Not the default port: no other test may take it between two tunnels.
        port = ("--local-port", str(free_port()))
        password = ("--password-file", str(proxied.network.folder / "password"))
        assert_success(user.invoke("up", "--detach", *port, *password))
        with DownloadClient(proxied.record()["local_port"], user.certificate_pem(LOOPBACK)) as client:
            assert client.log_in(PASSWORD)
            yield Workload(proxied, client, size)
    finally:
        proxied.first.resume()
        proxied.second.resume()
        stopped = user.fab("stop", "--force")
    assert_success(stopped)
    assert user.status() == []
