"""The programs: what each asks of the queue, and what it prints. Starts no process."""

import os
from argparse import REMAINDER
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from notebooks_over_ssh.sandbox.environment import user_name
from notebooks_over_ssh.sandbox.toy_slurm import reports
from notebooks_over_ssh.sandbox.toy_slurm.options import VERSION, Parser, parse_batch
from notebooks_over_ssh.sandbox.toy_slurm.queue import NODES, PARTITIONS, Job, Queue, RefusedError
from notebooks_over_ssh.sandbox.toy_slurm.tables import lines, long_columns, short_columns

CLUSTER = "toy"
QUEUE_FORMAT = "%.8i %.9P %.20j %.8u %.2t %.10M %.6D %R"
START_FORMAT = "%.8i %.9P %.20j %.8u %.2t %.19S %.6D %R"
INFO_FORMAT = "%9P %.5a %.10l %.6D %.6t %N"


class Call(NamedTuple):
    """A call of one of the programs."""

    program: str
    arguments: list[str]
    folder: Path
    """The working directory."""
    now: float
    time_format: str = ""
    """SLURM_TIME_FORMAT."""
    job: str = ""
    """SLURM_JOB_ID."""


class Step(NamedTuple):
    """A command that srun has to run in a job."""

    job: Job
    command: list[str]


class Submission(NamedTuple):
    """A job that sbatch has submitted, with its script, which is still to be saved."""

    job: Job
    script: bytes
    arguments: list[str]
    output: str


def answer(queue: Queue, call: Call) -> str | Step | Submission:
    """What the program prints, unless there is more to do. Raises RefusedError."""
    if call.arguments in (["--version"], ["-V"]):
        return f"{VERSION}\n"
    program = _PROGRAMS.get(call.program)
    if program is None:
        raise RefusedError("the sandbox's toy queue keeps no accounts")
    return program(queue, call)


def _sbatch(queue: Queue, call: Call) -> str | Submission:
    request, script, arguments, options = parse_batch(call.arguments, call.folder)
    if options.test_only:
        queue.check(request)
        return ""
    job = queue.submit(request, call.now)
    output = f"{job.id}\n" if options.parsable else f"Submitted batch job {job.id}\n"
    return Submission(job, script, arguments, output)


def _squeue(queue: Queue, call: Call) -> str:
    parser = Parser("squeue")
    parser.flag("-h", "--noheader")
    parser.flag("--local")
    parser.flag("--me")
    parser.flag("--start")
    for names in (
        ("-o", "--format"),
        ("-u", "--user"),
        ("-n", "--name"),
        ("-j", "--jobs"),
        ("-p", "--partition"),
    ):
        parser.option(*names)
    parser.option("-t", "--states")
    options = parser.parse_args(call.arguments)
    jobs: Iterable[Job] = queue.jobs
    if options.jobs:
        numbers = [_number(text) for text in options.jobs.split(",")]
        jobs = [job for job in jobs if job.id in numbers]
        if len(numbers) == 1 and not jobs:
            raise RefusedError("Invalid job id specified")
    states = "PENDING" if options.start else options.states or "PENDING,RUNNING,COMPLETING"
    jobs = _select(jobs, user=options.user, name=options.name, states=states, partition=options.partition)
    prefix, columns = short_columns(options.format or (START_FORMAT if options.start else QUEUE_FORMAT))
    rows = [reports.job_row(queue, job, call.now, call.time_format) for job in jobs]
    return lines(prefix, columns, [*([] if options.noheader else [reports.JOB_TITLES]), *rows])


def _scancel(queue: Queue, call: Call) -> str:
    parser = Parser("scancel")
    parser.flag("--me")
    parser.flag("-Q", "--quiet")
    for names in (("-u", "--user"), ("-n", "--name"), ("-t", "--state"), ("-p", "--partition")):
        parser.option(*names)
    parser.add_argument("jobs", nargs="*")
    options = parser.parse_args(call.arguments)
    selection = (options.user, options.name, options.state, options.partition)
    if not options.jobs and not options.me and not any(selection):
        raise RefusedError("No job identification provided")
    jobs = [job for job in queue.jobs if not job.ended]
    for number in map(_number, options.jobs):
        if number not in [job.id for job in jobs]:
            raise RefusedError(f"Kill job error on job id {number}: Invalid job id specified")
    if options.jobs:
        jobs = [job for job in jobs if str(job.id) in options.jobs]
    for job in _select(
        jobs, user=options.user, name=options.name, states=options.state or "all", partition=options.partition
    ):
        queue.finish(job, "CANCELLED", call.now)
    return ""


