"""Slurm's commands, and the jobs of this program: found by user, name, comment and folder.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import json
import os
import re
import select
import subprocess
import time

from common import private_folder, write_private

NAME = "notebooks-over-ssh"
COMMAND_TIMEOUT_S = 30
MAX_OUTPUT_BYTES = 256 * 1024
MAX_ERROR_LINES = 5
# Variables that change what the commands do or print (the INPUT ENVIRONMENT VARIABLES of their manuals). For those of
# sbatch that are kept there are settings.
VARIABLES = ("SBATCH_", "SQUEUE_", "SINFO_", "SCONTROL_")
KEPT_VARIABLES = ("ACCOUNT", "CONSTRAINT", "PARTITION", "QOS", "RESERVATION", "TIMELIMIT")
TOKEN = re.compile(r"[0-9a-f]{16}")
JOB_ID = re.compile(r"[1-9][0-9]{0,9}")
MAX_JOB_ID = 2**32 - 1
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# squeue(1): job, user, state, reason, start, time left, first node, name, comment, folder. The folder comes last, and
# what cannot be parsed is no job of ours.
FORMAT = "%i|%U|%T|%r|%S|%L|%B|%j|%k|%Z"
LINE = re.compile(
    r"(?P<id>[1-9][0-9]{0,9})\|(?P<uid>[0-9]{1,10})\|(?P<state>[A-Z_]{1,32})\|(?P<reason>[^|]{0,300})"
    r"\|(?P<start>[0-9]{1,12}|N/A)\|(?P<left>[^|]{0,20})\|(?P<node>[^|]{0,255})"
    r"\|(?P<name>[^|]{0,100})\|(?P<comment>[^|]{0,100})\|(?P<folder>.{0,4096})"
)
# scontrol(1), show job: the fields that are read here. A value ends before the next field.
FIELD = re.compile(
    r"\s(JobName|UserId|JobState|Reason|StartTime|EndTime|NodeList|WorkDir|Comment)=(.*?)"
    r"(?=\s+[A-Z][A-Za-z/:]{0,30}=|\s*$)",
    re.DOTALL,
)
UID = re.compile(r"\((\d{1,10})\)$")
STATE = re.compile(r"[A-Z_]{1,32}")
NODE = re.compile(r"[A-Za-z0-9_.-]{1,253}")
SECONDS = re.compile(r"\d{1,12}")
MAX_REASON_LENGTH = 300
TIME_LEFT = re.compile(r"(?:(?:(\d{1,5})-)?(\d{1,2}):)?(\d{1,2}):(\d\d)")
# Job state codes of squeue(1) in which the job may still run.
ACTIVE = (
    *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING"),
    *("RESIZING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "STAGE_OUT"),
)


class SlurmError(Exception):
    """A command failed: the reply to send."""

    def __init__(self, problem, lines):
        super(SlurmError, self).__init__(problem)
        self.fields = dict(problem=problem, reason=" ".join(lines), log=lines)


def run(command, max_bytes=MAX_OUTPUT_BYTES):
    """Run the command, an argv list; returns its status, output and the lines of its errors. Raises SlurmError."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(VARIABLES) or name in ["SBATCH_" + variable for variable in KEPT_VARIABLES]
    }
    environment.update(LC_ALL="C", SLURM_TIME_FORMAT="%s")
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise SlurmError("slurm-missing", ["%s: %s" % (command[0], error.strerror)])
    try:
        outputs = read_all(process, time.time() + COMMAND_TIMEOUT_S, max_bytes)
    except SlurmError as error:
        process.kill()
        process.wait()
        raise SlurmError(error.fields["problem"], [command[0]])
    output, errors = (text.decode("utf-8", "replace") for text in outputs)
    return process.wait(), output, errors.splitlines()[-MAX_ERROR_LINES:]


def read_all(process, deadline, max_bytes):
    """What the process writes to its two pipes. Raises SlurmError if that takes too long, or is too much."""
    outputs = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    open_pipes = set(outputs)
    with process.stdout, process.stderr:
        while open_pipes:
            ready, _, _ = select.select(list(open_pipes), [], [], max(0, deadline - time.time()))
            if not ready:
                raise SlurmError("slurm-timeout", [])
            for pipe in ready:
                block = os.read(pipe, 65536)
                if not block:
                    open_pipes.remove(pipe)
                outputs[pipe] += block
                if len(outputs[pipe]) > max_bytes:
                    raise SlurmError("slurm-flood", [])
        return [outputs[process.stdout.fileno()], outputs[process.stderr.fileno()]]


def is_job_id(text):
    """Whether the text is the number of a job."""
    return bool(JOB_ID.fullmatch(text)) and int(text) <= MAX_JOB_ID


def jobs_folder():
    """The private folder with a folder for each job, on the home folder that all nodes share."""
    return private_folder(
        os.path.join(os.path.expanduser("~"), ".local", "state", "notebooks-over-ssh", "jobs")
    )


def job_folder(token):
    """The folder of the job. Raises ValueError for a token that is not one."""
    if not TOKEN.fullmatch(token):
        raise ValueError("not a token: %r" % token)
    return os.path.join(jobs_folder(), token)


