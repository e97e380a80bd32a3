"""With `--renew-job` the tunnel submits another job when the cluster has ended the last one, and keeps its address."""

from typing import Any

from tests.kit.cli import assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.slurm.site import ClusterUser
from tests.kit.wait import TIMEOUT_S, wait_until

PASSWORD = "a password of the tests"
NEW_SERVER = "forwards to the new server"


def _use_kernel(user: ClusterUser, port: int, node: str) -> None:
    """Log in with the password at the tunnel's port, which has the certificate on record, and run a kernel."""
    with Browser(port, user.certificate_pem(node)) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            assert kernel.run("import os; print(os.uname().nodename)").text == f"{node}\n"


def _wait_for_another_server(user: ClusterUser, number: int, before: dict[str, Any]) -> dict[str, Any]:
    """Wait until the tunnel is open to the new server of that number, other than the one before; returns its status."""
    tunnel = Tunnel(user)
    wait_until(
        lambda: tunnel.log().count(NEW_SERVER) == number and tunnel.record()["state"] == "open",
        "the tunnel leads to another server",
        2 * TIMEOUT_S,
    )
    session = user.only_session()
    assert session["pid"] not in (None, before["pid"])
    assert session["tunnel"] == "open"
    return session


def test_renewed(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """After the time limit, a requeue and a preemption there is another server at the same address, with the same
    certificate and password; status, logs and stop follow it.
    """
    cluster = cluster_user.cluster
    words = ("up", "--slurm", "--detach", "--renew-job", "--time", "5", "--password-file", "-")
    port = port_in(assert_success(cluster_user.fab(*words, stdin=PASSWORD)))
    first = cluster_user.only_session()
    _use_kernel(cluster_user, port, first["host"])

    logins = set(cluster_user.site.gateway.children())
    # The limit is a minute away when Slurm sends its signal.
    cluster.end_in(str(first["job"]), 60)
    second = _wait_for_another_server(cluster_user, 1, first)
    assert logins <= set(cluster_user.site.gateway.children()), "nobody had to log in again"
    assert second["job"] > first["job"]
    assert (second["local_port"], second["certificate_sha256"]) == (port, first["certificate_sha256"])
    assert 0 < second["job_seconds_left"] <= 300, "the options of the first job are those of the next"
    _use_kernel(cluster_user, port, second["host"])
    assert cluster.active_jobs(cluster_user.account) == [str(second["job"])]

    cluster.scontrol("update", f"JobId={second['job']}", "Requeue=1")
    cluster.scontrol("requeue", str(second["job"]))
    third = _wait_for_another_server(cluster_user, 2, second)
    assert third["job"] == second["job"]
    _use_kernel(cluster_user, port, third["host"])
    cluster.scontrol("update", f"JobId={third['job']}", "Requeue=0")

    urgent = ("--partition=urgent", "--nodes=2", "--exclusive")
    with another_cluster_user.running_job(*urgent):
        wait_until(
            lambda: Tunnel(cluster_user).log().count("submitted job") == 2, "the next job is submitted"
        )
        wait_until(lambda: cluster_user.only_session()["job_state"] == "queued", "the next job is queued")
        waiting = cluster_user.only_session()
        assert (waiting["tunnel"], waiting["local_port"]) == ("reconnecting", port)
        assert waiting["job"] > third["job"]
    fourth = _wait_for_another_server(cluster_user, 3, third)
    _use_kernel(cluster_user, port, fourth["host"])
    assert "Serving notebooks" in assert_success(cluster_user.fab("logs")).stdout

    (log,) = cluster_user.sessions.glob("*.tunnel.log")
    text = log.read_text()
    for line in (
        f"job {first['job']} was ended by a signal of Slurm, at its time limit or for another job; its kernels are",
        f"submitted job {second['job']} on login",
        f"job {third['job']} was ended for a job with a higher priority; its kernels are gone",
        f"forwards to the new server at {fourth['host']}:{fourth['remote_port']}, where kernels are new",
    ):
        assert line in text
    assert f"stopped the server on {fourth['host']}" in assert_success(cluster_user.fab("stop")).stdout
    assert cluster_user.status() == []
    assert cluster.active_jobs(cluster_user.account) == []
    jobs = cluster_user.account.home / ".local/state/notebooks-over-ssh/jobs"
    assert [path.name for path in jobs.iterdir()] == ["lock"]


def test_interrupt_while_waiting(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """While the tunnel waits for the next job, Ctrl-C asks whether to cancel that."""
    cluster = cluster_user.cluster
    words = ("up", "--slurm", "--renew-job", "--partition", "gpu")
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    with cluster_user.at_terminal("fab", *words) as terminal:
        terminal.expect("ctrl-c closes the tunnel")
        blocking = another_cluster_user.submit("--partition=gpu", "--exclusive")
        cluster.end_in(str(cluster_user.only_session()["job"]), 1)
        terminal.expect("its time limit.*; its kernels are gone, the address stays")
        terminal.expect("is queued: it waits for free resources")
        terminal.interrupt()
        terminal.expect(r"cancel its job too\? \[y/N\]")
        terminal.type("y")
        terminal.expect(r"cancelled queued job \d+")
        assert terminal.end() == 0
    assert cluster_user.status() == []
    assert cluster.active_jobs(cluster_user.account) == []
    assert cluster.active_jobs(another_cluster_user.account) == [blocking]
    cluster.cancel_all(another_cluster_user.account)
