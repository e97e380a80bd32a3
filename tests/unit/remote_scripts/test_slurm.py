"""Which lines of squeue are jobs of ours."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOKEN = "0123456789abcdef"  # it is no secret
NAME = "notebooks-over-ssh"


@pytest.fixture
def slurm(import_remote: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with a home folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return import_remote("slurm")


def line(slurm: Any, **fields: object) -> str:
    """The line of squeue for a job of ours, apart from `fields`."""
    values: dict[str, object] = {
        "id": 12, "uid": os.getuid(), "state": "RUNNING", "reason": "None", "start": 1_800_000_000,
        "left": "1-02:03:04", "node": "n1", "name": NAME, "comment": f"{NAME} {TOKEN}",
        "folder": slurm.job_folder(TOKEN),
    }  # fmt: skip
    return "|".join(str(value) for value in (values | fields).values())


def list_jobs(slurm: Any, monkeypatch: pytest.MonkeyPatch, output: str) -> list[dict[str, Any]]:
    monkeypatch.setattr(slurm, "run", lambda command: (0, output, []))
    jobs: list[dict[str, Any]] = slurm.list_jobs("--user=1")
    return jobs


def test_own_job(slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of this user with our name, and one token in its comment and folder, is ours."""
    (job,) = list_jobs(slurm, monkeypatch, line(slurm) + "\n")
    assert job == {
        "id": 12, "token": TOKEN, "state": "RUNNING", "reason": "None", "start": 1_800_000_000,
        "seconds_left": 93784, "node": "n1", "is_active": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": 4_000_000}, {"name": "other"}, {"name": f"{NAME}x"}, {"comment": "(null)"},
        {"comment": f"{NAME} 1123456789abcdef"}, {"comment": f"{NAME} {TOKEN} "}, {"folder": "/tmp"},
        {"folder": ""}, {"id": "12_1"}, {"id": 0}, {"comment": f"{NAME} ../../../../x"},
        {"start": "1e9"}, {"reason": "a|b"},
    ],
)  # fmt: skip
def test_other_jobs(slurm: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object]) -> None:
    """A job of another user, with another name, token or folder, and a line that cannot be parsed, is not ours."""
    assert list_jobs(slurm, monkeypatch, line(slurm, **fields)) == []


