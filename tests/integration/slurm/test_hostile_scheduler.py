"""Slurm's commands answer with what nobody expects: each is one line with a hint, and no job is lost or left."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.kit.cli import assert_error, assert_success
from tests.kit.slurm.site import ClusterUser
from tests.kit.wait import wait_until

PASSWORD = "a password of the tests"
JOBS = ".local/state/notebooks-over-ssh/jobs"
# What a command prints, and what is said of it. The last bytes would clear a terminal and forge an error.
GARBAGE = r"printf '\033[2J\007x\nerror: lost\n'"
ANSWERS = {
    "head -c 10000000 /dev/zero": "does not stop printing",
    "yes": "does not stop printing",
    "yes >&2": "does not stop printing",
    GARBAGE: "can be read",
    f"{GARBAGE} >&2; exit 1": "error: lost",
}


@contextmanager
def _replaced(user: ClusterUser, command: str, script: str) -> Iterator[None]:
    """During the body, the command of the login node is the script, for this user."""
    program = user.account.write(f"programs/{command}", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    user.account.write(".bashrc", 'PATH="$HOME/programs:$PATH"\n')
    try:
        yield
    finally:
        program.unlink()


def _assert_one_line(user: ClusterUser, text: str, *words: str) -> None:
    """The command fails with one line of error that has the text, and a hint."""
    result = assert_error(user.fab(*words), 6, text)
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["error", "hint"]
    assert len(result.stderr) < 1000
    assert "\x1b" not in result.stdout + result.stderr


def test_partitions(cluster_user: ClusterUser) -> None:
    """`clusters.partitions` has a message for each wrong answer of scontrol and sinfo."""
    for script, text in ANSWERS.items():
        with _replaced(cluster_user, "scontrol", script):
            _assert_one_line(cluster_user, text, "clusters.partitions")
    with _replaced(cluster_user, "sinfo", "yes"):
        _assert_one_line(cluster_user, '"sinfo" on login does not stop printing', "clusters.partitions")
    with _replaced(cluster_user, "squeue", "yes debug"):
        assert "not shown" in assert_success(cluster_user.fab("clusters.partitions")).stdout


def test_queue(cluster_user: ClusterUser) -> None:
    """A job that sbatch submits is found also if sbatch then prints nonsense, and one that it does not is no job. While
    Slurm answers nonsense, `serve` and `stop` refuse to go on, and `status` shows what is known. Afterwards the job is
    still the only one, and is stopped as any other.
    """
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    submit = 'PATH=/usr/bin:/bin; sbatch "$@" >/dev/null || exit 1'
    with _replaced(cluster_user, "sbatch", f"{submit}; yes"):
        served = assert_success(cluster_user.fab("serve", "--slurm", "--partition", "debug"))
    (job,) = cluster_user.cluster.active_jobs(cluster_user.account)
    assert f"submitted job {job}" in served.stdout
    assert str(cluster_user.only_session()["job"]) == job
    for script, text in ANSWERS.items():
        with _replaced(cluster_user, "scontrol", script):
            _assert_one_line(cluster_user, text, "stop")
            cluster_user.forget_queries()
            assert f"last known: job {job}\n" in assert_success(cluster_user.fab("status")).stdout
    huge = f"JobId={'9' * 40} JobState=RUNNING StartTime={'9' * 40} EndTime={'9' * 40}"
    with _replaced(cluster_user, "scontrol", f"echo '{huge}'"):
        assert cluster_user.only_session()["job_state"] == "ended"
    with _replaced(cluster_user, "squeue", GARBAGE):
        _assert_one_line(cluster_user, "can be read", "serve")
    assert cluster_user.cluster.active_jobs(cluster_user.account) == [job]
    assert_success(cluster_user.fab("stop"))
    with _replaced(cluster_user, "sbatch", GARBAGE):
        _assert_one_line(cluster_user, "sbatch on login refused the job", "serve", "--slurm")
    assert cluster_user.status() == []
    assert cluster_user.cluster.active_jobs(cluster_user.account) == []
    assert [path.name for path in (cluster_user.account.home / JOBS).iterdir()] == ["lock"]


def test_hostile_jobs(cluster_user: ClusterUser, another_cluster_user: ClusterUser) -> None:
    """Real jobs with names that look like a line about a job of ours are none, whoever has submitted them."""
    assert_success(cluster_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
    token = "0123456789abcdef"  # it is no secret
    name = "notebooks-over-ssh"
    folder = cluster_user.account.home / JOBS / token
    forged = (
        f"x\n999|{cluster_user.account.uid}|RUNNING|None|1|1:00|node1|{name}|{name} {token}|{folder}\n\x1b[2J"
    )
    for user in (cluster_user, another_cluster_user):
        job = user.submit("--hold", f"--job-name={forged}", f"--comment={forged}")
        assert "\n999|" in user.ssh("squeue", "--format=%j", f"--jobs={job}").stdout
    assert_success(cluster_user.fab("serve", "--slurm", "--partition", "debug"))
    session = cluster_user.only_session()
    assert (session["job_state"], session["job"] != 999) == ("running", True)
    assert_success(cluster_user.fab("stop"))
    assert cluster_user.cluster.active_jobs(cluster_user.account) == [str(session["job"] - 2)]
    for user in (cluster_user, another_cluster_user):
        user.cluster.cancel_all(user.account)
    wait_until(lambda: cluster_user.status() == [], "nothing is on record")