def list_jobs(*selection):
    """The jobs of ours that squeue lists for the selection, as dicts. Raises SlurmError.

    A job is ours if it has this user, the name, and a comment and a folder with the same token.
    """
    # Without `--local`, squeue would also ask each time whether the cluster is part of a federation.
    status, output, errors = run(["squeue", "--local", "--noheader", "--format=" + FORMAT] + list(selection))
    if status:
        if any("Invalid job id" in line for line in errors):
            return []
        raise SlurmError("slurm-failed", errors)
    jobs = []
    lines = output.split("\n")
    # To take garbage for an empty queue would submit another job.
    if any(lines) and not any(line.count("|") >= FORMAT.count("|") for line in lines):
        raise SlurmError("slurm-garbled", ["squeue"])
    for line in lines:
        match = LINE.fullmatch(line)
        if match and match.group("uid") == str(os.getuid()) and match.group("name") == NAME:
            job = match.groupdict()
            token = job["comment"][len(NAME) + 1 :]
            if (
                TOKEN.fullmatch(token)
                and job["comment"] == comment(token)
                and is_folder(job["folder"], token)
            ):
                jobs.append(describe(job, token))
    return jobs


def is_folder(path, token):
    """Whether the path is that of the job's folder."""
    return os.path.realpath(path) == os.path.realpath(job_folder(token))


def comment(token):
    return "%s %s" % (NAME, token)


def describe(job, token):
    left = TIME_LEFT.fullmatch(job["left"])
    days, hours, minutes, seconds = (int(part or 0) for part in left.groups()) if left else (0, 0, 0, 0)
    return dict(
        id=int(job["id"]),
        token=token,
        state=job["state"],
        reason=job["reason"],
        start=int(job["start"]) if job["start"] != "N/A" else None,
        seconds_left=((days * 24 + hours) * 60 + minutes) * 60 + seconds if left else None,
        node=job["node"] if job["node"] not in ("n/a", "(null)") else "",
        is_active=job["state"] in ACTIVE,
    )


def find_active():
    """The user's jobs of ours that are queued or running, the newest first. Raises SlurmError."""
    jobs = list_jobs("--user=%d" % os.getuid(), "--name=" + NAME)
    return sorted((job for job in jobs if job["is_active"]), key=lambda job: -job["id"])


def find(job_id, token):
    """The job if Slurm still knows it and it is still ours, else None. Raises SlurmError.

    This is one request to the controller; squeue would also ask for the partitions.
    """
    status, output, errors = run(["scontrol", "--oneliner", "--local", "show", "job", str(job_id)])
    if status:
        if any("Invalid job id" in line for line in errors):
            return None
        raise SlurmError("slurm-failed", errors)
    pairs = FIELD.findall(output)
    fields = {name: value.strip() for name, value in pairs}
    if not output.startswith("JobId=") or "JobState" not in fields:
        raise SlurmError("slurm-garbled", ["scontrol show job"])
    user = UID.search(fields.get("UserId", ""))
    is_ours = (
        # A name that contains what looks like another field could be anybody's job.
        len(pairs) == len(fields)
        and output.startswith("JobId=%d " % job_id)
        and user is not None
        and int(user.group(1)) == os.getuid()
        and STATE.fullmatch(fields["JobState"])
        and fields.get("JobName") == NAME
        and fields.get("Comment") == comment(token)
        and is_folder(fields.get("WorkDir", ""), token)
    )
    return describe_fields(job_id, token, fields) if is_ours else None


def describe_fields(job_id, token, fields):
    start, end, node = (fields.get(name, "") for name in ("StartTime", "EndTime", "NodeList"))
    state = fields["JobState"]
    is_started = state != "PENDING" and NODE.fullmatch(node)
    return dict(
        id=job_id,
        token=token,
        state=state,
        # Of a sentence, scontrol writes the spaces as "_".
        reason=fields.get("Reason", "")[:MAX_REASON_LENGTH].replace("_", " "),
        start=int(start) if SECONDS.fullmatch(start) else None,
        seconds_left=max(0, int(end) - int(time.time())) if is_started and SECONDS.fullmatch(end) else None,
        node=node if is_started else "",
        is_active=state in ACTIVE,
    )


def read_record(token):
    """What was recorded when the job was submitted; {} without a readable record."""
    try:
        with open(os.path.join(job_folder(token), "job.json"), encoding="utf-8") as file:
            record = json.load(file)
            return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def started_at(token):
    """When the job has started, as its node has it; None before that. Slurm creates the job's output then."""
    folder = job_folder(token)
    try:
        os.listdir(folder)  # on a network file system, this asks the server for what is new
        return os.stat(os.path.join(folder, "output")).st_mtime_ns
    except OSError:
        return None


def mark_signalled(token):
    """Record that Slurm has sent a signal to the job, so that it ends for that reason."""
    write_private(os.path.join(job_folder(token), "signalled"), "")


def clear_signal(token):
    """Remove that record. Raises FileNotFoundError if there is none."""
    os.unlink(os.path.join(job_folder(token), "signalled"))


def is_signalled(token):
    """Whether Slurm has sent a signal to the job."""
    return os.path.exists(os.path.join(job_folder(token), "signalled"))


def read_output(token):
    """The marker of the job's reply and what it has written so far; ("", "") if there is nothing."""
    marker = read_record(token).get("marker")
    try:
        with open(os.path.join(job_folder(token), "output"), "rb") as file:
            output = file.read(MAX_OUTPUT_BYTES).decode("utf-8", "replace")
    except OSError:
        output = ""
    return (marker, output) if isinstance(marker, str) and output else ("", "")
