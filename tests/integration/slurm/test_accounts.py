"""On a cluster with accounting, a job that the user's account does not allow is refused with what to do."""

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.slurm.accounting import ACCOUNT, AccountedCluster
from tests.kit.slurm.site import ClusterUser
from tests.kit.wait import wait_until

PASSWORD = "a password of the tests"


@pytest.fixture
def cluster(accounted_user: ClusterUser) -> AccountedCluster:
    """The cluster of the user, whose server is secured."""
    assert isinstance(accounted_user.cluster, AccountedCluster)
    assert_success(accounted_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    return accounted_user.cluster


def test_wrong_account(accounted_user: ClusterUser, cluster: AccountedCluster) -> None:
    """An account that the user does not have is refused with that reason, and with the right one the job runs."""
    accounted_user.configure(notebook={"launcher": "slurm", "job": {"account": "elsewhere"}})
    assert_error(accounted_user.fab("serve"), 6, "Invalid account", "notebook.job.account")
    assert accounted_user.status() == []
    accounted_user.configure(notebook={"launcher": "slurm", "job": {"account": ACCOUNT}})
    assert_success(accounted_user.fab("serve"))
    job = str(accounted_user.only_session()["job"])
    assert cluster.job(job)["Account"] == ACCOUNT
    assert_success(accounted_user.fab("stop"))


def test_full_queue(accounted_user: ClusterUser, cluster: AccountedCluster) -> None:
    """With as many jobs as the account allows (MaxSubmitJobs), another is refused, and nothing is left of it."""
    cluster.set_limit(accounted_user.account, "MaxSubmitJobs", 1)
    with accounted_user.running_job() as job:
        assert_error(accounted_user.fab("serve", "--slurm"), 6, "submit limit", "squeue --me")
        assert cluster.active_jobs(accounted_user.account) == [job]
    assert accounted_user.status() == []


def test_limit_of_running_jobs(accounted_user: ClusterUser, cluster: AccountedCluster) -> None:
    """With as many running jobs as the account allows (MaxJobs), another waits, and its reason is said in words."""
    cluster.set_limit(accounted_user.account, "MaxJobs", 1)
    with accounted_user.running_job(), accounted_user.at_terminal("fab", "serve", "--slurm") as terminal:
        terminal.expect(r"your account has as many running jobs as it may \(AssocMaxJobsLimit\)")
        terminal.interrupt()
        terminal.expect("cancel it?")
        terminal.type("y")
        terminal.expect("cancelled job")
        terminal.end()
    wait_until(lambda: accounted_user.status() == [], "nothing is on record")
