"""Measures what a server in a Slurm job costs: requests to Slurm's controller, and the time until it is ready.

    uv run python -m benchmarks.slurm [--runs N] [--statuses N] [--queued SECONDS] [--simulated HOURS]

It runs as root, on the Slurm cluster of the tests: a gateway, a login node that is also the controller, and nodes, all
in namespaces of this machine. The controller itself counts the requests (sdiag(1)). Competitors take turns, so that a
slow moment affects all of them; compare times of one run only.
"""

import argparse
import contextlib
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notebooks_over_ssh.launchers.base import Job
from tests.kit.cli import assert_success
from tests.kit.remote_modules import FOLDER
from tests.kit.slurm.cluster import Cluster, skip_unless_supported
from tests.kit.slurm.simulated_queue import SimulatedQueue
from tests.kit.slurm.site import ClusterUser, Site, create_user
from tests.kit.sshd import prepare_packages, privsep_dir

TIMEOUT_S = 120.0
ALLOWED_INTERVAL_S = 30.0
"""The controller should get at most one request in this time from a user, on average."""
PASSWORD = "a password of the benchmark"  # noqa: S105 # only for the server of this run
JOBS = ".local/state/notebooks-over-ssh/jobs"
# Started by hand, as in a site's guide. The job's standard error is created when the job starts, and not written to.
BY_HAND = """\
cd mlpractical
exec {python} -m jupyter notebook --no-browser --port={port} >jupyter.log 2>&1
"""
PORT = 18888
STATUS_AGE_S = 35
BLOCKING = ("--partition=gpu", "--exclusive", "--time=60")
"""The job behind which others wait, for at most a quarter of an hour."""
# Prints the time at which a server answers on the port, in seconds since 1970. Runs on the node.
AWAIT_ANSWER = """
import http.client, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
while True:
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), timeout=5, context=context)
        connection.request("GET", "/api")
        connection.getresponse().read()
        break
    except OSError:
        time.sleep(0.01)
print(time.time())
"""


