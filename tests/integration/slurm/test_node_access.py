"""The three ways to the node of a job, each with the same story from `up` through a gateway and a login node to a
kernel on the node, and to `stop`; and how one is chosen.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import command_line
from tests.kit.machines import Machine
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.slurm.nodes import node_sshd, silent_port, without_sshd
from tests.kit.slurm.site import ClusterUser
from tests.kit.wait import wait_until

PASSWORD = "a password of the tests"
STATE = ".local/state/notebooks-over-ssh"
LOOPBACK_IN_PROC = "0100007F"
PYTHON = "/usr/bin/python3"
# Prints the argument lists of the processes that belong to the user ID.
PRINT_COMMAND_LINES = (
    PYTHON,
    "-c",
    """
import os, sys
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat("/proc/" + name).st_uid == int(sys.argv[1]):
            print(open("/proc/%s/cmdline" % name).read().replace("\\0", " "))
    except OSError:
        pass
""",
)
# Fails if one of the paths can be listed.
FAIL_TO_LIST = ("sh", "-c", 'for path; do ! ls "$path" || exit 1; done', "sh")
# Prints the status code of the answer.
REQUEST = (
    PYTHON,
    "-c",
    """
import ssl, sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], context=ssl._create_unverified_context()).status)
except urllib.error.HTTPError as error:
    print(error.code)
""",
)
DESCRIPTIONS = {
    "ssh": "gpu1 is reached by its own SSH server (ssh)",
    "sshd": "gpu1 is reached by an sshd in a step of the job (sshd)",
    "srun": "gpu1 is reached by programs in steps of the job (srun)",
}


@pytest.fixture(params=["ssh", "sshd", "srun"])
def way(request: pytest.FixtureRequest, cluster_user: ClusterUser) -> Iterator[str]:
    """A way that the settings force, or the first that works for sshd; only what it needs is on the node."""
    way: str = request.param
    with ExitStack() as stack:
        if way == "ssh":
            stack.enter_context(node_sshd(cluster_user.site, "gpu1"))
        if way == "srun":
            stack.enter_context(without_sshd(cluster_user.cluster.nodes["gpu1"]))
        configure(cluster_user, "auto" if way == "sshd" else way)
        yield way


def configure(user: ClusterUser, way: str) -> None:
    """Run servers on gpu1, and reach it in this way."""
    job = {"partition": "gpu", "gpus": 1}
    user.configure(notebook={"launcher": "slurm", "node_access": way, "job": job}, timeouts={"connect": 5})


def test_server_in_a_job(way: str, cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """`up` leads to a kernel in a job with a GPU, logs are read there and `doctor` passes, while another account of the
    login node and the node reaches and reads nothing; a closed tunnel leaves no step, and `stop` leaves nothing.
    """
    up = cluster_user.fab("up", "--detach", "--password-file", "-", stdin=PASSWORD)
    port = port_in(assert_success(up))
    assert cluster_user.record("gpu1")["job"]["access"] == way
    session = cluster_user.only_session()
    assert (session["host"], session["server"], session["job_state"]) == ("gpu1", "running", "running")
    assert cluster_user.cluster.active_jobs(cluster_user.account) == [str(session["job"])]
    assert 0 < session["job_seconds_left"] <= 600
    with Browser(port, cluster_user.certificate_pem("gpu1")) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            code = "import os; print(os.uname().nodename, os.environ['CUDA_VISIBLE_DEVICES'])"
            assert kernel.run(code).text == "gpu1 0\n"
            assert_closed_to(another_cluster_user, cluster_user, session["job"], session["remote_port"])
    assert "Serving notebooks" in assert_success(cluster_user.fab("logs")).stdout
    doctor = assert_success(cluster_user.fab("doctor")).stdout
    assert DESCRIPTIONS[way] in doctor
    assert "all checks passed" in doctor
    (record,) = cluster_user.sessions.glob("*.tunnel.json")
    psutil.Process(json.loads(record.read_text())["pid"]).terminate()
    wait_until(lambda: steps(cluster_user) == {"batch"}, "only the batch script runs")
    stopped = assert_success(cluster_user.fab("stop")).stdout
    assert "stopped the server on gpu1" in stopped
    assert "ended job" in stopped
    assert cluster_user.cluster.active_jobs(cluster_user.account) == []
    cluster_user.wait_until_empty()
    assert cluster_user.status() == []
    assert [path.name for path in (cluster_user.account.home / STATE / "jobs").iterdir()] == ["lock"]


@pytest.mark.parametrize("way", ["ssh"], indirect=True)
def test_cancelled_job(way: str, cluster_user: ClusterUser) -> None:
    """The tunnel ends with the job and says why, also where the connection to the node outlives it."""
    assert_success(cluster_user.fab("up", "--detach", "--password-file", "-", stdin=PASSWORD))
    assert_ends_with_its_job(cluster_user)
    assert_success(cluster_user.fab("stop"))


def assert_ends_with_its_job(user: ClusterUser) -> None:
    """When the job is cancelled, the tunnel ends and says why."""
    job = str(user.only_session()["job"])
    assert_success(user.ssh("scancel", job))
    wait_until(lambda: not Tunnel(user).record(), "the tunnel has ended")
    assert user.only_session()["tunnel"] == "closed"
    assert f"job {job} was cancelled" in Tunnel(user).log()


def steps(user: ClusterUser) -> set[str]:
    """The names of the steps of the user's jobs."""
    words = ("squeue", "--steps", "--noheader", "--format=%j", f"--user={user.account.name}")
    return set(user.cluster.login.run(*words).stdout.split())


