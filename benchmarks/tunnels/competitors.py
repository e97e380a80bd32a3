"""Those who are compared. Each is a family of processes of its own, so that what it costs can be told from all else."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.kit.sshd import free_port, terminate_all, wait_until

from .endpoint import LOOPBACK, Endpoint
from .network import ROOT, BenchmarkNetwork
from .workloads import echoes

START_TIMEOUT_S = 20.0
NO_TUNNEL = "no-tunnel"
BASELINE = "ssh-jump"
Command = Callable[[Endpoint, int], list[str]]


def _guide(endpoint: Endpoint, local_port: int) -> list[str]:
    """The command of the guide as it stands there, with the names and ports of here."""
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
    """OpenSSH at its best: AES-GCM on both hops, which a jump takes from the configuration alone."""
    config = Path(endpoint.ssh_config).with_suffix(".gcm")
    config.write_text("Ciphers aes128-gcm@openssh.com\n" + Path(endpoint.ssh_config).read_text())
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


PEERS: dict[str, Command] = {
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
"""How each peer ran."""


class Forwarder:
    """One peer on one way, from `start` to `close`; what it costs is that of all its processes together."""

    def __init__(self, name: str, benchmark_network: BenchmarkNetwork, endpoint: Endpoint) -> None:
        self.name = name
        self._network = benchmark_network
        self._endpoint = endpoint
        self._log = Path(endpoint.ssh_config).with_name(f"{name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it and wait for the first byte that goes through; does nothing while it runs.

        Raises RuntimeError with what it said when it ends, AssertionError when it takes too long.
        """
        if self.name == NO_TUNNEL:
            self.port = self._endpoint.direct_port
        if self.port:
            return
        port = free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                PEERS[self.name](self._endpoint, port),
                cwd=ROOT,
                env=self._network.environment(self._endpoint),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self._alive() and echoes(port), START_TIMEOUT_S, f"{self.name} forwards")
        except BaseException:
            self.close()
            raise
        self.port = port

    def close(self) -> None:
        """End all its processes."""
        self.port = 0
        if self._process is None:
            return
        processes = self._processes()
        assert self._process.stdin  # as asked for
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        terminate_all(processes)
        self._process.wait(START_TIMEOUT_S)
        self._process = None

    def cpu_s(self) -> float | None:
        """The seconds of CPU, of user and system, that it has used so far; None where there is no process."""
        if self._process is None:
            return None
        times = [process.cpu_times() for process in self._processes()]
        return sum(time.user + time.system for time in times)

    def peak_mb(self) -> float | None:
        """The most memory that it has had, in MB: the sum of the peaks of its processes (VmHWM, proc(5))."""
        if self._process is None:
            return None
        texts = [Path(f"/proc/{process.pid}/status").read_text() for process in self._processes()]
        return sum(int(kib) for text in texts for kib in re.findall(r"VmHWM:\s*(\d+) kB", text)) * 1024 / 1e6

    def log_tail(self) -> str:
        """The last line that it wrote, for a message; "" where it wrote nothing."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return lines[-1] if lines else ""

    def _processes(self) -> list[psutil.Process]:
        assert self._process
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def _alive(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended: {self.log_tail()}")
        return True
