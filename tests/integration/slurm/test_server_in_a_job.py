"""The server as a Slurm job on a real cluster: from `up` through a gateway and a login node to a kernel on a node."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success, interrupt, kill, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.slurm.site import ClusterUser
from tests.kit.wait import TIMEOUT_S, wait_until

PASSWORD = "a password of the tests"
INTERRUPTED = 130
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
    doctor = assert_success(cluster_user.fab("doctor"))
    assert "gpu1 is reached by an sshd in a step of the job" in doctor.stdout
    assert "all checks passed" in doctor.stdout
    stopped = assert_success(cluster_user.fab("stop"))
    assert "stopped the server on gpu1" in stopped.stdout
    assert cluster_user.cluster.active_jobs(cluster_user.account) == []
    cluster_user.wait_until_empty()
    assert cluster_user.status() == []
    jobs = cluster_user.account.home / STATE / "jobs"
    assert [path.name for path in jobs.iterdir()] == ["lock"]


def _listening_addresses(user: ClusterUser, node: str, port: int) -> set[str]:
    """The IPv4 addresses (hexadecimal, as in proc(5)) on which something on the node listens at the port."""
    rows = [
        line.split() for line in user.cluster.nodes[node].run("cat", "/proc/net/tcp").stdout.splitlines()[1:]
    ]
    return {row[1][:8] for row in rows if row[3] == "0A" and int(row[1][9:], 16) == port}


def _secure(user: ClusterUser) -> None:
    assert_success(user.fab("secure", "--password-file", "-", stdin=PASSWORD))


def _serve(user: ClusterUser, *arguments: str) -> str:
    """Start the server in a job; returns the job's number."""
    assert_success(user.fab("serve", "--slurm", *arguments))
    return str(user.only_session()["job"])


def test_one_job_for_two_machines(cluster_user: ClusterUser, tmp_path: Path) -> None:
    """A second `serve` finds the running job, without the flag, and also from another machine with its own key."""
    _secure(cluster_user)
    job = _serve(cluster_user, "--partition", "debug")
    again = assert_success(cluster_user.fab("serve"))
    assert f"found job {job} on login" in again.stdout
    assert "is already running on" in again.stdout
    home = tmp_path / "second machine"
    home.mkdir()
    shutil.copytree(cluster_user.home / ".ssh", home / ".ssh")
    shutil.copy(cluster_user.home / ".invoke.yaml", home)
    second = replace(cluster_user, home=home)
    assert f"found job {job} on login" in assert_success(second.fab("serve", "--slurm")).stdout
    assert cluster_user.cluster.active_jobs(cluster_user.account) == [job]
    assert_success(second.fab("stop"))
    assert cluster_user.only_session()["job_state"] == "ended"
    assert_success(cluster_user.fab("stop"))


def test_queued(cluster_user: ClusterUser) -> None:
    """A queued job is shown with its reason, stays queued after Ctrl-C, and starts when its node is free. What one
    command has seen of it serves others for a while: `status` costs Slurm's controller nothing then.
    """
    _secure(cluster_user)
    blocking = cluster_user.submit("--partition=gpu", "--exclusive")
    cluster_user.cluster.wait_until_job(blocking, "RUNNING")
    with cluster_user.running("fab", "serve", "--slurm", "--partition", "gpu") as process:
        assert process.stdout
        line = next(line for line in process.stdout if "(Resources)" in line)
        interrupt(process)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    session = cluster_user.only_session()
    before = cluster_user.cluster.count_requests()
    assert_success(cluster_user.fab("status"))
    assert cluster_user.cluster.count_requests() == before
    assert session["job_state"] == "queued"
    assert (
        f"job {session['job']} is queued: it waits for free resources (Resources), 0 ahead of it; waited"
        in line
    )
    assert f"job {session['job']} stays queued" in errors
    cluster_user.cluster.login.run("scancel", blocking)
    served = assert_success(cluster_user.fab("serve"))
    assert f"found job {session['job']} on login" in served.stdout
    assert "is running on gpu1" in served.stdout
    assert_success(cluster_user.fab("stop"))


