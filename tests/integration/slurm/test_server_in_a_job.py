"""The server as a Slurm job on a real cluster: from `up` through a gateway and a login node to a kernel on a node."""

from tests.kit.cli import assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.slurm.site import ClusterUser

PASSWORD = "a password of the tests"
STATE = ".local/state/notebooks-over-ssh"


def test_server_with_a_gpu(cluster_user: ClusterUser) -> None:
    """`up` leads to a kernel in a job with a GPU; its server listens on the loopback only; `stop` leaves nothing."""
    up = cluster_user.fab(
        *("up", "--slurm", "--partition", "gpu", "--gpus", "1", "--detach", "--password-file", "-"),
        stdin=PASSWORD,
    )
    session = cluster_user.only_session()
    assert (session["host"], session["server"], session["job_state"]) == ("gpu1", "running", "running")
    assert cluster_user.cluster.active_jobs(cluster_user.account) == [str(session["job"])]
    assert 0 < session["job_seconds_left"] <= 600
    with Browser(port_in(assert_success(up)), cluster_user.certificate_pem("gpu1")) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            code = "import os; print(os.uname().nodename, os.environ['CUDA_VISIBLE_DEVICES'])"
            assert kernel.run(code).text == "gpu1 0\n"
    addresses = _listening_addresses(cluster_user, "gpu1", session["remote_port"])
    assert addresses == {"0100007F"}
    assert "Serving notebooks" in assert_success(cluster_user.fab("logs")).stdout
    stopped = assert_success(cluster_user.fab("stop"))
    assert "stopped the server on gpu1" in stopped.stdout
    assert cluster_user.cluster.active_jobs(cluster_user.account) == []
    assert cluster_user.cluster.processes(cluster_user.account) == {}
    assert cluster_user.status() == []
    jobs = cluster_user.account.home / STATE / "jobs"
    assert [path.name for path in jobs.iterdir()] == ["lock"]


def _listening_addresses(user: ClusterUser, node: str, port: int) -> set[str]:
    """The IPv4 addresses (hexadecimal, as in proc(5)) on which something on the node listens at the port."""
    rows = [
        line.split() for line in user.cluster.nodes[node].run("cat", "/proc/net/tcp").stdout.splitlines()[1:]
    ]
    return {row[1][:8] for row in rows if row[3] == "0A" and int(row[1][9:], 16) == port}