@contextlib.contextmanager
def cluster_user() -> Iterator[ClusterUser]:
    """A user of a new cluster, whose server is secured."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)
        stack.enter_context(privsep_dir())
        for name in ("packages", "slurm", "home", "temporary"):
            (folder / name).mkdir(mode=0o755)
        prepare_packages(folder / "packages")
        cluster = Cluster(folder / "slurm", folder / "packages")
        stack.callback(cluster.close)
        cluster.start()
        site = Site(cluster)
        stack.callback(site.close)
        site.start()
        user = create_user(site, folder / "home", folder / "temporary")
        user.configure(notebook={"launcher": "slurm", "job": {"partition": "gpu"}, "on_exit": "keep"})
        assert_success(user.fab("secure", "--password-file", "-", stdin=PASSWORD))
        try:
            yield user
        finally:
            assert_success(user.fab("stop", "--all", "--force"))


def requests_during(user: ClusterUser, body: Callable[[], object]) -> tuple[Counter[str], float]:
    """The requests that the controller has had from clients while the body ran, and the seconds that this took."""
    before, started_at = user.cluster.count_requests(), time.monotonic()
    body()
    elapsed_s = time.monotonic() - started_at
    counted = user.cluster.count_requests() - before
    # Those of the nodes are not the user's.
    return Counter({name: count for name, count in counted.items() if name.startswith("REQUEST")}), elapsed_s


def print_requests(name: str, requests: Counter[str], elapsed_s: float) -> None:
    """Print them, and for what takes long also their rate."""
    total = sum(requests.values())
    rate = f"  {total / elapsed_s * ALLOWED_INTERVAL_S:.2f} in {ALLOWED_INTERVAL_S:.0f} s"
    is_long = elapsed_s > 2 * ALLOWED_INTERVAL_S
    print(f"  {name:34} {total:4} requests in {elapsed_s:6.0f} s{rate if is_long else ''}")
    for kind, count in requests.most_common():
        print(f"    {kind:32} {count:4}")
    sys.stdout.flush()


def count_requests(user: ClusterUser, statuses: int, queued_s: float) -> None:
    """Count the requests of commands on a running job, and on a queued one while `up` waits for it."""

    def check_status(seconds: float) -> None:
        """Run the number of `status` in at least these seconds, at regular times."""
        started_at = time.monotonic()
        for number in range(statuses):
            due_at = started_at + seconds * number / statuses
            time.sleep(max(0.0, due_at - time.monotonic()))
            assert_success(user.fab("status"))

    def wait_in_queue() -> None:
        with user.running("fab", "up", PYTHONUNBUFFERED="1") as process:
            assert process.stdout
            assert "job" in next(line for line in process.stdout if "is queued" in line)
            check_status(queued_s)

    def run(*words: str) -> Callable[[], object]:
        return lambda: assert_success(user.fab(*words))

    print("\nrequests to Slurm's controller")
    print_requests("serve, free node", *requests_during(user, run("serve")))
    print_requests(f"{statuses} status, running job", *requests_during(user, lambda: check_status(0)))
    print_requests("stop, running job", *requests_during(user, run("stop")))
    with user.running_job(*BLOCKING):
        print_requests("up --detach, queued job", *requests_during(user, run("up", "--detach")))
        print_requests(f"{statuses} status, queued job", *requests_during(user, lambda: check_status(0)))
        print_requests("stop, queued job", *requests_during(user, run("stop")))
    with user.running_job(*BLOCKING):
        print_requests(f"up, and {statuses} status beside it", *requests_during(user, wait_in_queue))
        assert_success(user.fab("stop"))


def simulate_queue(user: ClusterUser, hours: float) -> None:
    """Count the requests for a job that is in the queue for hours, by a clock that every wait sets forward.

    A command waits for it, and `status` runs after each of its waits. The requests are real ones.
    """

    def import_remote(name: str) -> Any:
        return importlib.import_module(name)

    def wait_for_hours() -> None:
        started_at = queue.clock.now
        for state in queue.wait():
            assert state.phase == "queued"
            queue.status(STATUS_AGE_S)
            if queue.clock.now - started_at > hours * 3600:
                return

    def run_on_login_node(command: list[str]) -> tuple[int, str, list[str]]:
        result = user.cluster.login.run("env", "SLURM_TIME_FORMAT=%s", *command, check=False)
        return result.returncode, result.stdout, result.stderr.splitlines()

    token = "0123456789abcdef"  # noqa: S105 # it names a folder
    with pytest.MonkeyPatch.context() as patch, user.running_job(*BLOCKING):
        patch.syspath_prepend(FOLDER)
        patch.setenv("HOME", str(user.account.home))
        slurm = import_remote("slurm")
        patch.setattr(slurm, "run", run_on_login_node)
        patch.setattr(os, "getuid", lambda: user.account.uid)
        folder = user.account.home / JOBS / token
        assert_success(user.ssh("mkdir", "-p", "-m", "700", str(folder)))
        names = (f"--job-name={slurm.NAME}", f"--comment={slurm.comment(token)}", f"--chdir={folder}")
        number = user.submit("--partition=gpu", "--exclusive", *names)
        queue = SimulatedQueue(
            import_remote, patch, Job(id=int(number), cluster="", token=token, submitted="")
        )
        requests, _ = requests_during(user, wait_for_hours)
        print_requests(f"{hours:.0f} hours in a queue, simulated", requests, hours * 3600)


def by_hand(user: ClusterUser) -> float:
    """The seconds from the start of a job with Jupyter to the answer of that, on the node."""
    home = user.account.home
    error = home / "error"
    python = home / "miniconda3/envs/mlp/bin/python"
    job = user.submit("--partition=gpu", f"--error={error}", script=BY_HAND.format(python=python, port=PORT))
    try:
        return await_answer(user, PORT) - start_of(error)
    finally:
        user.cluster.login.run("scancel", job)
        user.cluster.cancel_all(user.account)
        error.unlink()


def by_fab(user: ClusterUser) -> float:
    """The seconds from the start of the job of `fab up` to its line `ready`."""
    with user.running("fab", "up", PYTHONUNBUFFERED="1") as process:
        assert process.stdout
        ready_line = next(line for line in process.stdout if line.startswith("ready"))
        ready_at = time.time()
        assert "https://" in ready_line
        error = max((user.account.home / JOBS).glob("*/log"), key=lambda path: path.stat().st_mtime)
        duration_s = ready_at - start_of(error)
    assert_success(user.fab("stop"))
    return duration_s


def await_answer(user: ClusterUser, port: int) -> float:
    """When a server answers on the port of the node."""
    result = user.cluster.nodes["gpu1"].run(sys.executable, "-c", AWAIT_ANSWER, str(port))
    return float(result.stdout)


def start_of(error: Path) -> float:
    """When the job started, whose standard error this is, in seconds since 1970."""
    assert error.stat().st_size == 0
    return error.stat().st_mtime


def times(user: ClusterUser, runs: int) -> None:
    """Measure and print the seconds from the start of the job until the server is ready."""
    competitors: dict[str, Callable[[ClusterUser], float]] = {"jupyter by hand": by_hand, "fab up": by_fab}
    for measure in competitors.values():  # a first run fills caches
        measure(user)
    values: dict[str, list[float]] = {name: [] for name in competitors}
    for run in range(runs):
        names = deque(competitors)
        names.rotate(run)
        for name in names:
            values[name].append(competitors[name](user))
    print(f"\nseconds from the start of the job to a server that is ready, {runs} runs")
    first = statistics.median(next(iter(values.values())))
    for name, seconds in values.items():
        median = statistics.median(seconds)
        print(f"  {name:34} median {median:5.2f}  best {min(seconds):5.2f}  {median - first:+.2f}")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each time (default: 5)")
    parser.add_argument("--statuses", type=int, default=200, help="how often status runs (default: 200)")
    parser.add_argument("--queued", type=float, default=300, help="seconds in the queue (default: 300)")
    parser.add_argument(
        "--simulated",
        type=float,
        default=6,
        help="hours in the queue by a clock that is set forward (default: 6)",
    )
    arguments = parser.parse_args()
    skip_unless_supported()
    with cluster_user() as user:
        if arguments.runs:
            times(user, arguments.runs)
        if arguments.statuses:
            count_requests(user, arguments.statuses, arguments.queued)
        if arguments.simulated:
            simulate_queue(user, arguments.simulated)


if __name__ == "__main__":
    main()
