"""The programs of the toy in place of Slurm: their options, and what the launcher's programs read of their output."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from notebooks_over_ssh.sandbox.environment import user_name
from notebooks_over_ssh.sandbox.toy_slurm.commands import Call, Step, Submission, answer
from notebooks_over_ssh.sandbox.toy_slurm.queue import WAIT_S, Job, Queue, RefusedError, Signal

NOW = 1_800_000_000.0


def call(queue: Queue, *command: str, now: float = NOW) -> str:
    """What the program prints."""
    output = answer(queue, Call(command[0], list(command[1:]), Path("/"), now, time_format="%s"))
    assert isinstance(output, str)
    return output


def submit(queue: Queue, *options: str, folder: Path = Path("/home")) -> Submission:
    """Submit a job at NOW."""
    submission = answer(queue, Call("sbatch", list(options), folder, NOW))
    assert isinstance(submission, Submission)
    return submission


def running_job(queue: Queue, *options: str) -> Job:
    """Submit a job, and let it start."""
    job = submit(queue, *options, "--wrap=echo").job
    assert queue.start_due(NOW + WAIT_S) == [job]
    return job


@pytest.fixture
def slurm(
    import_remote: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Queue, float], Any]:
    """Returns the module with which the launcher's programs read a queue, as it is at a time."""
    monkeypatch.setenv("HOME", str(tmp_path))
    module: Any = import_remote("slurm")

    def read(queue: Queue, now: float) -> Any:
        def run(command: list[str]) -> tuple[int, str, list[str]]:
            try:
                return 0, call(queue, *command, now=now), []
            except RefusedError as error:
                return 1, "", [str(error)]

        monkeypatch.setattr(module, "run", run)
        monkeypatch.setattr(module.time, "time", lambda: now)
        return module

    return read


def test_read_by_the_launcher(slurm: Callable[[Queue, float], Any]) -> None:
    """The launcher's own programs find its job in the toy's output: queued, running, cancelled, unknown."""
    queue = Queue()
    token = "0123456789abcdef"
    module = slurm(queue, NOW)
    assert module.find_active() == []
    folder = module.job_folder(token)
    job = submit(
        queue,
        "--parsable",
        f"--job-name={module.NAME}",
        f"--comment={module.comment(token)}",
        f"--chdir={folder}",
        *("--input=request", "--output=output", "--error=log", "--nodes=1", "--ntasks=1", "--no-requeue"),
        *("--time=1:00:00", "--wrap=echo"),
    )
    assert job.output == "1\n"
    submit(queue, "--wrap=echo")  # not the launcher's
    (queued,) = slurm(queue, NOW + 1).find_active()
    assert queued == {
        "id": 1,
        "token": token,
        "state": "PENDING",
        "reason": "Priority",
        "start": int(NOW + WAIT_S),
        "seconds_left": 3600,
        "node": "",
        "is_active": True,
    }
    queue.start_due(NOW + WAIT_S)
    running = slurm(queue, NOW + WAIT_S + 60).find(1, token)
    assert (running["state"], running["node"], running["seconds_left"]) == ("RUNNING", "toy-node1", 3540)
    call(queue, "scancel", f"--user={user_name()}", f"--name={module.NAME}", "1")
    assert slurm(queue, NOW + WAIT_S + 60).find(1, token)["state"] == "COMPLETING"
    assert slurm(queue, NOW + WAIT_S + 60).find(99, token) is None


def test_options_in_the_script(tmp_path: Path) -> None:
    """Options in `#SBATCH` lines count, but those of the command line come first; the script gets its arguments."""
    script = tmp_path / "train.sh"
    script.write_text(
        "#!/bin/sh\n#SBATCH --time=2 --job-name='my job'\n#SBATCH -c 2  # two\n\necho\n#SBATCH --mem=4G\n"
    )
    submission = submit(Queue(), "--time=0-0:05", "train.sh", "--epochs", "3", folder=tmp_path)
    asked = submission.job.request
    assert (asked.limit_s, asked.name, asked.cpus, asked.memory_mb) == (300, "my job", 2, 1024)
    assert (asked.folder, asked.stdout, asked.stderr) == (str(tmp_path), "slurm-%j.out", "slurm-%j.out")
    assert (submission.arguments, submission.output) == (["--epochs", "3"], "Submitted batch job 1\n")
    assert submission.script == script.read_bytes()


