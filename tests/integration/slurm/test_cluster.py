"""The tests' own cluster is like a real one: jobs of users on nodes that only Slurm reaches."""

import contextlib
import os
import shlex
import sys
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import Result, assert_success
from tests.kit.slurm.cluster import Cluster, skip_unless_supported
from tests.kit.slurm.site import ClusterUser
from tests.kit.sshd import make_key, sshd
from tests.kit.wait import wait_until

# Listens on a free port of the loopback, and writes it to a file.
LISTEN = """
import pathlib, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(str(listener.getsockname()[1]))
path.with_suffix(".new").rename(path)
while True:
    listener.accept()[0].sendall(b"from the job")
"""
CONNECT = """
import socket, sys
print(socket.create_connection(("127.0.0.1", int(sys.argv[1]))).recv(100).decode())
"""


def _processes_in(namespaces: set[str]) -> list[int]:
    """The processes of these process ID namespaces."""
    pids = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):  # it ended meanwhile
            if os.readlink(f"/proc/{process.pid}/ns/pid") in namespaces:
                pids.append(process.pid)
    return pids


def _mount_points() -> set[Path]:
    return {Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()}


def test_nothing_is_left(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, packages: Path) -> None:
    """After a cluster is closed, also with a running job, no process of its machines, mount or interface is left."""
    skip_unless_supported()
    interfaces, mount_points = set(os.listdir("/sys/class/net")), _mount_points()
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = Cluster(folder, packages)
    try:
        cluster.start()
        user = cluster.account().name
        job = cluster.login.run("su", user, "-c", "cd; sbatch --parsable --wrap 'sleep 1000'").stdout.strip()
        cluster.wait_until_job(job, "RUNNING")
        machines = (cluster.gateway, cluster.login, *cluster.nodes.values())
        namespaces = {os.readlink(f"/proc/{machine.pid}/ns/pid") for machine in machines}
        assert len(namespaces) == len(machines)
        assert _processes_in(namespaces)
    finally:
        cluster.close()
    wait_until(lambda: not _processes_in(namespaces), "no process is left")
    assert set(os.listdir("/sys/class/net")) == interfaces
    tests = tmp_path_factory.getbasetemp().parent
    new = _mount_points() - mount_points
    assert new == {path for path in new if path.is_relative_to(tests) and not path.is_relative_to(tmp_path)}
    assert user not in Path("/etc/passwd").read_text()


def test_loopback_of_a_node(cluster_user: ClusterUser) -> None:
    """A port on the loopback of a job's node is reached from the job, and not from the login node."""
    home = cluster_user.account.home
    program = shlex.join([sys.executable, "-c", LISTEN, str(home / "port")])
    job = cluster_user.submit("--partition=gpu", "--gres=gpu:1", script=f"hostname >name\n{program}")
    wait_until((home / "port").exists, "the job listens")
    connect = [sys.executable, "-c", CONNECT, (home / "port").read_text()]
    in_job = cluster_user.ssh("srun", "--overlap", f"--jobid={job}", *connect)
    on_login_node = cluster_user.ssh(*connect)
    assert (home / "name").read_text() == "gpu1\n"
    assert assert_success(in_job).stdout == "from the job\n"
    assert "ConnectionRefusedError" in on_login_node.stderr
    assert_success(cluster_user.ssh("scancel", job))
    cluster_user.cluster.wait_until_job(job, "CANCELLED")


def _sshd_in_job(user: ClusterUser, folder: Path) -> Path:
    """The configuration of an sshd that lets only `user` in."""
    folder.mkdir(mode=0o700)
    make_key(folder / "host_key")
    (folder / "authorized_keys").write_text(user.key.with_suffix(".pub").read_text())
    configuration = folder / "sshd_config"
    configuration.write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "UsePAM no\nStrictModes no\nPidFile none\nPasswordAuthentication no\n"
    )
    user.account.own(folder, *folder.iterdir())
    return configuration


