"""Slurm's commands that answer too much, not at all, or with an error: each is an error, and takes bounded memory."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from notebooks_over_ssh.launchers.slurm_errors import to_error
from tests.kit.local_scripts import run_locally

SUBMISSION = {"script": "#!/bin/sh\n", "request": "", "marker": "m", "options": [], "signal_s": 60}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for programs that come first in the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    write_program(folder, "ssh-keygen", "exit 0")
    return folder


def write_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def slurm(import_remote: Callable[[str], ModuleType], programs: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, which finds these programs."""
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return import_remote("slurm")


@pytest.mark.parametrize("script", ["cat /dev/zero", "cat /dev/zero >&2", "head -c 10000000 /dev/zero"])
def test_long_output(slurm: Any, programs: Path, script: str) -> None:
    """A command that prints 10 MB, or does not stop, is killed at once."""
    pid_file = programs / "pid"
    write_program(programs, "squeue", f"echo $$ >{pid_file}; exec {script}")
    with pytest.raises(slurm.SlurmError) as problem:
        slurm.run(["squeue"])
    assert problem.value.fields["problem"] == "slurm-flood"
    assert not Path("/proc", pid_file.read_text().strip()).exists()


def test_no_answer(slurm: Any, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that does not end is killed after the timeout."""
    pid_file = programs / "pid"
    write_program(programs, "squeue", f"echo $$ >{pid_file}; exec sleep 1000")
    monkeypatch.setattr(slurm, "COMMAND_TIMEOUT_S", 1)
    with pytest.raises(slurm.SlurmError) as problem:
        slurm.run(["squeue"])
    assert problem.value.fields["problem"] == "slurm-timeout"
    assert not Path("/proc", pid_file.read_text().strip()).exists()


def test_variables(slurm: Any, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable changes the format of squeue or what sbatch does; those for which there are settings stay."""
    names = (
        "SQUEUE_FORMAT",
        "SBATCH_ARRAY_INX",
        "SBATCH_WAIT",
        "SBATCH_ACCOUNT",
        "SINFO_ALL",
        "SCONTROL_ALL",
    )
    for name in names:
        monkeypatch.setenv(name, "x")
    write_program(programs, "squeue", "env | cut -d= -f1 | grep -E '^(SQUEUE|SBATCH|SINFO|SCONTROL)_'")
    assert slurm.run(["squeue"])[1] == "SBATCH_ACCOUNT\n"


@pytest.mark.parametrize(("program", "parameters"), [("submit_job", SUBMISSION), ("list_partitions", {})])
def test_no_slurm(tmp_path: Path, program: str, parameters: dict[str, Any]) -> None:
    """A host without Slurm is reported, with what to do, and nothing is left on it."""
    reply = run_locally(tmp_path, program, parameters, variables={"PATH": str(tmp_path)})
    assert reply["problem"] == "slurm-missing"
    error = to_error(reply, "ashbury")
    assert "ashbury has no Slurm" in str(error)
    assert "a login node" in error.hint


def test_no_ssh_keygen(tmp_path: Path) -> None:
    """A host with Slurm and without ssh-keygen is reported as that."""
    write_program(tmp_path, "squeue", "exit 0")
    reply = run_locally(tmp_path, "submit_job", SUBMISSION, variables={"PATH": str(tmp_path)})
    assert 'ssh-keygen failed on ashbury: "ssh-keygen: No such file' in str(to_error(reply, "ashbury"))


def test_refused(tmp_path: Path, programs: Path) -> None:
    """What sbatch says is in the reply, and the folder of the job is removed."""
    write_program(programs, "squeue", "exit 0")
    write_program(programs, "sbatch", "echo 'sbatch: error: no' >&2; exit 1")
    reply = run_locally(tmp_path, "submit_job", SUBMISSION, variables={"PATH": f"{programs}:/usr/bin:/bin"})
    assert (reply["problem"], reply["log"]) == ("submit-failed", ["sbatch: error: no"])
    jobs = tmp_path / ".local/state/notebooks-over-ssh/jobs"
    assert [path.name for path in jobs.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("output", "number", "cluster"),
    [
        ("12", 12, ""),
        ("12;eddie", 12, "eddie"),
        ("Welcome!\n12;eddie", 12, "eddie"),
        ("12;a b; id", 12, ""),
        ("12\nWelcome!", None, None),
        ("0", None, None),
        ("", None, None),
    ],
)
def test_number(tmp_path: Path, programs: Path, output: str, number: int | None, cluster: str | None) -> None:
    """The number of the job is in the last line of sbatch; an answer without one is a failure."""
    write_program(programs, "squeue", "exit 0")
    write_program(programs, "sbatch", f"cat <<'END'\n{output}\nEND")
    reply = run_locally(tmp_path, "submit_job", SUBMISSION, variables={"PATH": f"{programs}:/usr/bin:/bin"})
    assert reply["problem"] == ("" if number else "submit-failed")
    assert (reply.get("id"), reply.get("cluster")) == (number, cluster)


@pytest.mark.parametrize(
    ("output", "seconds", "partition"),
    [
        ("sbatch: Job 7 to start at {time} using 1 processors on nodes n1 in partition debug", 3600, "debug"),
        ("sbatch: Job 7 to start at {time} using 1 processors on nodes n1", 3600, ""),
        ("sbatch: Job 7 to start at 99999999999999999999 using 1 processors on n1", None, ""),
        ("Welcome!\n\x1b[2J", None, ""),
        ("", None, ""),
    ],
)
def test_estimate(tmp_path: Path, programs: Path, output: str, seconds: int | None, partition: str) -> None:
    """Slurm's estimate is the time until the start; without a readable one the job is accepted all the same."""
    text = output.format(time=f"$(($(date +%s) + {seconds}))")
    write_program(programs, "sbatch", f"cat >&2 <<END\n{text}\nEND")
    path = f"{programs}:/usr/bin:/bin"
    reply = run_locally(tmp_path, "estimate_start", {"options": []}, variables={"PATH": path})
    assert reply["problem"] == "" and reply["partition"] == partition
    assert reply["starts_in_s"] == seconds or abs(reply["starts_in_s"] - seconds) <= 30


def test_refused_estimate(tmp_path: Path, programs: Path) -> None:
    """A job that Slurm would refuse is reported as one that it has refused."""
    write_program(programs, "sbatch", "echo 'allocation failure: Invalid qos specification' >&2; exit 1")
    path = f"{programs}:/usr/bin:/bin"
    reply = run_locally(tmp_path, "estimate_start", {"options": []}, variables={"PATH": path})
    assert (reply["problem"], reply["log"]) == (
        "submit-failed",
        ["allocation failure: Invalid qos specification"],
    )
