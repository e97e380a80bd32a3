"""A server in a job while Slurm, its nodes or its jobs fail: each ends with one clear line, and nothing is left."""

from tests.kit.cli import assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser, busy_kernel
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.slurm.site import ClusterUser
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S, wait_until


def _up(user: ClusterUser, *arguments: str) -> int:
    """Start the server in a job, with a tunnel in the background; returns the tunnel's port."""
    words = ("up", "--slurm", "--detach", "--password-file", "-", *arguments)
    return port_in(assert_success(user.fab(*words, stdin=PASSWORD)))


def _stop(user: ClusterUser, *arguments: str) -> None:
    """Stop it; nothing is left of it then."""
    assert_success(user.fab("stop", *arguments))
    assert user.status() == []
    assert user.cluster.active_jobs(user.account) == []
    user.wait_until_empty()


def _wait_for_closed_tunnel(user: ClusterUser) -> None:
    # Slurm takes up to half a minute to give up a node, and a step that it never starts as long again.
    wait_until(lambda: not Tunnel(user).record(), "the tunnel has ended", 2 * TIMEOUT_S)
    assert user.only_session()["tunnel"] == "closed"


def _tunnel_log(user: ClusterUser) -> str:
    """What the tunnel in the background has written."""
    (log,) = user.sessions.glob("*.log")
    return log.read_text()


def test_controller_restarts_while_queued(
    cluster_user: ClusterUser, another_cluster_user: ClusterUser
) -> None:
    """`serve` waits through an outage of slurmctld, and says so; its job then starts as any other."""
    cluster = cluster_user.cluster
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    with (
        another_cluster_user.running_job("--partition=gpu", "--exclusive"),
        cluster_user.at_terminal("fab", "serve", "--slurm", "--partition", "gpu") as terminal,
    ):
        terminal.expect(r"it waits for free resources \(Resources\)")
        cluster.stop_daemon(cluster.login, "slurmctld")
        terminal.expect("Unable to contact slurm controller")
        cluster.restart_controller()
        terminal.expect(r"it waits for free resources \(Resources\)")
        cluster.cancel_all(another_cluster_user.account)
        terminal.expect("is running on gpu1, port")
        assert terminal.end() == 0
    _stop(cluster_user)


def test_daemons_down_while_running(cluster_user: ClusterUser) -> None:
    """An open tunnel goes on without slurmctld; nothing is started then, `serve` and `stop` say that Slurm does not
    answer, and nothing is lost: later the job is found. So it is without munge on the login node. Right after its
    restart slurmctld does not know its nodes yet, and `stop` works all the same.
    """
    cluster = cluster_user.cluster
    port = _up(cluster_user)
    before = cluster_user.only_session()
    cluster.stop_daemon(cluster.login, "slurmctld")
    with Browser(port, cluster_user.certificate_pem(before["host"])) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            assert kernel.run("print(6 * 7)").text == "42\n"
    session = cluster_user.only_session()
    assert (session["job"], session["tunnel"]) == (before["job"], "open")
    assert f"last known: job {before['job']}\n" in assert_success(cluster_user.fab("status")).stdout
    assert_error(cluster_user.fab("serve"), 6, "Unable to contact slurm controller")
    cluster.repair()
    assert f"found job {before['job']} on login" in assert_success(cluster_user.fab("serve")).stdout
    cluster.stop_daemon(cluster.login, "munged")
    assert_error(cluster_user.fab("stop"), 6, "Munge")
    assert cluster_user.only_session()["job"] == before["job"]
    cluster.start_daemon(cluster.login, "munged")
    cluster.stop_daemon(cluster.login, "slurmctld")
    assert_error(cluster_user.fab("stop"), 6, "Unable to contact slurm controller")
    cluster.start_daemon(cluster.login, "slurmctld")
    _stop(cluster_user)