@pytest.mark.parametrize(
    ("text", "limit_s"),
    [("5", 300), ("5:30", 330), ("1:00:00", 3600), ("1-2", 93600), ("1-2:03", 93780), ("1-2:03:04", 93784)],
)
def test_time_limits(text: str, limit_s: int) -> None:
    """Each of sbatch's notations of a time is understood."""
    assert submit(Queue(), f"--time={text}", "--wrap=echo").job.request.limit_s == limit_s


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B:TERM@30", Signal(number=15, seconds=30, to_script_only=True)),
        ("usr1", Signal(number=10, seconds=60, to_script_only=False)),
        ("SIGINT@5", Signal(number=2, seconds=5, to_script_only=False)),
        ("12@5", Signal(number=12, seconds=5, to_script_only=False)),
    ],
)
def test_signals(text: str, expected: Signal) -> None:
    """Each of sbatch's notations of --signal is understood."""
    assert submit(Queue(), f"--signal={text}", "--wrap=echo").job.request.signal == expected


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("sbatch", "--qos=long", "--wrap=echo"),
            r"unrecognized arguments: --qos=long .*toy queue: it knows only",
        ),
        (("sbatch", "--part=gpu", "--wrap=echo"), "unrecognized arguments: --part=gpu"),
        (("sbatch",), "the toy queue reads no script from standard input"),
        (("sbatch", "no-such-script"), "Unable to open file"),
        (("sbatch", "--time=soon", "--wrap=echo"), "Invalid --time"),
        (("sbatch", "--time=0", "--wrap=echo"), "time limit is invalid"),
        (("sbatch", "--mem=much", "--wrap=echo"), "Invalid --mem"),
        (("sbatch", "--gpus=a100:1", "--wrap=echo"), "Invalid generic resource"),
        (("sbatch", "--cpus-per-task=0", "--wrap=echo"), "CPU count"),
        (("sbatch", "--signal=nothing", "--wrap=echo"), "Invalid --signal"),
        (("sbatch", "--signal=99", "--wrap=echo"), "Invalid --signal"),
        (("sbatch", "--nodes=2", "--wrap=echo"), "node configuration is not available"),
        (("squeue", "--jobs=7"), "Invalid job id"),
        (("squeue", "--federation"), "unrecognized arguments"),
        (("scancel",), "No job identification"),
        (("scancel", "7"), "Invalid job id"),
        (("scontrol", "reboot"), "invalid command: reboot"),
        (("sinfo", "--Format=Weight"), "Invalid field"),
        (("srun", "hostname"), "steps of a job only"),
        (("srun", "--jobid=7", "hostname"), "Invalid job id"),
        (("sacctmgr", "show", "associations"), "keeps no accounts"),
    ],
)
def test_refused(command: tuple[str, ...], message: str) -> None:
    """What the toy does not know, and what is wrong, is refused with a reason, and changes nothing."""
    queue = Queue()
    with pytest.raises(RefusedError, match=message):
        answer(queue, Call(command[0], list(command[1:]), Path("/"), NOW))
    assert queue.jobs == []


def test_selection() -> None:
    """squeue and scancel select by user, name, state and partition; an ended job is listed only on request."""
    queue = Queue()
    first = submit(queue, "--job-name=first", "--wrap=echo").job
    submit(queue, "--job-name=second", "--partition=gpu", "--wrap=echo")

    def names(*options: str) -> list[str]:
        return call(queue, "squeue", "--noheader", "--format=%j", *options).split()

    assert names() == names("--me") == names(f"--user={os.getuid()}") == ["first", "second"]
    assert names("--user=nobody-else") == []
    assert names("--name=second,third") == names("--partition=gpu") == names("--jobs=2") == ["second"]
    assert names("--states=RUNNING") == []
    call(queue, "scancel", "--user=nobody-else", "1")
    assert first.state == "PENDING"
    call(queue, "scancel", "--name=first")
    assert names() == ["second"]
    assert names("--states=all") == ["first", "second"]
    assert names("--states=CA") == ["first"]


def test_steps() -> None:
    """srun runs a command in a running job, that of SLURM_JOB_ID without an option, and in no other."""
    queue = Queue()
    job = running_job(queue)
    options = ["--overlap", "--unbuffered", "--quiet", "--nodes=1", "--ntasks=1"]
    command = ["/bin/sh", "-c", "exec x --jobid=3", "--", "-n"]
    step = answer(queue, Call("srun", ["--jobid=1", *options, *command], Path("/"), NOW))
    assert step == Step(job, command)
    assert answer(queue, Call("srun", ["hostname"], Path("/"), NOW, job="1")) == Step(job, ["hostname"])
    queue.finish(job, "CANCELLED", NOW)
    with pytest.raises(RefusedError, match="already completing"):
        answer(queue, Call("srun", ["--jobid=1", "hostname"], Path("/"), NOW))


def test_nodes() -> None:
    """sinfo and scontrol show the partitions with their limits, and what is free; equal nodes share a line."""
    queue = Queue()
    assert call(queue, "sinfo", "-h", "-o", "%P|%D|%t|%C|%N") == (
        "main*|2|idle|0/8/0/8|toy-node1,toy-node2\ngpu|1|idle|0/4/0/4|toy-node2\n"
    )
    running_job(queue, "--gpus=1")
    assert call(queue, "sinfo", "-h", "-p", "gpu", "-O", "PartitionName:5|,Gres:6|,GresUsed:.6|") == (
        "gpu  |gpu:1 | gpu:1|\n"
    )
    assert call(queue, "sinfo", "-h", "-o", "%R %N %T") == (
        "main toy-node1 idle\nmain toy-node2 mixed\ngpu toy-node2 mixed\n"
    )
    assert "PartitionName=gpu Default=NO DefaultTime=00:15:00 MaxTime=00:30:00" in call(
        queue, "scontrol", "--oneliner", "show", "partition"
    )
    assert "JobState=RUNNING" in call(queue, "scontrol", "show", "job", "1")


def test_called_a_toy() -> None:
    """The version and the cluster's name say that it is a toy."""
    assert "toy" in call(Queue(), "sbatch", "--version")
    assert "ClusterName             = toy" in call(Queue(), "scontrol", "show", "config")


def test_no_submission() -> None:
    """`sbatch --test-only` submits nothing, and refuses what would be refused."""
    queue = Queue()
    assert call(queue, "sbatch", "--test-only", "--wrap=true") == ""
    with pytest.raises(RefusedError, match="Invalid partition name"):
        call(queue, "sbatch", "--test-only", "--wrap=true", "--partition=nowhere")
    assert queue.jobs == []