def test_cancel_a_queued_job(cluster_user: ClusterUser) -> None:
    """At a terminal, Ctrl-C asks whether to cancel a queued job, whose estimated start is shown."""
    _secure(cluster_user)
    blocking = cluster_user.submit("--partition=gpu", "--exclusive")
    cluster_user.cluster.wait_until_job(blocking, "RUNNING")
    with cluster_user.at_terminal("fab", "serve", "--slurm", "--partition", "gpu") as terminal:
        terminal.expect("is queued: it waits for free resources")
        terminal.interrupt()
        terminal.expect(r"cancel it\? \[y/N\]")
        terminal.type("n")
        terminal.expect("stays queued")
        assert terminal.end() == INTERRUPTED
    cluster_user.forget_queries()
    with cluster_user.at_terminal("fab", "serve", "--slurm") as terminal:
        terminal.expect(r"is queued: it waits for free resources.*; Slurm expects to start it in \d+ min")
        terminal.interrupt()
        terminal.expect(r"cancel it\? \[y/N\]")
        terminal.type("y")
        terminal.expect(r"cancelled job \d+")
        assert terminal.end() == INTERRUPTED
    assert cluster_user.status() == []
    assert cluster_user.cluster.active_jobs(cluster_user.account) == [blocking]
    cluster_user.cluster.cancel_all(cluster_user.account)


@pytest.mark.parametrize(
    ("arguments", "text", "hint"),
    [
        (("--partition", "nowhere"), "Invalid partition name", "notebook.job.partition"),
        (("--partition", "debug", "--gpus", "1"), "sbatch on login refused the job", "notebook.job"),
        (("--partition", "limited", "--time", "30"), "will not start: its time limit", "notebook.job.time"),
    ],
)
def test_refused_job(cluster_user: ClusterUser, arguments: tuple[str, ...], text: str, hint: str) -> None:
    """A job that Slurm refuses, or would never start, is one line with a hint, and nothing of it is left."""
    _secure(cluster_user)
    result = assert_error(cluster_user.fab("serve", "--slurm", *arguments), 6, text)
    assert hint in result.stderr
    assert cluster_user.status() == []
    assert cluster_user.cluster.active_jobs(cluster_user.account) == []
    assert [path.name for path in (cluster_user.account.home / STATE / "jobs").iterdir()] == ["lock"]


def test_failed_start(cluster_user: ClusterUser) -> None:
    """A server that cannot start in the job is reported as on a host, and no job is left."""
    _secure(cluster_user)
    cluster_user.configure(notebook={"launcher": "slurm", "environment": "missing"})
    result = assert_error(cluster_user.fab("serve"), 6, "has no environment called missing")
    assert "mlp" in result.stderr
    assert cluster_user.status() == []
    wait_until(lambda: not cluster_user.cluster.active_jobs(cluster_user.account), "no job is left")


@pytest.mark.parametrize("ending", ["cancelled", "time limit", "server stopped", "node failed"])
def test_ended(cluster_user: ClusterUser, ending: str) -> None:
    """The end of the job is reported as what it was, and `serve` submits another job."""
    _secure(cluster_user)
    cluster = cluster_user.cluster
    job = _serve(cluster_user, "--partition", "debug")
    session = cluster_user.only_session()
    match ending:
        case "cancelled":
            cluster.login.run("scancel", job)
            description = "was cancelled"
        case "time limit":
            cluster.end_in(job, 1)
            description = "its time limit"
        case "server stopped":
            cluster.nodes[session["host"]].run("kill", str(session["pid"]))
            description = "has ended"
        case _:
            cluster.power_off(session["host"])
            description = "was lost with its node"
    wait_until(lambda: description in (cluster_user.only_session()["job_description"] or ""), description)
    ended = cluster_user.only_session()
    assert (ended["server"], ended["job_state"]) == ("stopped", "ended")
    cluster.repair()
    assert _serve(cluster_user, "--partition", "debug") != job
    assert_success(cluster_user.fab("stop"))