def assert_closed_to(other: ClusterUser, user: ClusterUser, job: int, remote_port: int) -> None:
    """Another account, on the login node and in a job on the node, can neither reach nor read what the user has."""
    machines = {"login": user.cluster.login, "gpu1": user.cluster.nodes["gpu1"]}
    listeners = {name: listening(machine, user) for name, machine in machines.items()}
    assert listeners["login"] == set()
    assert {address for address, _ in listeners["gpu1"]} == {LOOPBACK_IN_PROC}
    assert (LOOPBACK_IN_PROC, remote_port) in listeners["gpu1"]
    jobs = user.account.home / STATE / "jobs"
    (folder,) = [path for path in jobs.iterdir() if path.is_dir()]
    assert folder.stat().st_mode & 0o777 == 0o700
    private = [path for path in folder.iterdir() if path.suffix != ".pub"]
    assert [path.name for path in private if path.stat().st_mode & 0o077] == []
    key = (folder / "host_key").read_text().splitlines()[1]
    arguments = [" ".join(command_line(process)) for process in user.account.processes()]
    assert not any(key in line for line in arguments)
    secrets = [
        PASSWORD,
        *(line for path in folder.glob("host_key") for line in path.read_text().split("\n")[1:-2]),
    ]
    on_node = ("srun", "--partition=gpu", "--quiet")
    for prefix in ((), on_node):
        paths = (folder / "host_key", folder / "request", user.account.home / ".jupyter")
        assert_success(other.ssh(*prefix, *FAIL_TO_LIST, *map(str, paths)))
        seen = assert_success(other.ssh(*prefix, *PRINT_COMMAND_LINES, str(user.account.uid))).stdout
        assert ("jupyter" in seen) == (prefix == on_node)
        assert not any(secret in seen for secret in secrets)
    assert other.ssh("srun", f"--jobid={job}", "--overlap", "true").returncode != 0
    answer = other.ssh(*on_node, *REQUEST, f"https://localhost:{remote_port}/api/contents")
    assert assert_success(answer).stdout.strip() == "403"


def listening(machine: Machine, user: ClusterUser) -> set[tuple[str, int]]:
    """Where the user's processes on the machine listen: IPv4 address (hexadecimal, as in proc(5)) and port.

    Without srun: for each step it has ports to which the node connects, and which accept what Slurm has signed.
    """
    sockets = {
        os.readlink(link)
        for process in machine.processes("srun")
        for link in Path(f"/proc/{process.pid}/fd").iterdir()
        if link.is_symlink()
    }
    rows = [line.split() for line in machine.run("cat", "/proc/net/tcp").stdout.splitlines()[1:]]
    return {
        (row[1][:8], int(row[1][9:], 16))
        for row in rows
        if row[3] == "0A" and row[7] == str(user.account.uid) and f"socket:[{row[9]}]" not in sockets
    }


