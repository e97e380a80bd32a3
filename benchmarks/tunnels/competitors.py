"""The competitors. Each has its own process tree, whose CPU time and memory are measured."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.kit.ports import free_port
from tests.kit.sshd import terminate_all
from tests.kit.wait import wait_until

from ..child_server import ROOT
from .endpoint import LOOPBACK, Endpoint
from .network import BenchmarkNetwork
from .workloads import echoes

START_TIMEOUT_S = 20.0
NO_TUNNEL = "no-tunnel"
BASELINE = "ssh-jump"
Command = Callable[[Endpoint, int], list[str]]


def _guide(endpoint: Endpoint, local_port: int) -> list[str]:
    """The command in the guide, with this network's names and ports."""
    config = shlex.quote(endpoint.ssh_config)
    proxy = f"ProxyCommand=ssh -q -F {config} gateway nc {LOOPBACK} {endpoint.host_port}"
    return [
        "ssh",
        "-F",
        endpoint.ssh_config,
        "-N",
        "-o",
        proxy,
        "-L",
        _forwarding(endpoint, local_port),
        "host",
    ]


def _ssh_jump(endpoint: Endpoint, local_port: int) -> list[str]:
    """OpenSSH at its fastest: AES-GCM first on both hops. `ssh -J` takes the jump's cipher from ssh_config only."""
    config = Path(endpoint.ssh_config).with_suffix(".gcm")
    config.write_text("Ciphers ^aes128-gcm@openssh.com\n" + Path(endpoint.ssh_config).read_text())
    return ["ssh", "-F", str(config), "-N", "-J", "gateway", "-L", _forwarding(endpoint, local_port), "host"]


def _forwarding(endpoint: Endpoint, local_port: int) -> str:
    return f"{LOOPBACK}:{local_port}:{LOOPBACK}:{endpoint.target_port}"


def _python(name: str) -> Command:
    def command(endpoint: Endpoint, local_port: int) -> list[str]:
        return [
            sys.executable,
            "-m",
            "benchmarks.tunnels.implementations",
            name,
            json.dumps(endpoint._asdict()),
            str(local_port),
        ]

    return command


COMPETITORS: dict[str, Command] = {
    "ours": _python("ours"),
    "guide": _guide,
    BASELINE: _ssh_jump,
    "fabric": _python("fabric"),
    "asyncssh": _python("asyncssh"),
}
TITLES = {
    "ours": "fab tunnel",
    "guide": "ssh -L, nc on the gateway",
    BASELINE: "ssh -J -L, AES-GCM",
    "fabric": "Fabric forward_local",
    "asyncssh": "asyncssh, AES-GCM",
}
# Windows: CHAN_TCP_WINDOW_DEFAULT in OpenSSH's channels.h, DEFAULT_WINDOW_SIZE in paramiko/common.py, _DEFAULT_WINDOW
# in asyncssh/connection.py. Neither ssh nor the two libraries' forwarding has a parameter for it.
SETTINGS = {
    "ours": "defaults: AES-GCM, a window that follows the path, up to 18 MiB",
    "guide": "ssh's defaults on both hops, window 2 MiB",
    BASELINE: "Ciphers aes128-gcm on both hops, window 2 MiB",
    "fabric": "Paramiko's defaults: aes128-ctr, window 2 MiB",
    "asyncssh": "aes128-gcm on both hops, its default window of 2 MiB, for which forward_local_port has no parameter",
}
"""The settings of each competitor, for the chart."""


class Forwarder:
    """A competitor at an endpoint. CPU time and memory are sums over its processes."""

    def __init__(self, name: str, benchmark_network: BenchmarkNetwork, endpoint: Endpoint) -> None:
        self.name = name
        self._network = benchmark_network
        self._endpoint = endpoint
        self._log = Path(endpoint.ssh_config).with_name(f"{name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it, unless it is running, and wait until the load server echoes through it.

        Raises RuntimeError with the end of its log when it exits, AssertionError after START_TIMEOUT_S.
        """
        if self.name == NO_TUNNEL:
            self.port = self._endpoint.direct_port
        if self.port:
            return
        port = free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                COMPETITORS[self.name](self._endpoint, port),
                cwd=ROOT,
                env=self._network.environment(self._endpoint),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(
                lambda: self._check_alive() and echoes(port),
                f"{self.name} forwards",
                timeout_s=START_TIMEOUT_S,
            )
        except BaseException:
            self.close()
            raise
        self.port = port

    def close(self) -> None:
        """Terminate all its processes."""
        self.port = 0
        if self._process is None:
            return
        processes = self._processes()
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        terminate_all(processes)
        self._process.wait(START_TIMEOUT_S)
        self._process = None

    def cpu_s(self) -> float | None:
        """User and system CPU time so far, in seconds; None where there is no process."""
        if self._process is None:
            return None
        times = [process.cpu_times() for process in self._processes()]
        return sum(time.user + time.system for time in times)

    def peak_mb(self) -> float | None:
        """Peak memory in MB: the sum of its processes' VmHWM (proc(5)); None where there is no process."""
        if self._process is None:
            return None
        texts = [Path(f"/proc/{process.pid}/status").read_text() for process in self._processes()]
        return sum(int(kib) for text in texts for kib in re.findall(r"VmHWM:\s*(\d+) kB", text)) * 1024 / 1e6

    def log_tail(self) -> str:
        """The last line of its log, or ""."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return lines[-1] if lines else ""

    def _processes(self) -> list[psutil.Process]:
        assert self._process
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def _check_alive(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            raise RuntimeError(f"it exited: {self.log_tail()}")
        return True
