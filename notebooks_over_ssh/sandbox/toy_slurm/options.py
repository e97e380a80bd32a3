"""The options that the toy knows of Slurm's programs."""

import argparse
import re
import shlex
import signal
from pathlib import Path
from typing import NoReturn

from notebooks_over_ssh.sandbox.toy_slurm.queue import (
    DEFAULT_PARTITION,
    PARTITIONS,
    RefusedError,
    Request,
    Signal,
)

VERSION = "slurm 22.05 (the sandbox's toy queue)"
MAX_SCRIPT_BYTES = 4 * 1024 * 1024  # max_script_size of slurm.conf(5)
# sbatch(1), --time.
_TIME = re.compile(
    r"(?:(?P<days>\d{1,3})-(?P<h>\d{1,2})(?::(?P<m>\d{1,2})(?::(?P<s>\d{1,2}))?)?"
    r"|(?P<minutes>\d{1,6})|(?P<mm>\d{1,6}):(?P<ss>\d{1,2})|(?P<hhh>\d{1,4}):(?P<mmm>\d{1,2}):(?P<sss>\d{1,2}))",
    re.ASCII,
)
_MEMORY = re.compile(r"(\d{1,9})([KMGT]?)B?", re.ASCII | re.IGNORECASE)
_SIGNAL = re.compile(r"(?P<script>B:)?(?P<name>[A-Za-z0-9]{1,10})(?:@(?P<seconds>\d{1,5}))?", re.ASCII)
_SIGNAL_S = 60
_GPUS = re.compile(r"(?:gpu:)?(\d{1,4})", re.ASCII)


class Parser(argparse.ArgumentParser):
    """Refuses an unknown option as Slurm's programs do, instead of ending this process."""

    def __init__(self, program: str) -> None:
        super().__init__(program, allow_abbrev=False, add_help=False)
        self._options: list[str] = []

    def error(self, message: str) -> NoReturn:
        """Raise RefusedError."""
        options = " ".join(sorted(self._options))
        raise RefusedError(f"{message} (this is the sandbox's toy queue: it knows only {options})")

    def flag(self, *names: str) -> None:
        """Add an option without a value."""
        self.add_argument(*names, action="store_true")
        self._options.append(names[-1])

    def option(self, *names: str) -> None:
        """Add an option with a value."""
        self.add_argument(*names)
        self._options.append(names[-1])


class BatchOptions(argparse.Namespace):
    """The options of sbatch."""

    parsable: bool = False
    test_only: bool = False
    job_name: str | None = None
    comment: str = ""
    chdir: str | None = None
    input: str = "/dev/null"
    output: str = "slurm-%j.out"
    error: str | None = None
    nodes: str = "1"
    ntasks: str = "1"
    partition: str = DEFAULT_PARTITION
    time: str | None = None
    cpus_per_task: str = "1"
    mem: str = "1G"
    gpus: str = "0"
    gres: str = "gpu:0"
    no_requeue: bool = False
    open_mode: str = "truncate"
    signal: str | None = None
    wrap: str | None = None
    command: list[str] = []  # noqa: RUF012  # argparse replaces it


def parse_batch(arguments: list[str], folder: Path) -> tuple[Request, bytes, list[str], BatchOptions]:
    """What sbatch was asked for, the script, its arguments, and all options.

    `folder` is where sbatch runs. Raises RefusedError.
    """
    given = _parser().parse_args(arguments, BatchOptions())
    if given.wrap is not None:
        script = f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{given.wrap}\n".encode()
        name = "wrap"
    elif given.command:
        path = folder / given.command[0]
        script, name = _read_script(path), path.name
    else:
        raise RefusedError("the toy queue reads no script from standard input: name a file, or use --wrap")
    options = _parser().parse_args(_options_in(script), BatchOptions())
    # The command line takes precedence over the script.
    options = _parser().parse_args(arguments, options)
    workdir = folder / (options.chdir or "")
    request = Request(
        name=options.job_name or name,
        folder=str(workdir),
        stdin=options.input,
        stdout=options.output,
        stderr=options.error or options.output,
        comment=options.comment,
        partition=options.partition,
        limit_s=_limit_s(options),
        cpus=_number(options.cpus_per_task, "CPU count"),
        memory_mb=_memory_mb(options.mem),
        gpus=max(_gpus(options.gpus), _gpus(options.gres)),
        appends=options.open_mode == "append",
        signal=_signal(options.signal) if options.signal else None,
    )
    for value in (options.nodes, options.ntasks):
        if value not in ("1", "1-1"):
            raise RefusedError("Requested node configuration is not available")
    return request, script, given.command[1:], options