def test_ways_that_fail(cluster_user: ClusterUser) -> None:
    """A way that hangs and one that is missing are left for the next, and not tried again; forced, each is an error.
    `doctor` says why a way fails, and whether the node has the login node's home folder. The tunnel ends with the job,
    also by srun.
    """
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    node = cluster_user.cluster.nodes["gpu1"]
    with silent_port(cluster_user.site, "gpu1") as connections, without_sshd(node):
        configure(cluster_user, "auto")
        assert_success(cluster_user.fab("serve"))
        assert cluster_user.record("gpu1")["job"]["access"] == "srun"
        assert len(connections) == 1
        assert "Serving notebooks" in assert_success(cluster_user.fab("logs")).stdout
        assert len(connections) == 1
        configure(cluster_user, "ssh")
        assert_error(cluster_user.fab("logs"), 3, "gpu1 through login did not answer within")
        configure(cluster_user, "sshd")
        result = assert_error(cluster_user.fab("stop"), 6, "gpu1 has no program sshd")
        assert "stop --force" in result.stderr
        configure(cluster_user, "auto")
        doctor = assert_success(cluster_user.fab("doctor")).stdout
        assert DESCRIPTIONS["srun"] in doctor
        assert "not by ssh: gpu1 through login did not answer within" in doctor
        assert "not by sshd: gpu1 has no program sshd" in doctor
        assert "; the home folder is the same" in doctor
        assert_another_home(cluster_user, node)
        assert_success(cluster_user.fab("tunnel", "--detach"))
        assert_ends_with_its_job(cluster_user)
        assert_success(cluster_user.fab("stop"))


def assert_another_home(user: ClusterUser, node: Machine) -> None:
    """`doctor` finds a node with another home folder than the login node."""
    node.run("mount", "-t", "tmpfs", "none", str(user.account.home))
    try:
        failed = user.fab("doctor", "--json")
    finally:
        node.run("umount", str(user.account.home))
    assert_error(failed, 6, "the home folder on gpu1 is not that on login", "share")
    assert json.loads(failed.stdout)[-1]["check"] == "node"


def test_other_machine_in_place_of_the_node(cluster_user: ClusterUser) -> None:
    """What answers at the node's name with a key that the job did not find there gets no login, in whatever way."""
    with node_sshd(cluster_user.site, "gpu1", is_public=False) as server:
        configure(cluster_user, "ssh")
        result = cluster_user.fab("up", "--detach", "--password-file", "-", stdin=PASSWORD)
        assert_error(result, 5, "the host key of gpu1")
        assert "stop --force" in assert_error(cluster_user.fab("stop"), 5, "the host key of gpu1").stderr
        configure(cluster_user, "auto")
        assert_success(cluster_user.fab("serve"))
        assert cluster_user.record("gpu1")["job"]["access"] == "sshd"
        assert server.logins() == 0
        assert_success(cluster_user.fab("stop"))


def test_site_that_wants_a_job(cluster_user: ClusterUser) -> None:
    """Where a node lets in only users with a job on it (pam_slurm), the server's job opens it until its end."""
    with node_sshd(cluster_user.site, "gpu1", needs_job=True) as server:
        configure(cluster_user, "ssh")
        assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
        with (cluster_user.home / ".ssh" / "known_hosts").open("a") as known_hosts:
            known_hosts.write(f"gpu1 {server.public_key}\n")
        config = str(cluster_user.home / ".ssh" / "config")
        log_in = ["ssh", "-F", config, "-J", "login", "gpu1", "true"]
        assert cluster_user.execute(log_in).returncode != 0
        assert_success(cluster_user.fab("serve"))
        assert cluster_user.record("gpu1")["job"]["access"] == "ssh"
        assert_success(cluster_user.execute(log_in))
        assert_success(cluster_user.fab("stop"))
        assert cluster_user.execute(log_in).returncode != 0
