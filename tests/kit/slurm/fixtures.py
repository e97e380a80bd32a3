"""The fixtures of the Slurm cluster: `slurm_site` once for each worker, `cluster_user` and `another_cluster_user` for
each test; `accounted_user` for a test of accounts and their limits.

    def test_jobs_run_on_a_node(cluster_user: ClusterUser) -> None:
        job = cluster_user.submit("--partition=gpu", "--gres=gpu:1", script="hostname")
        cluster_user.cluster.wait_until_job(job, "COMPLETED")

`cluster_user.fab("up", ...)` goes through the gateway (127.0.0.1) to the host `login`, where sbatch, squeue and srun
are. `cluster_user.configure(notebook={...})` changes the settings. `cluster_user.account.home` is the home folder that
all machines of the cluster share. Partitions, nodes and limits are in `configuration.py`; verbs for faults are methods
of `Cluster`. A test may break the cluster: it is repaired after each test. A job or process that a test leaves fails
it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.leaks import command_line
from tests.kit.slurm import accounting
from tests.kit.slurm.accounting import AccountedCluster
from tests.kit.slurm.cluster import PROGRAMS, Cluster, skip_unless_supported
from tests.kit.slurm.site import ClusterUser, Site, create_user
from tests.kit.sshd import terminate_all
from tests.kit.wait import wait_until

LEFT_TIMEOUT_S = 10.0


@pytest.fixture(scope="session")
def slurm_site(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[Site]:
    """A cluster of a login node and three nodes, behind a gateway."""
    skip_unless_supported()
    with _site(Cluster(tmp_path_factory.mktemp("slurm"), packages)) as site:
        yield site


@pytest.fixture(scope="session")
def accounted_site(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[Site]:
    """As `slurm_site`, with accounting. It takes about ten seconds to start."""
    skip_unless_supported(accounting.PROGRAMS | PROGRAMS)
    with _site(AccountedCluster(tmp_path_factory.mktemp("accounted"), packages)) as site:
        yield site


@contextlib.contextmanager
def _site(cluster: Cluster) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.close)
        cluster.start()
        site = Site(cluster)
        stack.callback(site.close)
        site.start()
        yield site


@pytest.fixture
def cluster_user(slurm_site: Site, tmp_path: Path, temporary: Path) -> Iterator[ClusterUser]:
    """A user with an account, who has no job and no process on the cluster, and must have none after the test."""
    with _user(slurm_site, tmp_path / "home", temporary) as user:
        yield user


@pytest.fixture
def another_cluster_user(slurm_site: Site, tmp_path: Path, temporary: Path) -> Iterator[ClusterUser]:
    """Another one."""
    with _user(slurm_site, tmp_path / "other_home", temporary) as user:
        yield user


@pytest.fixture
def accounted_user(accounted_site: Site, tmp_path: Path, temporary: Path) -> Iterator[ClusterUser]:
    """A user of `accounted_site`."""
    with _user(accounted_site, tmp_path / "home", temporary) as user:
        yield user


@contextlib.contextmanager
def _user(site: Site, home: Path, temporary: Path) -> Iterator[ClusterUser]:
    home.mkdir()
    user = create_user(site, home, temporary)
    try:
        yield user
    finally:
        site.cluster.repair()
        if user.sessions.exists() and list(user.sessions.iterdir()):
            user.fab("stop", "--all", "--force")
        user.end_logins()
        left = _left(user)
        terminate_all(user.account.processes())
        site.cluster.cancel_all(user.account)
    assert not left, f"left on the cluster: {left}"


def _left(user: ClusterUser) -> str:
    """The jobs and processes of the user that do not end by themselves."""

    def describe() -> str:
        jobs = user.cluster.active_jobs(user.account)
        processes = {
            machine: [command_line(process)[:1] for process in processes]
            for machine, processes in user.cluster.processes(user.account).items()
        }
        return f"jobs {jobs}, processes {processes}" if jobs or processes else ""

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not describe(), "nothing is left", LEFT_TIMEOUT_S)
    return describe()
