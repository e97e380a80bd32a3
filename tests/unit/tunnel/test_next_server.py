"""When a tunnel submits another job, and when it gives up."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.config.job import sbatch_options
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.launchers.base import Job, JobEndedError, JobFound, JobState, NotStartedError
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.tunnel import next_server
from notebooks_over_ssh.tunnel.next_server import MAX_SUBMISSIONS, NextServer, settings_of_restart
from tests.kit.sessions import make_session

LOGIN = cast(Any, SimpleNamespace(label="login"))


class Cluster:
    """A cluster on which the job is in `state`. Each job that is submitted ends before its server is ready."""

    def __init__(self) -> None:
        self.state = JobState(make_job(1), "ended", "reached its time limit", is_renewable=True)
        self.submitted: list[list[str]] = []
        self.removed: list[Job] = []

    def start(self, login: object, configuration: Settings, confirm: Any) -> Iterator[JobFound]:
        if self.state.phase == "ended":
            confirm(ConfirmationRequest("login", is_login_node=True))
            self.submitted.append(configuration.notebook.job.sbatch_arguments)
            self.state = self.state._replace(job=make_job(1 + len(self.submitted)))
            assert self.state.job
            yield JobFound(self.state.job, is_new=True)
        raise NotStartedError("the job has ended")


def make_job(number: int) -> Job:
    return Job(
        id=number,
        cluster="",
        token=f"{number:016x}",
        submitted="2026-01-01T00:00:00Z",
        options=["--gpus=1"],
    )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster of the tests."""
    cluster = Cluster()
    monkeypatch.setattr(next_server, "server", cluster)
    monkeypatch.setattr(next_server, "job_state", lambda session, login: cluster.state)
    monkeypatch.setattr(next_server, "stop_job", lambda session, login: cluster.removed.append(session.job))
    return cluster


@pytest.fixture
def session() -> Session:
    """A session on record, with a job."""
    session = make_session(launcher="slurm", job=make_job(1))
    sessions.save(session)
    return session


def make_next(session: Session, *, renew: bool = True) -> NextServer:
    flags: dict[str, Any] = {"job.renew": renew, "job.partition": "cheap"}
    return NextServer(session, settings.load(Context(), **flags))


def test_bounded(cluster: Cluster, session: Session) -> None:
    """A few jobs with the options of the first are submitted and recorded; when all have ended, the tunnel gives up."""
    renewal = make_next(session)
    for _ in range(MAX_SUBMISSIONS - 1):
        with pytest.raises(NotStartedError):
            list(renewal.start(LOGIN))
        assert sessions.reload(session).job == cluster.state.job
    with pytest.raises(TaskError, match="the job has ended"):
        list(renewal.start(LOGIN))
    assert cluster.submitted == [["--gpus=1"]] * MAX_SUBMISSIONS
    assert cluster.removed == [make_job(number + 1) for number in range(MAX_SUBMISSIONS)]


@pytest.mark.parametrize(("renew", "is_renewable"), [(False, True), (True, False)])
def test_no_other_job(cluster: Cluster, session: Session, *, renew: bool, is_renewable: bool) -> None:
    """None is submitted unless that is wanted, nor for a job that the user or the server has ended."""
    cluster.state = cluster.state._replace(is_renewable=is_renewable)
    with pytest.raises(JobEndedError, match="job 1 reached its time limit"):
        list(make_next(session, renew=renew).start(LOGIN))
    assert cluster.submitted == []


def test_ends_meanwhile(cluster: Cluster, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queued job that is gone when it is queried is not replaced before it is known how it ended."""
    queued = cluster.state._replace(phase="queued")
    monkeypatch.setattr(next_server, "job_state", lambda session, login: queued)
    with pytest.raises(RemoteError, match="has ended meanwhile"):
        list(make_next(session).start(LOGIN))
    assert cluster.submitted == []


def test_settings_of_a_restart(session: Session) -> None:
    """A restarted server has a job like the last one, with what the command's flags ask for instead."""
    flags: dict[str, Any] = {"job.gpus": "2", "job.time": "8:00:00"}
    restarted = settings_of_restart(session, settings.load(Context(), **flags))
    assert restarted.notebook.launcher == "slurm"
    assert sbatch_options(restarted.notebook.job) == ["--time=8:00:00", "--gpus=2"]
    assert sbatch_options(settings_of_restart(session, settings.load(Context())).notebook.job) == ["--gpus=1"]