def test_hostile_names(slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines in the name of another job, and one of 10 MB, are skipped."""
    name = f"x\n13|RUNNING|{NAME}\n\x1b[2J"
    output = f"{line(slurm, name=name)}\n{'y' * 10_000_000}\n{line(slurm, id=14)}\n"
    assert [job["id"] for job in list_jobs(slurm, monkeypatch, output)] == [14]


@pytest.mark.parametrize("output", ["\x1b[2J\n" * 1000, "0" * 100_000, "\x00\n", "a|b\n"])
def test_garbage(slurm: Any, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    """An answer without a single line of jobs is an error, and not an empty queue."""
    with pytest.raises(slurm.SlurmError) as problem:
        list_jobs(slurm, monkeypatch, output)
    assert problem.value.fields["problem"] == "slurm-garbled"
    assert list_jobs(slurm, monkeypatch, "") == list_jobs(slurm, monkeypatch, "\n") == []


@pytest.mark.parametrize(
    ("left", "seconds"),
    [("0:05", 5), ("59:59", 3599), ("2:00:00", 7200), ("UNLIMITED", None), ("INVALID", None), ("1-1", None)],
)
def test_time_left(slurm: Any, monkeypatch: pytest.MonkeyPatch, left: str, seconds: int | None) -> None:
    """The time left is in seconds; a job without a limit has none."""
    (job,) = list_jobs(slurm, monkeypatch, line(slurm, left=left))
    assert job["seconds_left"] == seconds


def record(slurm: Any, **fields: object) -> str:
    """What scontrol prints of a job of ours, apart from `fields`."""
    values: dict[str, object] = {
        "JobId": 12, "JobName": NAME, "UserId": f"me({os.getuid()})", "JobState": "RUNNING", "Reason": "None",
        "TimeLimit": "1:00:00", "StartTime": 1_800_000_000, "EndTime": 1_800_003_600, "ReqNodeList": "(null)",
        "NodeList": "n1", "BatchHost": "n1", "WorkDir": slurm.job_folder(TOKEN), "Comment": f"{NAME} {TOKEN} ",
        "StdErr": "/dev/null",
    }  # fmt: skip
    return " ".join(f"{name}={value}" for name, value in (values | fields).items()) + " \n"


def find(
    slurm: Any, monkeypatch: pytest.MonkeyPatch, output: str, number: int = 12, token: str = TOKEN
) -> Any:
    monkeypatch.setattr(slurm, "run", lambda command: (0, output, []))
    return slurm.find(number, token)


def test_find(slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of this user is found by number and token together: another one with the same number is none of ours."""
    monkeypatch.setattr(slurm.time, "time", lambda: 1_800_000_060.5)
    assert find(slurm, monkeypatch, record(slurm)) == {
        "id": 12, "token": TOKEN, "state": "RUNNING", "reason": "None", "start": 1_800_000_000,
        "seconds_left": 3540, "node": "n1", "is_active": True,
    }  # fmt: skip
    assert find(slurm, monkeypatch, record(slurm), token="1123456789abcdef") is None
    assert find(slurm, monkeypatch, record(slurm), number=13) is None


def test_find_queued(slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queued job has no node and no time left; its reason may be a sentence, and its start unknown."""
    output = record(slurm, JobState="PENDING", Reason="Job's_account_not", StartTime="Unknown", NodeList="")
    job = find(slurm, monkeypatch, output)
    assert (job["reason"], job["start"], job["seconds_left"]) == ("Job's account not", None, None)
    assert (job["node"], job["is_active"]) == ("", True)
    assert not find(slurm, monkeypatch, record(slurm, JobState="TIMEOUT"))["is_active"]
    assert find(slurm, monkeypatch, record(slurm, EndTime="Unknown"))["seconds_left"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"UserId": "me(4000000)"}, {"JobName": "other"}, {"JobName": f"{NAME} JobState=RUNNING"},
        {"JobName": f"{NAME} UserId=me({os.getuid()})", "UserId": "other(4000000)"},
        {"JobName": f"x\nJobName={NAME}"}, {"Comment": "(null)"}, {"Comment": f"{NAME} {TOKEN} WorkDir=/"},
        {"WorkDir": "/tmp"}, {"WorkDir": ""}, {"JobId": 120}, {"JobState": "\x1b[2J"},
    ],
)  # fmt: skip
def test_find_others(slurm: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object]) -> None:
    """A job of another user or with another name, token or folder is not ours, and none whose name has fields."""
    assert find(slurm, monkeypatch, record(slurm, **fields)) is None


@pytest.mark.parametrize(
    "output", ["", "\x1b[2J\n" * 1000, "0" * 250_000, "JobId=12 JobName=", "JobId=" * 40_000]
)
def test_find_garbage(slurm: Any, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    """An answer that is no job is an error."""
    with pytest.raises(slurm.SlurmError) as problem:
        find(slurm, monkeypatch, output)
    assert problem.value.fields["problem"] == "slurm-garbled"


def test_unknown_number(slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that Slurm does not know is no error; that the controller does not answer is one."""
    errors = ["slurm_load_jobs error: Invalid job id specified"]
    monkeypatch.setattr(slurm, "run", lambda command: (1, "", errors))
    assert slurm.find(12, TOKEN) is None
    errors[:] = ["slurm_load_jobs error: Unable to contact slurm controller (connect failure)"]
    with pytest.raises(slurm.SlurmError) as problem:
        slurm.find(12, TOKEN)
    assert problem.value.fields["problem"] == "slurm-failed"


def test_cancel_of_another_job(
    slurm: Any, import_remote: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose number now belongs to another one is not cancelled."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> tuple[int, str, list[str]]:
        commands.append(command)
        return 0, record(slurm, JobName="other"), []

    monkeypatch.setattr(slurm, "run", run)
    cancel_job: Any = import_remote("cancel_job")
    assert cancel_job.cancel(12, TOKEN, 1) == {"problem": "", "was_active": False}
    assert [command[0] for command in commands] == ["scontrol"]


@pytest.mark.parametrize("token", ["", "..", "../0123456789abc", "0123456789ABCDEF", f"{TOKEN}\n"])
def test_token(slurm: Any, token: str) -> None:
    """What is not a token names no folder."""
    with pytest.raises(ValueError, match="not a token"):
        slurm.job_folder(token)
