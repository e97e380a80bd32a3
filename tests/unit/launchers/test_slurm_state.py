"""What squeue says of a job, in words; and what of it is refused."""

from typing import Any

import pytest
from msgspec.structs import replace

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.launchers.base import Job
from notebooks_over_ssh.launchers.slurm_state import ENDINGS, NEVER_STARTS, RENEWABLE, StateReply, decode

JOB = Job(id=12, cluster="", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z")


def reply(log: list[str] | None = None, **fields: Any) -> StateReply:
    """The reply of job_state.py for a pending job, apart from `fields` of the job."""
    job = {
        "id": 12, "token": JOB.token, "state": "PENDING", "reason": "Priority", "start": None,
        "seconds_left": 3600, "node": "", "is_active": True,
    }  # fmt: skip
    state: StateReply = decode(
        {
            "problem": "", "job": job | fields, "cluster": "", "submitted": JOB.submitted, "marker": "m",
            "output": "", "log": log or [],
        },
        StateReply,
    )  # fmt: skip
    return state


def test_queued() -> None:
    """A queued job has the reason in words, with Slurm's own, and the expected start."""
    state = reply(start=1_800_000_000).to_state(JOB)
    assert (state.phase, state.starts_at, state.job) == ("queued", 1_800_000_000, JOB)
    assert state.description == "other jobs are ahead of it (Priority)"
    unavailable = reply(reason="ReqNodeNotAvail, UnavailableNodes:n[1-3]").to_state(JOB)
    assert unavailable.description.startswith("a node that it needs is not available (ReqNodeNotAvail,")
    assert unavailable.setting_to_change == ""


def test_running() -> None:
    """A running job has its node and the rest of its time limit; without a node it is still queued."""
    state = reply(state="RUNNING", node="n1", reason="None").to_state(JOB)
    assert state.job
    assert (state.phase, state.job.node, state.seconds_left) == ("running", "n1", 3600)
    assert reply(state="RUNNING", reason="None").to_state(JOB).phase == "queued"
    assert reply(state="CONFIGURING", node="n1").to_state(JOB).phase == "queued"
    assert reply(state="SUSPENDED", node="n1").to_state(JOB).description == "is suspended"


@pytest.mark.parametrize("state", [*ENDINGS, "SOME_LATER_STATE"])
def test_ended(state: str) -> None:
    """A job that has ended is reported as what it was, with its last lines."""
    ended = reply(state=state, is_active=False, log=["a", "b" * 1000]).to_state(JOB)
    assert (ended.phase, ended.detail) == ("ended", ("a", "b" * 300))
    assert ended.description == ENDINGS.get(state, f"ended as {state}")


def test_renewable() -> None:
    """Another job takes the place of one that the cluster has ended, not of one that the user or the server has."""

    def is_renewable(state: str, *, is_signalled: bool = False) -> bool:
        ended = replace(reply(state=state, is_active=False), is_signalled=is_signalled)
        return ended.to_state(JOB).is_renewable

    assert {state for state in ENDINGS if is_renewable(state)} == RENEWABLE
    assert is_renewable("COMPLETED", is_signalled=True)
    assert not is_renewable("CANCELLED", is_signalled=True)


def test_launch_failure() -> None:
    """A job that its node could not start is told from one that failed."""
    state = reply(state="FAILED", is_active=False, reason="JobLaunchFailure").to_state(JOB)
    assert (state.phase, state.description) == ("ended", "could not be started on its node")


@pytest.mark.parametrize("reason", NEVER_STARTS)
def test_setting_to_change(reason: str) -> None:
    """A job that will never start names the setting to change; a running one does not."""
    assert reply(reason=reason).to_state(JOB).setting_to_change == NEVER_STARTS[reason][1]
    assert reply(reason=reason, state="RUNNING", node="n1").to_state(JOB).setting_to_change == ""


@pytest.mark.parametrize(
    ("reason", "setting"),
    [
        (
            "Job's account not permitted to use this partition (gpu allows a,b not lab)",
            "notebook.job.account",
        ),
        ("Job's QOS not permitted to use this partition (gpu denies x including x)", "notebook.job.qos"),
    ],
)
def test_sentence(reason: str, setting: str) -> None:
    """A reason that is a sentence counts as its code."""
    state = reply(reason=reason).to_state(JOB)
    assert "its partition is for other" in state.description
    assert state.setting_to_change.startswith(setting)


def test_hostile_reason() -> None:
    """A reason cannot control the terminal, nor fill it."""
    description = reply(reason="\x1b[2J" + "x" * 290).to_state(JOB).description
    assert "\x1b" not in description
    assert len(description) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 0), ("id", "12"), ("token", "../../etc"), ("token", "0123456789ABCDEF"), ("state", "x\ny"),
        ("state", "RUNNING; id"), ("reason", "x" * 301), ("start", -1), ("seconds_left", 1.5),
        ("node", "n1\nerror: lost"), ("node", "-oProxyCommand=id x"), ("is_active", "yes"),
    ],
)  # fmt: skip
def test_invalid_reply(field: str, value: object) -> None:
    """A reply with a field that is not valid is an error of one line."""
    with pytest.raises(RemoteError, match="invalid reply about the job"):
        reply(None, **{field: value})


def test_unknown_job() -> None:
    """A job that Slurm does not know any more has ended, and keeps its number."""
    reply = StateReply(job=None, cluster="", submitted="", marker="", output="", log=())
    state = reply.to_state(JOB)
    assert (state.phase, state.label) == ("ended", "job 12")
    assert reply.to_state(None).description == "was not submitted"