def _parser() -> Parser:
    parser = Parser("sbatch")
    for names in (
        ("-J", "--job-name"), ("--comment",), ("-D", "--chdir"), ("-i", "--input"), ("-o", "--output"),
        ("-e", "--error"), ("-N", "--nodes"), ("-n", "--ntasks"), ("-p", "--partition"), ("-t", "--time"),
        ("-c", "--cpus-per-task"), ("--mem",), ("-G", "--gpus"), ("--gres",), ("--wrap",),
        ("--open-mode",), ("--signal",),
    ):  # fmt: skip
        parser.option(*names)
    parser.flag("--parsable")
    parser.flag("--no-requeue")
    parser.flag("--test-only")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def _read_script(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise RefusedError(f"Unable to open file {path}")
        with path.open("rb") as file:
            script = file.read(MAX_SCRIPT_BYTES + 1)
    except OSError as error:
        raise RefusedError(f"Unable to open file {path}: {error.strerror}") from error
    if not script.startswith(b"#!") or len(script) > MAX_SCRIPT_BYTES:
        raise RefusedError("This does not look like a batch script: the first line must start with #!")
    return script


def _options_in(script: bytes) -> list[str]:
    """The options in the lines `#SBATCH` before the first command."""
    options: list[str] = []
    for line in script.decode("utf-8", "replace").splitlines():
        if line.startswith("#SBATCH"):
            options += shlex.split(line.removeprefix("#SBATCH"), comments=True)
        elif line.strip() and not line.startswith("#"):
            break
    return options


def _limit_s(options: BatchOptions) -> int:
    if options.time is None:
        partition = PARTITIONS.get(options.partition)
        return partition.default_s if partition else 0
    match = _TIME.fullmatch(options.time)
    if not match:
        raise RefusedError("Invalid --time specification")
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    hours = part["days"] * 24 + part["h"] + part["hhh"]
    minutes = hours * 60 + part["m"] + part["minutes"] + part["mm"] + part["mmm"]
    limit_s = minutes * 60 + part["s"] + part["ss"] + part["sss"]
    if not limit_s:
        raise RefusedError("Requested time limit is invalid (missing or exceeds some limit)")
    return limit_s


def _memory_mb(text: str) -> int:
    match = _MEMORY.fullmatch(text)
    if not match:
        raise RefusedError("Invalid --mem specification")
    kilobytes: int = int(match[1]) * 1024 ** ("KMGT".index(match[2].upper() or "M"))
    return -(-kilobytes // 1024)


def _gpus(text: str) -> int:
    match = _GPUS.fullmatch(text)
    if not match:
        raise RefusedError("Invalid generic resource (gres) specification")
    return int(match[1])


def _signal(text: str) -> Signal:
    match = _SIGNAL.fullmatch(text)
    name = match["name"].upper() if match else ""
    number = int(name) if name.isdigit() else getattr(signal, f"SIG{name.removeprefix('SIG')}", None)
    if not match or not number or not 0 < number < signal.NSIG:
        raise RefusedError(f"Invalid --signal specification: {text}")
    return Signal(
        number=number, seconds=int(match["seconds"] or _SIGNAL_S), to_script_only=bool(match["script"])
    )


def _number(text: str, what: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise RefusedError(f"{what} specification invalid: {text}")
    return int(text)
