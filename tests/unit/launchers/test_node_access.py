"""Which method to reach the node of a job is tried, in which order, and what is remembered of it."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from notebooks_over_ssh.config.schema import Notebook
from notebooks_over_ssh.errors import AuthenticationError, ConnectError, HostKeyError, RemoteError
from notebooks_over_ssh.launchers import node_access
from notebooks_over_ssh.launchers.base import Job, JobEndedError, JobState
from notebooks_over_ssh.launchers.node_access import AccessReply, NodeConnector

JOB = Job(id=12, cluster="", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z", node="n1")
NODE = SimpleNamespace(label="n1")


class Cluster:
    """A cluster on which only the methods in `working` lead to the node."""

    def __init__(self, *working: str) -> None:
        self.working = working
        self.tried: list[str] = []
        self.granted: list[list[str]] = []
        self.job_has_ended = False
        self.login: Any = SimpleNamespace(label="login", is_connected=True)
        self.errors: dict[str, Exception] = {
            "ssh": AuthenticationError("n1 refuses the login"),
            "sshd": ConnectError("n1 did not answer", detail=("srun: error: one", "srun: error: two")),
            "srun": RemoteError("n1 sent no valid reply"),
        }

    def current_job(self, login: object, job: Job, max_age_s: float = 0.0) -> Job:
        if self.job_has_ended:
            raise JobEndedError(JobState(job, "ended", "was cancelled"), hint="")
        return job

    def try_method(self, method: str) -> Any:
        self.tried.append(method)
        if method not in self.working:
            raise self.errors[method]
        return NODE

    def grant(self, login: object, job: Job, methods: list[Any]) -> AccessReply:
        self.granted.append(methods)
        return AccessReply(config="/c", host_key="k" * 20, node_keys=())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster("sshd")
    monkeypatch.setattr(node_access, "_grant_access", cluster.grant)
    monkeypatch.setattr(node_access, "connect_next", lambda *_, **__: cluster.try_method("ssh"))
    monkeypatch.setattr(node_access, "_enter_step", lambda *_: cluster.try_method("sshd"))
    monkeypatch.setattr(node_access, "_run_in_steps", lambda *_: cluster.try_method("srun"))
    return cluster


def settings(method: Any = "auto") -> Any:
    return SimpleNamespace(notebook=Notebook(node_access=method))


def test_first_method_that_works(cluster: Cluster) -> None:
    """`auto` tries one method after the other, and records which worked; the next job there begins with it."""
    connector = NodeConnector(cluster.current_job)
    node = connector.connect(cluster.login, JOB, settings())
    assert (node.connection, node.job.access, node.host_key) == (NODE, "sshd", "k" * 20)
    assert cluster.tried == ["ssh", "sshd"]
    next_job = msgspec.structs.replace(JOB, id=13, token="f" * 16)
    connector.connect(cluster.login, next_job, settings())
    assert cluster.tried == ["ssh", "sshd", "sshd"]


def test_recorded_method(cluster: Cluster) -> None:
    """Another process begins with the method on record, and tries the others when it fails."""
    cluster.working = ("ssh", "srun")
    recorded = msgspec.structs.replace(JOB, access="srun")
    assert NodeConnector(cluster.current_job).connect(cluster.login, recorded, settings()).job == recorded
    assert cluster.tried == ["srun"]
    cluster.working = ("sshd",)
    cluster.tried.clear()
    node = NodeConnector(cluster.current_job).connect(cluster.login, recorded, settings())
    assert node.job.access == "sshd"
    assert cluster.tried == ["srun", "ssh", "sshd"]


def test_forced_method(cluster: Cluster) -> None:
    """A method in the settings is the only one that is tried, whatever is on record, and its own error is raised."""
    connector = NodeConnector(cluster.current_job)
    recorded = msgspec.structs.replace(JOB, access="sshd")
    with pytest.raises(AuthenticationError, match="refuses the login"):
        connector.connect(cluster.login, recorded, settings("ssh"))
    assert cluster.tried == ["ssh"]


def test_no_way(cluster: Cluster) -> None:
    """If all fail, each is named with its reason. It is no error of the login, after which a tunnel would wait."""
    cluster.working = ()
    cluster.errors["ssh"] = HostKeyError("the host key of n1 is wrong")
    with pytest.raises(ConnectError) as problem:
        NodeConnector(cluster.current_job).connect(cluster.login, JOB, settings())
    assert "n1 cannot be reached" in str(problem.value)
    assert problem.value.detail == (
        "ssh: the host key of n1 is wrong",
        'sshd: n1 did not answer: "srun: error: two"',
        "srun: n1 sent no valid reply",
    )


@pytest.mark.parametrize("method", ["ssh", "sshd", "srun", "auto"])
def test_job_has_ended(cluster: Cluster, method: str) -> None:
    """The end of the job is reported as that, also where a site allows SSH to any node; no other method is tried."""
    cluster.working = ("ssh",)
    cluster.job_has_ended = True
    with pytest.raises(JobEndedError, match="was cancelled"):
        NodeConnector(cluster.current_job).connect(cluster.login, JOB, settings(method))
    assert len(cluster.tried) <= 1


def test_lost_login(cluster: Cluster) -> None:
    """When the connection to the login node is lost, nothing else is tried."""
    cluster.login.is_connected = False
    with pytest.raises(AuthenticationError):
        NodeConnector(cluster.current_job).connect(cluster.login, JOB, settings())
    assert cluster.tried == ["ssh"]


def test_examination(cluster: Cluster) -> None:
    """It names the method that is used, and of the others which work and why the rest does not."""
    cluster.working = ("sshd", "srun")
    connection, text = NodeConnector(cluster.current_job).examine(cluster.login, JOB, settings())
    assert connection is NODE
    used, ssh, srun = text.split("; ")
    assert used == "n1 is reached by an sshd in a step of the job (sshd)"
    assert ssh == "not by ssh: n1 refuses the login"
    assert srun.startswith("srun works, in ")


def test_examination_of_a_forced_method(cluster: Cluster) -> None:
    """If the method in the settings fails, its error says of the others whether they work."""
    connector = NodeConnector(cluster.current_job)
    with pytest.raises(AuthenticationError, match="refuses the login") as problem:
        connector.examine(cluster.login, JOB, settings("ssh"))
    sshd, srun = problem.value.detail
    assert sshd.startswith("sshd works, in ")
    assert srun == "not by srun: n1 sent no valid reply"