def test_taken_away(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """When somebody cancels the job, the tunnel ends and says why, as do all commands, and none takes its place, also
    with `--renew-job`; another `up` submits another. When that has to go for a job with a higher priority, it is
    reported as that, and not started twice.
    """
    _up(cluster_user, "--renew-job")
    session = cluster_user.only_session()
    job = str(session["job"])
    assert_success(cluster_user.ssh("scancel", job))
    _wait_for_closed_tunnel(cluster_user)
    assert cluster_user.cluster.active_jobs(cluster_user.account) == []
    assert f"job {job} was cancelled" in _tunnel_log(cluster_user)
    _assert_ended(cluster_user, "was cancelled")
    assert_error(cluster_user.fab("tunnel", "--detach"), 1, f"job {job} was cancelled")
    assert "Serving notebooks" in assert_success(cluster_user.fab("logs")).stdout

    _up(cluster_user)
    session = cluster_user.only_session()
    assert str(session["job"]) != job
    urgent = ("--partition=urgent", f"--nodelist={session['host']}", "--exclusive")
    with another_cluster_user.running_job(*urgent):
        _wait_for_closed_tunnel(cluster_user)
        _assert_ended(cluster_user, "was ended for a job with a higher priority")
    _stop(cluster_user)


def _assert_ended(user: ClusterUser, description: str) -> None:
    """`status` says that the server has stopped with its job, and why."""
    session = user.only_session()
    assert session["job_description"] == description
    assert (session["server"], session["job_state"], session["job_seconds_left"]) == (
        "stopped",
        "ended",
        None,
    )


def test_node_dies(cluster_user: ClusterUser) -> None:
    """When the job's node dies, the tunnel ends and says why; another `up` starts on another node. While no step can
    be started in a job there, `stop --force` still cancels it, and no process is left.
    """
    _up(cluster_user)
    session = cluster_user.only_session()
    cluster_user.cluster.power_off(session["host"])
    _wait_for_closed_tunnel(cluster_user)
    assert f"job {session['job']} was lost with its node" in _tunnel_log(cluster_user)
    _assert_ended(cluster_user, "was lost with its node")
    _up(cluster_user)
    second = cluster_user.only_session()
    assert second["host"] != session["host"]
    assert second["job"] != session["job"]

    node = cluster_user.cluster.nodes[second["host"]]
    cluster_user.cluster.stop_daemon(node, "slurmd")
    assert_error(cluster_user.fab("stop"), 3, "stop --force` cancels the job")
    forced = cluster_user.fab("stop", "--force")
    cluster_user.cluster.start_daemon(node, "slurmd")
    assert_success(forced)
    _stop(cluster_user)


def test_home_is_not_shared(cluster_user: ClusterUser) -> None:
    """On a node without the user's home folder the job cannot start, and the hint is to look there."""
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    node, homes = cluster_user.cluster.nodes["gpu1"], str(cluster_user.cluster.homes)
    node.run("mount", "-t", "tmpfs", "none", homes)
    try:
        result = cluster_user.fab("serve", "--slurm", "--partition", "gpu")
    finally:
        node.run("umount", homes)
    assert_error(result, 6, "could not be started on its node", "home folder")
    assert cluster_user.status() == []
    assert cluster_user.cluster.active_jobs(cluster_user.account) == []


def test_job_ends_during_stop(cluster_user: ClusterUser) -> None:
    """`stop` succeeds if the job ends first, which closes the connection to its node before the reply."""
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    cluster_user.configure(notebook={"launcher": "slurm", "node_access": "sshd"})
    with busy_kernel(cluster_user), cluster_user.at_terminal("fab", "stop") as terminal:
        job = str(cluster_user.only_session()["job"])
        terminal.expect("a kernel is busy")
        cluster_user.cluster.login.run("scancel", job)
        wait_until(lambda: not cluster_user.cluster.active_jobs(cluster_user.account), "the job has ended")
        terminal.type("y")
        terminal.expect(f"ended job {job}")
        assert terminal.end() == 0
    _stop(cluster_user)
