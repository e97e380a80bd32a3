"""How long it takes to a notebook that answers, and how often the way to the gateway is gone back and forth for it.

    uv run python -m benchmarks.time_to_notebook [--runs N]

Everything runs on this machine: two sshd of OpenSSH as the gateway and the host, and the Jupyter of this project on the
host. Protection is in place before. What is compared takes turns, so that a slow moment hits all alike, and the numbers
say something about each other only: another machine has others.
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
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.kit.cli import BIN_DIR, ROOT
from tests.kit.sshd import (
    LOOPBACK,
    SYSTEM_PATH,
    Network,
    free_port,
    known_hosts_line,
    prepare_packages,
    privsep_dir,
    terminate_all,
    wait_until,
)

Measured = Callable[[], float]

TIMEOUT_S = 60.0
ROUND_TRIP_MS = 100
POLL_S = 0.02
HOST_POLL_S = 0.5
START = "nice -n 19 jupyter notebook --no-browser" + (" --allow-root" if os.geteuid() == 0 else "")
RUNTIME = Path(".local/share/jupyter/runtime")


class BenchmarkNetwork:
    """The two hops, and the server on the host, with what is measured on them. Every method leaves no tunnel open."""

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
        """Put the protection in place."""
        self.fab("secure")
        self.certificate = self.network.remote_home / ".jupyter" / "notebooks-over-ssh" / "server.pem"

    def use_gateway_port(self, gateway_port: int) -> None:
        """Let both ways, this project's and OpenSSH's, lead through that port to the gateway."""
        network = self.network
        self.gateway_ports |= {gateway_port}
        network.write_known_hosts(
            *(known_hosts_line(port, network.gateway.public_key) for port in self.gateway_ports)
        )
        network.configure(gateway=f"{LOOPBACK}:{gateway_port}")
        config = network.ssh_config().replace(f"Port {network.gateway.port}\n", f"Port {gateway_port}\n")
        self.ssh_config.write_text(config)

    def fab(self, *arguments: str) -> str:
        """What `fab` printed; raises RuntimeError when it failed."""
        done = self.network.user.fab(*arguments)
        if done.returncode:
            raise RuntimeError(f"fab {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def ssh(self, *arguments: str) -> str:
        """What OpenSSH's client printed."""
        done = self.network.run("ssh", "-F", str(self.ssh_config), *arguments)
        if done.returncode:
            raise RuntimeError(f"ssh {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def up(self) -> float:
        """`fab up` until an answer, with no server before."""
        begin = time.monotonic()
        with self._in_foreground() as output:
            self._wait_for_answer(ready_port(output))
            took = time.monotonic() - begin
        self.fab("stop")
        return took

    def up_again(self) -> float:
        """`fab up --detach` where the server runs already, until it returns."""
        begin = time.monotonic()
        self.fab("up", "--detach")
        took = time.monotonic() - begin
        terminate_all(self.network.processes(self.network.home))
        return took

    def up_in_foreground(self) -> float:
        """`fab up` where the server runs already, until it says `ready`."""
        begin = time.monotonic()
        with self._in_foreground():
            return time.monotonic() - begin

    @contextlib.contextmanager
    def _in_foreground(self) -> Iterator[str]:
        """Hold `fab up` open while the body runs, from when it said `ready`; gives what it said until then."""
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
            assert command.stdout  # as asked for
            output = ""
            for line in command.stdout:
                output += line
                if line.startswith("ready"):
                    break
            else:
                raise RuntimeError(f"fab up ended before it was ready: {output}")
            try:
                yield output
            finally:
                command.send_signal(signal.SIGINT)
                command.wait(TIMEOUT_S)

    def with_openssh(self) -> float:
        """The same steps with OpenSSH's client, as a script would take them, until an answer."""
        begin = time.monotonic()
        start = f"cd mlpractical && PATH={self.environment}/bin:$PATH && " + (
            f"{{ nohup {START} >jupyter.log 2>&1 </dev/null & echo $!; }}"
        )
        # A login starts in the home folder of the account, which here is not that of the host.
        pid = int(self.ssh("host", f'cd "$HOME" && {start}'))
        while True:
            looked = time.monotonic()
            seen = self.ssh("host", f'cat "$HOME/{RUNTIME}/jpserver-{pid}.json" 2>&1 || true')
            if seen.startswith("{"):
                break
            time.sleep(max(0.0, HOST_POLL_S - (time.monotonic() - looked)))
        local_port = free_port()
        target = f"{local_port}:localhost:{json.loads(seen)['port']}"
        tunnel = subprocess.Popen(
            ["ssh", "-F", str(self.ssh_config), "-N", "-L", target, "host"],
            env=self.network.user.environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait_for_answer(local_port)
            return time.monotonic() - begin
        finally:
            tunnel.terminate()
            tunnel.wait(TIMEOUT_S)
            self.ssh("host", f"kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done")

    def bare_jupyter(self) -> float:
        """Jupyter itself, with nothing of SSH, until an answer."""
        home = self.network.remote_home
        begin = time.monotonic()
        with (self.work / "jupyter.log").open("wb") as log:
            server = subprocess.Popen(
                START.split(),
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
        printed = home / RUNTIME / f"jpserver-{server.pid}.json"
        try:
            wait_until(
                lambda: printed.exists() and printed.read_text().endswith("}"), TIMEOUT_S, "jupyter starts"
            )
            self._wait_for_answer(json.loads(printed.read_text())["port"])
            return time.monotonic() - begin
        finally:
            server.terminate()
            server.wait(TIMEOUT_S)

    def jump(self) -> float:
        """`ssh -J gateway host true`."""
        begin = time.monotonic()
        self.ssh("host", "true")
        return time.monotonic() - begin

    def _wait_for_answer(self, port: int) -> None:
        expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first_certificate(self.certificate))).hexdigest()
        wait_until(lambda: answers(port, expected), TIMEOUT_S, f"an answer on port {port}")


def ready_port(printed: str) -> int:
    """The local port that `up` said it is ready on."""
    (line,) = (line for line in printed.splitlines() if line.startswith("ready"))
    return int(line.rstrip("/").rpartition(":")[2])


def first_certificate(path: Path) -> str:
    """The certificate of a PEM file that has more in it."""
    text = path.read_text()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return text[text.index(begin) : text.index(end) + len(end)]


def answers(port: int, expected: str) -> bool:
    """Whether a server with that certificate (SHA-256) answers on the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its fingerprint is compared
    connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=TIMEOUT_S, context=context)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.connect()
        shown = hashlib.sha256(connection.sock.getpeercert(True) or b"").hexdigest()
        connection.request("GET", "/api")
        return shown == expected and "version" in json.loads(connection.getresponse().read())
    return False


@contextlib.contextmanager
def delayed(port: int, round_trip_ms: int) -> Iterator[int]:
    """A port that leads to the other one over a line that long."""
    relay = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("latency_proxy.py")), str(port), str(round_trip_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert relay.stdin and relay.stdout  # as asked for
    with relay:
        try:
            yield int(relay.stdout.readline())
        finally:
            relay.stdin.close()
            relay.wait(TIMEOUT_S)


def times(benchmark_network: BenchmarkNetwork, runs: int) -> None:
    """Measure and print the seconds to a notebook."""
    endpoints: dict[str, Measured] = {
        "jupyter alone, without SSH": benchmark_network.bare_jupyter,
        "fab up": benchmark_network.up,
        "the same steps with ssh, in a script": benchmark_network.with_openssh,
    }
    for endpoint in endpoints.values():  # once for the caches
        endpoint()
    values: dict[str, list[float]] = {name: [] for name in endpoints}
    for run in range(runs):
        names = deque(endpoints)
        names.rotate(run)
        for name in names:
            values[name].append(endpoints[name]())
    print(f"\nseconds to the first good answer, of {runs} runs")
    print(f"  {'':40} median    best   best against the first")
    first = min(next(iter(values.values())))
    for name, seconds in values.items():
        best = min(seconds)
        median = statistics.median(seconds)
        print(f"  {name:40} {median:6.2f}  {best:6.2f}   x {best / first:.2f}  {best - first:+.2f}")


def round_trips(benchmark_network: BenchmarkNetwork, runs: int) -> None:
    """Measure and print how many round trips on the gateway's leg each command waits for."""
    fresh = {"fab up until an answer, no server runs": benchmark_network.up}
    again = {
        "fab up --detach, the server runs": benchmark_network.up_again,
        "fab up until ready, the server runs": benchmark_network.up_in_foreground,
        "ssh -J gateway host true": benchmark_network.jump,
    }
    values: dict[tuple[str, int], list[float]] = {}

    def measure(endpoints: dict[str, Measured]) -> None:
        for _ in range(runs):
            for milliseconds, port in ports.items():
                benchmark_network.use_gateway_port(port)
                for name, endpoint in endpoints.items():
                    values.setdefault((name, milliseconds), []).append(endpoint())

    gateway = benchmark_network.network.gateway.port
    with delayed(gateway, 0) as near, delayed(gateway, ROUND_TRIP_MS) as far:
        ports = {0: near, ROUND_TRIP_MS: far}
        measure(fresh)
        benchmark_network.fab("serve")
        measure(again)
        benchmark_network.fab("stop", "--all")
    print(f"\nround trips on the gateway's leg, from the best of {runs} at 0 and {ROUND_TRIP_MS} ms")
    for name in (*again, *fresh):
        # What disturbs a run makes it longer, so the shortest tells most of the line.
        near_s, far_s = (min(values[name, milliseconds]) for milliseconds in ports)
        count = (far_s - near_s) * 1000 / ROUND_TRIP_MS
        print(f"  {name:40} {count:6.1f}  {near_s:.2f} s, {far_s:.2f} s")


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured (default: 5)")
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
