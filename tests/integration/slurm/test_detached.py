"""`up --detach` does not wait for a queue: a background process does, and opens the tunnel when the job has started."""

from collections.abc import Callable

from tests.kit.cli import assert_error, assert_success
from tests.kit.jupyter_client import Browser
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.slurm.site import ClusterUser
from tests.kit.wait import TIMEOUT_S, wait_until

PASSWORD = "a password of the tests"
UP = ("up", "--slurm", "--detach", "--partition", "gpu", "--password-file", "-")


def _wait_for_state(user: ClusterUser, state: str | None) -> None:
    """Wait until the tunnel's record has this state, or there is none; every command queries Slurm itself meanwhile."""

    def has_state() -> bool:
        user.forget_queries()
        return Tunnel(user).record().get("state") == state

    _wait_until(user, has_state, f"the tunnel is {state or 'closed'}")


def _wait_until(user: ClusterUser, condition: Callable[[], object], description: str) -> None:
    """Wait for a condition, through long pauses between two queries of Slurm. The AssertionError has the log."""
    try:
        wait_until(condition, description, 2 * TIMEOUT_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{Tunnel(user).log()}") from None


def test_queued(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """The command returns with the address while the job is queued; `status` shows both. Another `up` keeps the
    address, a lost connection loses nothing, and the tunnel leads to the server when that runs.
    """
    with another_cluster_user.running_job("--partition=gpu", "--exclusive"):
        another_cluster_user.submit("--partition=gpu", "--exclusive")
        port = free_port()
        local_port = ("--local-port", str(port))
        up = assert_success(cluster_user.fab(*UP, *local_port, stdin=PASSWORD))
        assert "1 ahead of it" in up.stdout
        waiting = cluster_user.only_session()
        job = waiting["job"]
        assert f"opens when job {job} starts, in the background: https://localhost:{port}/" in up.stdout
        assert (waiting["job_state"], waiting["tunnel"]) == ("queued", "waiting")
        status = assert_success(cluster_user.fab("status")).stdout
        assert f"the tunnel opens when the job starts: https://localhost:{port}/" in status
        for words in (UP, ("tunnel", "--detach")):
            again = assert_success(cluster_user.fab(*words, *local_port, stdin=PASSWORD))
            assert f"https://localhost:{port}/" in again.stdout
        plan = assert_success(cluster_user.fab("--dry", "tunnel", "--detach")).stdout
        assert f"would wait for job {job} in the background" in plan
        assert_error(cluster_user.fab("tunnel"), 1, f"job {job} has no server on record yet")
        assert cluster_user.cluster.active_jobs(cluster_user.account) == [str(job)]
        for login in cluster_user.site.gateway.children():
            login.kill()
        tunnel = Tunnel(cluster_user)
        _wait_until(cluster_user, lambda: "reconnected after" in tunnel.log(), "the connection is replaced")
        assert cluster_user.only_session()["tunnel"] == "waiting"
    _wait_for_state(cluster_user, "open")
    session = cluster_user.only_session()
    assert session["tunnel"] == "open"
    assert (session["job"], session["local_port"], session["host"]) == (job, port, "gpu1")
    with Browser(port, cluster_user.certificate_pem("gpu1")) as browser:
        assert browser.log_in(PASSWORD)
    assert_success(cluster_user.fab("stop"))
    assert cluster_user.status() == []


def test_ended_while_queued(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """`stop` cancels the job and ends the background process; nothing is left of either. When the job is cancelled
    elsewhere, the background process says so and ends, and submits no other.
    """
    with another_cluster_user.running_job("--partition=gpu", "--exclusive"):
        assert_success(cluster_user.fab(*UP, stdin=PASSWORD))
        session = cluster_user.only_session()
        stopped = assert_success(cluster_user.fab("stop")).stdout
        assert f"closed the tunnel on port {session['local_port']}" in stopped
        assert f"cancelled queued job {session['job']} on login" in stopped
        assert "server" not in stopped
        assert cluster_user.status() == []
        assert cluster_user.cluster.active_jobs(cluster_user.account) == []

        assert_success(cluster_user.fab(*UP, stdin=PASSWORD))
        job = cluster_user.only_session()["job"]
        assert_success(cluster_user.ssh("scancel", str(job)))
        _wait_for_state(cluster_user, None)
        assert cluster_user.only_session()["tunnel"] == "closed"
        assert f"job {job} was cancelled" in Tunnel(cluster_user).log()
        assert cluster_user.cluster.active_jobs(cluster_user.account) == []
        assert_success(cluster_user.fab("stop"))
