"""What the settings in notebook.job may be, and the arguments of sbatch that they become."""

import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.config.job import (
    ALLOWED_ARGUMENTS,
    check_job_setting,
    replace_options,
    sbatch_options,
)
from notebooks_over_ssh.config.schema import Job
from notebooks_over_ssh.errors import ConfigError

ARGUMENTS = "notebook.job.sbatch_arguments in invoke.yaml"


@pytest.mark.parametrize(
    "time", ["30", "30:00", "4:00:00", "1-0", "1-12", "2-12:30", "2-12:30:15", "00:45:00"]
)
def test_times(time: str) -> None:
    """Every form of a time in sbatch(1) is accepted."""
    check_job_setting("time", time, "--time")


@pytest.mark.parametrize(
    "time",
    [
        "4h",
        "0",
        "00:00:00",
        "UNLIMITED",
        "infinite",
        "-1",
        "1:2:3:4",
        "1-",
        "4:00:00\n",
        "\uff14",
        "1 2",
        "",
        "1-2-3",
    ],
)
def test_other_times(time: str) -> None:
    """Anything else is refused, also a job without a time limit, which would never end."""
    with pytest.raises(ConfigError, match="time of sbatch"):
        check_job_setting("time", time, "--time")


@pytest.mark.parametrize(
    ("setting", "good", "bad"),
    [
        ("memory", ["16G", "512", "2T"], ["16 G", "-1", "16GB", "lots"]),
        ("gpus", [1, "2", "a100:2"], ["a100", "0", "a100:", "1;id", "--wrap=id"]),
        ("gres", ["gpu:1", "gpu:a100:1,shard:2"], ["gpu 1", "gpu:1;id", "$(id)", "-x"]),
        ("constraint", ["haswell", "[rack1|rack2]", "intel&gpu"], ["a b", "a;b", "`id`", "-a"]),
        ("partition", ["gpu", "gpu,main", "long_2"], ["-p", "a b", "a;b", "$x"]),
    ],
)
def test_values(setting: str, good: list[str], bad: list[str]) -> None:
    """The values that Slurm knows are accepted, options and what a shell would expand are not."""
    for value in good:
        check_job_setting(setting, value, setting)
    for value in bad:
        with pytest.raises(ConfigError):
            check_job_setting(setting, value, setting)


@pytest.mark.parametrize(
    "option",
    [
        *(
            "output",
            "error",
            "input",
            "wrap",
            "array",
            "chdir",
            "job-name",
            "comment",
            "parsable",
            "wait",
            "nodes",
        ),
        *(
            "ntasks",
            "export",
            "export-file",
            "get-user-env",
            "uid",
            "gid",
            "clusters",
            "open-mode",
            "requeue",
        ),
        *("no-requeue", "hold", "test-only", "propagate", "batch", "kill-on-invalid-dep", "out", "wra"),
    ],
)
def test_refused_arguments(option: str) -> None:
    """What the launcher sets itself, what makes many jobs of one, and abbreviations are refused by name."""
    with pytest.raises(ConfigError) as problem:
        check_job_setting("sbatch_arguments", ["--nice=5", f"--{option}=1"], ARGUMENTS)
    assert str(problem.value) == f"{ARGUMENTS} has --{option}, which is not allowed there"


@pytest.mark.parametrize(
    "argument", ["-p", "main", "--mail-type=A B", "--mail-type=A\nB", "-- ", "--Nice", "--nice="]
)
def test_other_text(argument: str) -> None:
    """Text that is no long option is refused."""
    with pytest.raises(ConfigError, match="no long option"):
        check_job_setting("sbatch_arguments", [argument], ARGUMENTS)


def test_setting_instead() -> None:
    """An option that has a setting of its own is refused with the name of the setting."""
    with pytest.raises(ConfigError) as problem:
        check_job_setting("sbatch_arguments", ["--cpus-per-task=4"], ARGUMENTS)
    assert problem.value.hint == "set notebook.job.cpus instead"
    assert not ALLOWED_ARGUMENTS & set(Job.__struct_fields__)


def test_options() -> None:
    """Each setting becomes one argument, and the further arguments follow."""
    job = Job(partition="gpu", cpus=4, memory="16G", gpus=1, sbatch_arguments=["--nice=5"])
    assert sbatch_options(job) == [
        "--partition=gpu",
        "--cpus-per-task=4",
        "--mem=16G",
        "--gpus=1",
        "--nice=5",
    ]
    assert sbatch_options(Job()) == []


def test_flags_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag overrides the variable for the same setting, and an invalid flag is refused by its name."""
    monkeypatch.setenv("INVOKE_NOTEBOOK_JOB_TIME", "30")
    monkeypatch.setenv("INVOKE_NOTEBOOK_JOB_GPUS", "2")
    loaded = settings.load(Context(), **{"job.time": "4:00:00", "launcher": "slurm"})
    assert loaded.notebook.job == Job(time="4:00:00", gpus=2)
    assert loaded.notebook.launcher == "slurm"
    with pytest.raises(ConfigError, match=r"^--time must be"):
        settings.load(Context(), **{"job.time": "soon"})


def test_replaced_options() -> None:
    """Of an earlier job's options, those that the settings do not name stay in their order; others are replaced."""
    earlier = ["--partition=gpu", "--time=7", "--gpus=1", "--mail-type=END"]
    replaced = replace_options(earlier, Job(time="8:00:00", gpus="a100:2"))
    assert replaced == ["--partition=gpu", "--mail-type=END", "--time=8:00:00", "--gpus=a100:2"]
    assert replace_options(earlier, Job()) == earlier
