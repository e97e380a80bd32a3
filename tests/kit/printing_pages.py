"""Pages whose cell prints line by line: one through the tunnel, one through `ssh -L`."""

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
from websocket import WebSocketException

from tests.kit.jupyter_client import Browser
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import OUTAGE_TIMEOUT_S, PASSWORD
from tests.kit.sshd import Network
from tests.kit.wait import wait_until

# The longest outage, TCP's recovery after it, and the page's own time.
TIMEOUT_S = 180.0


class Page:
    """A page, in its own thread, whose cell prints numbers until it is stopped."""

    def __init__(self, port: int, certificate_pem: str, folder: Path) -> None:
        self.lines: list[int] = []
        self.error: Exception | None = None
        self._port = port
        self._certificate_pem = certificate_pem
        self._end = folder / f"end-{port}"
        self._end.unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for(self, lines: int) -> None:
        """Wait for that many lines."""
        wait_until(lambda: len(self.lines) >= lines or self.error, f"{lines} lines came", timeout_s=TIMEOUT_S)
        assert self.error is None, self.error

    def stop_and_count_lost(self) -> int:
        """Stop the cell; returns how many of its lines were lost."""
        self._end.touch()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive(), "the cell never ended"
        line_count = int(self._end.read_text() or 0)
        return line_count - len(set(self.lines))

    def _run(self) -> None:
        cell = f"""
import os, pathlib, time
end = pathlib.Path({str(self._end)!r})
number = 0
while not end.exists():
    print(number, flush=True)
    number += 1
    time.sleep(0.25)
end.write_text(str(number))
"""
        try:
            with Browser(self._port, self._certificate_pem) as browser:
                assert browser.log_in(PASSWORD)
                with browser.kernel(TIMEOUT_S) as kernel:
                    self._read(kernel.messages(kernel.send_cell(cell)))
        except (AssertionError, OSError, WebSocketException, httpx.HTTPError) as error:
            self.error = error

    def _read(self, messages: Iterator[dict[str, object]]) -> None:
        for message in messages:
            content = message["content"]
            assert isinstance(content, dict)
            if content.get("name") == "stdout":
                self.lines.extend(int(line) for line in content["text"].split())
            if content.get("execution_state") == "idle":
                return


@contextlib.contextmanager
def ssh_tunnel(network: Network, config: str, remote_port: int, prefix: Sequence[str] = ()) -> Iterator[int]:
    """The local port of an `ssh -L` through the same hops, which `config` names `gateway` and `host`.

    `prefix` is a command that runs `ssh` elsewhere, such as in a network namespace.
    """
    port = free_port()
    file = network.folder / "ssh_config"
    file.write_text(config)
    log = network.folder / "ssh_log"
    forward = f"127.0.0.1:{port}:127.0.0.1:{remote_port}"
    command = [*prefix, "ssh", "-F", str(file), "-v", "-N", "-L", forward, "host"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=network.user.environment(),
        )
    try:
        wait_until(
            lambda: f"forwarding listening on 127.0.0.1 port {port}" in log.read_text(), "ssh forwards"
        )
        yield port
    finally:
        process.terminate()
        process.wait(OUTAGE_TIMEOUT_S)


Outage = Callable[[], contextlib.AbstractContextManager[None]]


def count_lost_lines(
    outage: Outage, ports: tuple[int, int], certificate_pem: str, folder: Path
) -> tuple[int, int]:
    """The number of lines lost in an outage, for the pages at the two ports."""
    pages = [Page(port, certificate_pem, folder) for port in ports]
    for page in pages:
        page.wait_for(5)
    with outage():
        pass
    # Lines that have not arrived before these are lost.
    for page in pages:
        lines_before = len(page.lines)
        with contextlib.suppress(AssertionError):
            page.wait_for(lines_before + 5)
    tunnel, plain = (page.stop_and_count_lost() for page in pages)
    return tunnel, plain
