"""Validates the settings in `notebook.job`: each becomes one argument of sbatch."""

import re

from notebooks_over_ssh.config.schema import Job
from notebooks_over_ssh.errors import ConfigError

# sbatch(1), --time: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
# days-hours:minutes:seconds. Without a limit (0, UNLIMITED) the job would never end.
_TIME = re.compile(
    r"(?=.*[1-9])(?:\d{1,3}-\d{1,2}(?::\d{1,2}(?::\d{1,2})?)?|\d{1,6}(?::\d{1,2}){0,2})", re.ASCII
)
_NAMES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,@+-]{0,199}")
_PATTERNS: dict[str, tuple[re.Pattern[str], str]] = {
    "time": (_TIME, 'a time of sbatch, such as "4:00:00" (hours, minutes, seconds) or "1-12" (days, hours)'),
    "memory": (re.compile(r"[1-9][0-9]{0,8}[KMGT]?", re.ASCII), "an amount of memory, such as 16G"),
    "gpus": (
        re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}:)?[1-9][0-9]{0,3}", re.ASCII),
        'the number of GPUs, such as "1" or a100:2',
    ),
    "gres": (
        re.compile(
            r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_.-]+){0,2}(?:,[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+){0,2}){0,9}"
        ),
        "generic resources, such as gpu:a100:1",
    ),
    "constraint": (
        re.compile(r"[A-Za-z0-9_\[(][A-Za-z0-9_.,@+*&|\[\]()=-]{0,199}"),
        "features of nodes, such as haswell",
    ),
    **dict.fromkeys(("partition", "account", "qos", "reservation"), (_NAMES, "a name, such as main")),
}
_OPTIONS = {"cpus": "cpus-per-task", "memory": "mem"}
"""The option of sbatch for a setting, where its name is another one."""
_ARGUMENT = re.compile(r"--([a-z][a-z-]*)(?:=[\x21-\x7e]{1,300})?")
ALLOWED_ARGUMENTS = frozenset(
    (
        "begin", "bb", "contiguous", "core-spec", "cores-per-socket", "cpu-freq", "cpus-per-gpu",
        "deadline", "dependency", "distribution", "exclude", "exclusive", "extra-node-info", "gpu-bind",
        "gpu-freq", "gpus-per-node", "hint", "licenses", "mail-type", "mail-user", "mem-bind",
        "mem-per-cpu", "mem-per-gpu", "mincpus", "network", "nice", "nodelist", "oversubscribe", "power",
        "prefer", "priority", "signal", "sockets-per-node", "switches", "thread-spec", "threads-per-core",
        "time-min", "tmp", "use-min-nodes", "wckey",
    )
)  # fmt: skip
"""The long options of sbatch(1) that may be given in `sbatch_arguments`. The others set what the launcher itself sets,
such as --output, --chdir and --job-name, make sbatch wait, or make one job into many."""


def check_job_setting(setting: str, value: object, name: str) -> None:
    """Validate a setting of `notebook.job`; `name` is its name in messages. Raises ConfigError."""
    if setting == "sbatch_arguments":
        assert isinstance(value, list)
        for argument in value:
            _check_argument(argument, name)
    elif setting in _PATTERNS:
        pattern, description = _PATTERNS[setting]
        if not pattern.fullmatch(str(value)):
            raise ConfigError(f"{name} must be {description}, not {value!r}", hint="see sbatch(1)")


def _check_argument(argument: str, name: str) -> None:
    match = _ARGUMENT.fullmatch(argument)
    if not match:
        raise ConfigError(
            f"{name} has {argument!r}, which is no long option of sbatch",
            hint="write --name=value or --name, as in --mail-type=BEGIN",
        )
    if match[1] not in ALLOWED_ARGUMENTS:
        settings = {_OPTIONS.get(setting, setting): setting for setting in Job.__struct_fields__}
        raise ConfigError(
            f"{name} has --{match[1]}, which is not allowed there",
            hint=f"set notebook.job.{settings[match[1]]} instead"
            if match[1] in settings
            else "remove it: it could undo what the server's job needs",
        )


def sbatch_options(job: Job) -> list[str]:
    """The arguments of sbatch for the settings."""
    options = [
        f"--{_OPTIONS.get(setting, setting)}={getattr(job, setting)}"
        for setting in Job.__struct_fields__
        if setting not in ("sbatch_arguments", "renew") and getattr(job, setting) is not None
    ]
    return [*options, *job.sbatch_arguments]


def replace_options(options: list[str], job: Job) -> list[str]:
    """The arguments of sbatch with those for the settings of `job` in place of the ones of the same name."""
    new = sbatch_options(job)
    names = {_option_name(option) for option in new}
    return [option for option in options if _option_name(option) not in names] + new


def _option_name(option: str) -> str:
    return option.partition("=")[0]
