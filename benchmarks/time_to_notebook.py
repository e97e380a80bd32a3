"""Measures the time from `fab up` to a notebook, and how many round trips to the gateway it takes.

    uv run python -m benchmarks.time_to_notebook [--runs N]

Everything runs on this machine: OpenSSH's sshd twice, as the gateway and the host, and Jupyter on the host. The
server is secured beforehand. Competitors take turns, so that a slow moment affects all of them. Compare values of one
run only: they depend on the machine.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import signal
import ssl
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.kit.cli import BIN_DIR, ROOT
from tests.kit.ports import free_port
from tests.kit.sshd import (
    LOOPBACK,
    SYSTEM_PATH,
    Network,
    known_hosts_line,
    prepare_packages,
    privsep_dir,
    terminate_all,
)
from tests.kit.wait import wait_until

from .child_server import run_server

Measurement = Callable[[], float]

TIMEOUT_S = 60.0
ROUND_TRIP_MS = 100
REMOTE_POLL_INTERVAL_S = 0.5
JUPYTER_COMMAND = "nice -n 19 jupyter notebook --no-browser" + (" --allow-root" if os.geteuid() == 0 else "")
RUNTIME_DIR = Path(".local/share/jupyter/runtime")


class BenchmarkNetwork:
    """The two hops with the server on the host, and the measurements. No method leaves a tunnel open."""

    def __init__(self, folder: Path) -> None:
        packages = folder / "packages"
        packages.mkdir()
        prepare_packages(packages)
        self.network = Network(folder / "network", packages)
        self.ssh_config = folder / "ssh_config"
        self.environment = packages / "miniconda3" / "envs" / "mlp"
        self.work = self.network.remote_home / "mlpractical"
        self.gateway_ports: set[int] = set()

    def secure(self) -> None:
        """Set the password and the certificate."""
        self.fab("secure")
        self.certificate = self.network.remote_home / ".jupyter" / "notebooks-over-ssh" / "server.pem"

    def use_gateway_port(self, gateway_port: int) -> None:
        """Configure this project and OpenSSH to connect to the gateway on that port."""
        network = self.network
        self.gateway_ports |= {gateway_port}
        network.write_known_hosts(
            *(known_hosts_line(port, network.gateway.public_key) for port in self.gateway_ports)
        )
        network.configure(gateway=f"{LOOPBACK}:{gateway_port}")
        config = network.ssh_config().replace(f"Port {network.gateway.port}\n", f"Port {gateway_port}\n")
        self.ssh_config.write_text(config)

    def fab(self, *arguments: str) -> str:
        """Run `fab` and return its output. Raises RuntimeError when it fails."""
        result = self.network.user.fab(*arguments)
        if result.returncode:
            raise RuntimeError(f"fab {' '.join(arguments)}: {result.stdout}{result.stderr}")
        return result.stdout

    def ssh(self, *arguments: str) -> str:
        """Run OpenSSH's client and return its output. Raises RuntimeError when it fails."""
        result = self.network.run("ssh", "-F", str(self.ssh_config), *arguments)
        if result.returncode:
            raise RuntimeError(f"ssh {' '.join(arguments)}: {result.stderr}")
        return result.stdout

    def up(self) -> float:
        """The seconds from `fab up`, without a running server, to a response."""
        started_at = time.monotonic()
        with self._in_foreground() as output:
            self._wait_for_response(ready_port(output))
            duration = time.monotonic() - started_at
        self.fab("stop")
        return duration

    def up_detached(self) -> float:
        """The seconds that `fab up --detach` takes with a running server."""
        started_at = time.monotonic()
        self.fab("up", "--detach")
        duration = time.monotonic() - started_at
        terminate_all(self.network.processes(self.network.home))
        return duration

    def with_login(self, *command: str) -> Measurement:
        """Measures a command while the process of a background tunnel holds the login."""

        def measure() -> float:
            self.fab("up", "--detach")
            started_at = time.monotonic()
            self.fab(*command)
            duration = time.monotonic() - started_at
            self.fab("stop")
            self.fab("logout")
            return duration

        return measure

    def up_in_foreground(self) -> float:
        """The seconds from `fab up`, with a running server, to its line `ready`."""
        started_at = time.monotonic()
        with self._in_foreground():
            return time.monotonic() - started_at

    @contextlib.contextmanager
    def _in_foreground(self) -> Iterator[str]:
        """Run `fab up` while the body runs. Yields its output up to the line `ready`, once that is printed."""
        command = subprocess.Popen(
            [BIN_DIR / "fab", "up"],
            cwd=ROOT,
            env=self.network.user.environment(PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with command:
            assert command.stdout
            output = ""
            for line in command.stdout:
                output += line
                if line.startswith("ready"):
                    break
            else:
                raise RuntimeError(f"fab up exited before it was ready: {output}")
            try:
                yield output
            finally:
                command.send_signal(signal.SIGINT)
                command.wait(TIMEOUT_S)

    def with_openssh(self) -> float:
        """The seconds that the same steps take with OpenSSH's client, as in a script, to a response."""
        started_at = time.monotonic()
        start = f"cd mlpractical && PATH={self.environment}/bin:$PATH && " + (
            f"{{ nohup {JUPYTER_COMMAND} >jupyter.log 2>&1 </dev/null & echo $!; }}"
        )
        # A login shell starts in the account's home folder, which is not $HOME here.
        pid = int(self.ssh("host", f'cd "$HOME" && {start}'))
        while True:
            polled_at = time.monotonic()
            info = self.ssh("host", f'cat "$HOME/{RUNTIME_DIR}/jpserver-{pid}.json" 2>&1 || true')
            if info.startswith("{"):
                break
            time.sleep(max(0.0, REMOTE_POLL_INTERVAL_S - (time.monotonic() - polled_at)))
        local_port = free_port()
        target = f"{local_port}:localhost:{json.loads(info)['port']}"
        tunnel = subprocess.Popen(
            ["ssh", "-F", str(self.ssh_config), "-N", "-L", target, "host"],
            env=self.network.user.environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait_for_response(local_port)
            return time.monotonic() - started_at
        finally:
            tunnel.terminate()
            tunnel.wait(TIMEOUT_S)
            self.ssh("host", f"kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done")

    def bare_jupyter(self) -> float:
        """The seconds from the start of Jupyter, without SSH, to a response."""
        home = self.network.remote_home
        started_at = time.monotonic()
        with (self.work / "jupyter.log").open("wb") as log:
            server = subprocess.Popen(
                JUPYTER_COMMAND.split(),
                cwd=self.work,
                env={
                    "HOME": str(home),
                    "PATH": f"{self.environment / 'bin'}:{SYSTEM_PATH}",
                    "LANG": "C.UTF-8",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        info_path = home / RUNTIME_DIR / f"jpserver-{server.pid}.json"
        try:
            wait_until(
                lambda: info_path.exists() and info_path.read_text().endswith("}"),
                "jupyter starts",
                timeout_s=TIMEOUT_S,
            )
            self._wait_for_response(json.loads(info_path.read_text())["port"])
            return time.monotonic() - started_at
        finally:
            server.terminate()
            server.wait(TIMEOUT_S)

    def jump(self) -> float:
        """The seconds that `ssh -J gateway host true` takes."""
        started_at = time.monotonic()
        self.ssh("host", "true")
        return time.monotonic() - started_at

    def _wait_for_response(self, port: int) -> None:
        expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first_certificate(self.certificate))).hexdigest()
        wait_until(lambda: responds(port, expected), f"a response on port {port}", timeout_s=TIMEOUT_S)


def ready_port(output: str) -> int:
    """The local port in the `ready` line of `fab up`."""
    (line,) = (line for line in output.splitlines() if line.startswith("ready"))
    return int(line.rstrip("/").rpartition(":")[2])


def first_certificate(path: Path) -> str:
    """The first certificate of a PEM file."""
    text = path.read_text()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return text[text.index(begin) : text.index(end) + len(end)]


def responds(port: int, expected: str) -> bool:
    """Whether a Jupyter server whose certificate has that SHA-256 fingerprint responds on the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the fingerprint is compared below
    connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=TIMEOUT_S, context=context)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.connect()
        fingerprint = hashlib.sha256(connection.sock.getpeercert(True) or b"").hexdigest()
        connection.request("GET", "/api")
        return fingerprint == expected and "version" in json.loads(connection.getresponse().read())
    return False


def times(benchmark_network: BenchmarkNetwork, runs: int) -> None:
    """Measure and print the seconds to the first response."""
    competitors: dict[str, Measurement] = {
        "Jupyter without SSH": benchmark_network.bare_jupyter,
        "fab up": benchmark_network.up,
        "a script with ssh": benchmark_network.with_openssh,
    }
    for measure in competitors.values():  # a first run fills caches
        measure()
    values: dict[str, list[float]] = {name: [] for name in competitors}
    for run in range(runs):
        names = deque(competitors)
        names.rotate(run)
        for name in names:
            values[name].append(competitors[name]())
    print(f"\nseconds to the first response, {runs} runs")
    print(f"  {'':40} median    best   best relative to the first")
    first = min(next(iter(values.values())))
    for name, seconds in values.items():
        best = min(seconds)
        median = statistics.median(seconds)
        print(f"  {name:40} {median:6.2f}  {best:6.2f}   x {best / first:.2f}  {best - first:+.2f}")


def round_trips(benchmark_network: BenchmarkNetwork, runs: int) -> None:
    """Measure and print the number of round trips to the gateway that each command waits for."""
    without_server = {"fab up until a response, no server": benchmark_network.up}
    with_server = {
        "fab up --detach, running server": benchmark_network.up_detached,
        "fab up until ready, running server": benchmark_network.up_in_foreground,
        "ssh -J gateway host true": benchmark_network.jump,
    }
    with_login = {
        f"fab {' '.join(command)}, running server, held login": benchmark_network.with_login(*command)
        for command in (["status"], ["up", "--detach"], ["stop"])
    }
    values: dict[tuple[str, int], list[float]] = {}

    def measure(competitors: dict[str, Measurement]) -> None:
        for _ in range(runs):
            for milliseconds, port in ports.items():
                benchmark_network.use_gateway_port(port)
                for name, run in competitors.items():
                    values.setdefault((name, milliseconds), []).append(run())

    gateway = benchmark_network.network.gateway.port
    proxy = ("benchmarks.latency_proxy", str(gateway))
    with run_server(*proxy, "0") as near, run_server(*proxy, str(ROUND_TRIP_MS)) as far:
        ports = {0: near, ROUND_TRIP_MS: far}
        measure(without_server)
        benchmark_network.fab("serve")
        measure(with_server)
        benchmark_network.fab("stop", "--all")
        measure(with_login)
    print(f"\nround trips to the gateway, from the best of {runs} runs at 0 and {ROUND_TRIP_MS} ms")
    for name in (*with_login, *with_server, *without_server):
        # Noise only makes a run longer, so take the minimum.
        near_s, far_s = (min(values[name, milliseconds]) for milliseconds in ports)
        count = (far_s - near_s) * 1000 / ROUND_TRIP_MS
        print(f"  {name:48} {count:6.1f}  {near_s:.2f} s, {far_s:.2f} s")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each measurement (default: 5)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, privsep_dir():
        benchmark_network = BenchmarkNetwork(Path(folder))
        try:
            benchmark_network.network.start()
            benchmark_network.use_gateway_port(benchmark_network.network.gateway.port)
            benchmark_network.secure()
            times(benchmark_network, runs)
            round_trips(benchmark_network, runs)
        finally:
            benchmark_network.network.close()


if __name__ == "__main__":
    main()