def test_controller_down(cluster_user: ClusterUser) -> None:
    """Without Slurm's controller nothing is started, and that is said; the job that it forgot is found later."""
    _secure(cluster_user)
    job = _serve(cluster_user, "--partition", "debug")
    cluster_user.cluster.stop_daemon(cluster_user.cluster.login, "slurmctld")
    assert_error(cluster_user.fab("serve"), 6, "Unable to contact slurm controller")
    cluster_user.cluster.repair()
    assert _serve(cluster_user) == job
    assert_success(cluster_user.fab("stop"))


def test_other_accounts(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """Another user cannot read the job's files, and the keys are in no argument list."""
    _secure(cluster_user)
    _serve(cluster_user, "--partition", "debug")
    jobs = cluster_user.account.home / STATE / "jobs"
    (folder,) = [path for path in jobs.iterdir() if path.is_dir()]
    assert folder.stat().st_mode & 0o777 == 0o700
    private = [path for path in folder.iterdir() if path.suffix != ".pub"]
    assert [path.name for path in private if path.stat().st_mode & 0o077] == []
    assert another_cluster_user.ssh("cat", str(folder / "host_key")).returncode != 0
    key = (folder / "host_key").read_text().splitlines()[1]
    arguments = [" ".join(process.cmdline()) for process in cluster_user.account.processes()]
    assert not any(key in line for line in arguments)
    assert_success(cluster_user.fab("stop"))


def test_login_node(cluster_user: ClusterUser) -> None:
    """Without `--slurm` a login node is recognized: at a terminal a question comes first, otherwise a warning."""
    _secure(cluster_user)
    with cluster_user.at_terminal("fab", "serve") as terminal:
        terminal.expect(r"login seems to be a login node of a Slurm cluster: run the server on it\? \[y/N\]")
        terminal.type("n")
        terminal.expect("so nothing was started")
        terminal.expect("serve --slurm")
        assert terminal.end() == 1
    assert cluster_user.status() == []
    assert "serve --slurm` runs the server as a job" in assert_success(cluster_user.fab("serve")).stderr
    assert cluster_user.only_session()["host"] == "login"
    assert_success(cluster_user.fab("stop"))
    cluster_user.configure(notebook={"launcher": "host"})
    assert assert_success(cluster_user.fab("serve")).stderr == ""
    assert_success(cluster_user.fab("stop"))


def test_tunnel_to_a_job_that_ends(cluster_user: ClusterUser) -> None:
    """Before the job's time limit its tunnel warns; then it ends with that message, and does not try for ever."""
    _secure(cluster_user)
    job = _serve(cluster_user, "--partition", "debug")
    with cluster_user.running("fab", "tunnel") as process:
        wait_until(lambda: cluster_user.only_session()["tunnel"] == "open", "the tunnel is open")
        cluster_user.cluster.end_in(job, 1)
        output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, output
    assert "the job's time limit is in 9 min: save your work" in output
    assert "its time limit" in errors
    assert_success(cluster_user.fab("stop"))


def _pending(user: ClusterUser) -> list[Path]:
    """The records of starts whose result is not known."""
    return list(user.sessions.glob("*.pending.json"))


def test_interrupted_submission(cluster_user: ClusterUser) -> None:
    """A job whose number did not reach this machine is shown by `status`, and cancelled by `stop`."""
    _secure(cluster_user)
    blocking = cluster_user.submit("--partition=gpu", "--exclusive")
    cluster_user.cluster.wait_until_job(blocking, "RUNNING")
    with cluster_user.running("fab", "serve", "--slurm", "--partition", "gpu") as process:
        wait_until(
            lambda: any('"token"' in path.read_text() for path in _pending(cluster_user)),
            "the job is on record",
        )
        kill(process.pid)
    (path,) = _pending(cluster_user)
    record = json.loads(path.read_text())
    job = record["job"]["id"]
    path.write_text(json.dumps(record | {"job": None}))
    session = cluster_user.only_session()
    assert (session["job"], session["job_state"]) == (job, "queued")
    assert f"cancelled queued job {job}" in assert_success(cluster_user.fab("stop")).stdout
    assert cluster_user.cluster.active_jobs(cluster_user.account) == [blocking]
    assert cluster_user.status() == []
    cluster_user.cluster.cancel_all(cluster_user.account)
