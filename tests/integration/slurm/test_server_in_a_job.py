"""The server as a Slurm job on a real cluster: how it is submitted, found, cancelled and refused, and how it ends."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from tests.kit.cli import assert_error, assert_success, interrupt, kill
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.slurm.site import ClusterUser
from tests.kit.wait import TIMEOUT_S, wait_until

PASSWORD = "a password of the tests"
INTERRUPTED = 130
STATE = ".local/state/notebooks-over-ssh"


def _secure(user: ClusterUser) -> None:
    assert_success(user.fab("secure", "--password-file", "-", stdin=PASSWORD))


def _serve(user: ClusterUser, *arguments: str) -> str:
    """Start the server in a job; returns the job's number."""
    assert_success(user.fab("serve", "--slurm", *arguments))
    return str(user.only_session()["job"])


def _assert_ended(user: ClusterUser, description: str) -> None:
    """`status` says that the server has stopped with its job, and why."""
    session = user.only_session()
    assert (session["server"], session["job_state"]) == ("stopped", "ended")
    assert description in session["job_description"]


def test_one_job_for_two_machines(cluster_user: ClusterUser, tmp_path: Path) -> None:
    """A second `serve` finds the running job, without the flag, and also from another machine with its own key. When
    the server has stopped, `serve` submits another job.
    """
    _secure(cluster_user)
    first = _serve(cluster_user, "--partition", "debug")
    session = cluster_user.only_session()
    cluster_user.cluster.nodes[session["host"]].run("kill", str(session["pid"]))
    cluster_user.cluster.wait_until_job(first, "COMPLETED", "FAILED", "CANCELLED")
    _assert_ended(cluster_user, "has ended")
    job = _serve(cluster_user, "--partition", "debug")
    assert job != first
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


def _pending(user: ClusterUser) -> list[Path]:
    """The records of starts whose result is not known."""
    return list(user.sessions.glob("*.pending.json"))


def test_cancel_a_queued_job(cluster_user: ClusterUser) -> None:
    """At a terminal, Ctrl-C asks whether to cancel a queued job, whose estimated start is shown. A job whose number did
    not reach this machine is shown by `status`, and cancelled by `stop`.
    """
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


def test_refused_job(cluster_user: ClusterUser) -> None:
    """A job that Slurm refuses, or would never start, is one line with a hint, and nothing of it is left. A server that
    cannot start in its job is reported as on a host, and no job is left.
    """
    _secure(cluster_user)
    for arguments, text, hint in (
        (("--partition", "nowhere"), "Invalid partition name", "notebook.job.partition"),
        (("--partition", "debug", "--gpus", "1"), "sbatch on login refused the job", "notebook.job"),
        (("--partition", "limited", "--time", "30"), "will not start: its time limit", "notebook.job.time"),
    ):
        result = assert_error(cluster_user.fab("serve", "--slurm", *arguments), 6, text)
        assert hint in result.stderr
        assert cluster_user.status() == []
        assert cluster_user.cluster.active_jobs(cluster_user.account) == []
        assert [path.name for path in (cluster_user.account.home / STATE / "jobs").iterdir()] == ["lock"]
    cluster_user.configure(notebook={"launcher": "slurm", "environment": "missing"})
    result = assert_error(cluster_user.fab("serve"), 6, "has no environment called missing")
    assert "mlp" in result.stderr
    assert cluster_user.status() == []
    wait_until(lambda: not cluster_user.cluster.active_jobs(cluster_user.account), "no job is left")


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
    """Before the job's time limit its tunnel warns; then it ends with that message, and does not try for ever.
    `status` reports the end as what it was, and `serve` submits another job.
    """
    _secure(cluster_user)
    job = _serve(cluster_user, "--partition", "debug")
    with cluster_user.running("fab", "tunnel") as process:
        Tunnel(cluster_user).wait_for("open")
        assert cluster_user.only_session()["tunnel"] == "open"
        cluster_user.cluster.end_in(job, 1)
        output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, output
    assert "the job's time limit is in 9 min: save your work" in output
    assert "its time limit" in errors
    _assert_ended(cluster_user, "its time limit")
    assert _serve(cluster_user, "--partition", "debug") != job
    assert_success(cluster_user.fab("stop"))