def _sinfo(queue: Queue, call: Call) -> str:
    parser = Parser("sinfo")
    parser.flag("-h", "--noheader")
    parser.flag("--local")
    parser.flag("-a", "--all")
    for names in (("-o", "--format"), ("-O", "--Format"), ("-p", "--partition")):
        parser.option(*names)
    options = parser.parse_args(call.arguments)
    wanted = options.partition.split(",") if options.partition else PARTITIONS
    prefix, columns = short_columns(options.format or INFO_FORMAT)
    if options.Format:
        prefix, columns = "", long_columns(options.Format, reports.LONG_NAMES)
    partitions = [partition for name, partition in PARTITIONS.items() if name in wanted]
    rows = reports.node_rows(queue, partitions, columns)
    return lines(prefix, columns, [*([] if options.noheader else [reports.NODE_TITLES]), *rows])


def _scontrol(queue: Queue, call: Call) -> str:
    parser = Parser("scontrol")
    parser.flag("-o", "--oneliner")
    parser.flag("-a", "--all")
    parser.flag("--local")
    parser.add_argument("command", nargs="*")
    options = parser.parse_args(call.arguments)
    match options.command:
        case ["ping"]:
            return "Slurmctld(primary) at the sandbox's toy queue is UP\n"
        case ["show", "config"]:
            return f"ClusterName             = {CLUSTER}\nSLURM_VERSION           = 22.05-toy\n"
        case ["show", "job" | "jobs", *names]:
            jobs = [job for job in queue.jobs if not names or str(job.id) in names]
            if names and not jobs:
                raise RefusedError("Invalid job id specified")
            records = [reports.describe_job(queue, job, call.now, call.time_format) for job in jobs]
        case ["show", "partition" | "partitions", *names]:
            selected = [partition for name, partition in PARTITIONS.items() if not names or name in names]
            records = [reports.describe_partition(partition) for partition in selected]
        case ["show", "node" | "nodes", *names]:
            records = [
                reports.describe_node(queue, node) for node in NODES if not names or node.name in names
            ]
        case _:
            parser.error(f"invalid command: {' '.join(options.command)}")
    separator = " " if options.oneliner else "\n   "
    return "".join(
        separator.join(f"{name}={value}" for name, value in record.items()) + "\n" for record in records
    )


def _srun(queue: Queue, call: Call) -> Step:
    parser = Parser("srun")
    for names in (("--overlap",), ("-u", "--unbuffered"), ("-Q", "--quiet")):
        parser.flag(*names)
    for names in (("--jobid",), ("-I", "--immediate"), ("-N", "--nodes"), ("-n", "--ntasks")):
        parser.option(*names)
    parser.add_argument("command", nargs=REMAINDER)
    options = parser.parse_args(call.arguments)
    number = options.jobid or call.job
    if not number or not options.command:
        raise RefusedError("the sandbox's toy queue runs steps of a job only: srun --jobid=JOB COMMAND")
    if {options.nodes, options.ntasks} - {None, "1"}:
        raise RefusedError("Unable to create step: More processors requested than permitted")
    job = queue.find(_number(number))
    if job is None:
        raise RefusedError("Unable to confirm allocation: Invalid job id specified")
    if job.state != "RUNNING":
        reason = "is pending execution" if job.state == "PENDING" else "step already completing or completed"
        raise RefusedError(f"Unable to create step for job {job.id}: Job {reason}")
    return Step(job, options.command)


_PROGRAMS: dict[str, Callable[[Queue, Call], str | Step | Submission]] = {
    "sbatch": _sbatch,
    "squeue": _squeue,
    "scancel": _scancel,
    "sinfo": _sinfo,
    "scontrol": _scontrol,
    "srun": _srun,
}


def _select(
    jobs: Iterable[Job], *, user: str | None, name: str | None, states: str, partition: str | None
) -> list[Job]:
    """The jobs of a selection. There is one user."""
    if user is not None and not {user_name(), str(os.getuid())} & set(user.split(",")):
        return []
    codes = {code: state for state, code in reports.STATE_CODES.items()}
    wanted = {codes.get(state.upper(), state.upper()) for state in states.split(",")}
    return [
        job
        for job in jobs
        if (wanted == {"ALL"} or job.state in wanted)
        and (name is None or job.request.name in name.split(","))
        and (partition is None or job.request.partition in partition.split(","))
    ]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise RefusedError(f"Invalid job id specified: {text}")
    return int(text)