def _ssh_into_job(user: ClusterUser, job: str, configuration: Path, *words: str) -> Result:
    """Run a program in a job, over SSH to an sshd that srun starts there."""
    step = ["srun", "--overlap", "--unbuffered", "--quiet", f"--jobid={job}"]
    proxy = user.ssh_command(*step, sshd(), "-i", "-f", str(configuration))
    return user.execute(
        [
            *["ssh", "-F", str(user.home / ".ssh" / "config"), "-o", "StrictHostKeyChecking=no"],
            *["-o", f"ProxyCommand={shlex.join(proxy)}", "-o", "UserKnownHostsFile=/dev/null"],
            *["in-job", shlex.join(words)],
        ]
    )


def test_ssh_into_a_job(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """An sshd that srun starts gives the job's owner a shell in it, with its GPU; another user cannot enter the job."""
    configuration = _sshd_in_job(cluster_user, cluster_user.account.home / "sshd")
    job = cluster_user.submit("--partition=gpu", "--gres=gpu:2")
    cluster_user.cluster.wait_until_job(job, "RUNNING")
    owner = _ssh_into_job(cluster_user, job, configuration, "sh", "-c", "hostname; id -un")
    others_configuration = _sshd_in_job(another_cluster_user, another_cluster_user.account.home / "sshd")
    other = _ssh_into_job(another_cluster_user, job, others_configuration, "hostname")
    assert_success(cluster_user.ssh("scancel", job))
    assert assert_success(owner).stdout == f"gpu1\n{cluster_user.account.name}\n"
    assert other.returncode != 0
    assert other.stdout == ""
    assert "srun: error" in other.stderr


def test_preemption_requeues(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """A job in `urgent` takes the node of one in `debug`, which is requeued and runs again."""
    cluster = cluster_user.cluster
    with cluster_user.running_job("--nodelist=node1", "--exclusive", "--requeue") as job:
        urgent = ("--partition=urgent", "--nodelist=node1", "--exclusive")
        with another_cluster_user.running_job(*urgent):
            assert cluster.job(job)["JobState"] == "PENDING"
        cluster.wait_until_job(job, "RUNNING")
        assert cluster.job(job)["Restarts"] == "1"


def test_power_failure(cluster_user: ClusterUser) -> None:
    """A job whose node loses its power ends as NODE_FAIL, and the repaired node takes jobs again."""
    cluster = cluster_user.cluster
    job = cluster_user.submit("--nodelist=node2", "--no-requeue")
    cluster.wait_until_job(job, "RUNNING")
    cluster.power_off("node2")
    cluster.wait_until_job(job, "NODE_FAIL")
    cluster.repair()
    job = cluster_user.submit("--nodelist=node2", script="true")
    cluster.wait_until_job(job, "COMPLETED")


def test_time_limit(cluster_user: ClusterUser) -> None:
    """`end_in` lets a job end as one that reached its time limit."""
    cluster = cluster_user.cluster
    job = cluster_user.submit()
    cluster.wait_until_job(job, "RUNNING")
    cluster.end_in(job, 2)
    cluster.wait_until_job(job, "TIMEOUT")


def test_restarted_controller(cluster_user: ClusterUser) -> None:
    """While slurmctld is stopped its clients fail; a new one knows the jobs that run and wait."""
    cluster = cluster_user.cluster
    running = cluster_user.submit("--nodelist=node1", "--exclusive")
    cluster.wait_until_job(running, "RUNNING")
    waiting = cluster_user.submit("--nodelist=node1", "--exclusive")
    cluster.stop_daemon(cluster.login, "slurmctld")
    assert "Unable to contact slurm controller" in cluster_user.ssh("squeue").stderr
    cluster.restart_controller()
    cluster.wait_until_job(running, "RUNNING")
    assert cluster.job(waiting)["JobState"] == "PENDING"
    cluster.cancel_all(cluster_user.account)
