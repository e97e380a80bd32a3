"""The status of a job, which is kept in the job's folder for the other commands of the user.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import json
import os
import re
import time

import slurm
from common import write_private

POSITION_INTERVAL_S = 900
# squeue asks for the partitions too.
POSITION_REQUESTS = 2
# For how long a command that starts the server takes a queued job to be there still.
RECENT_S = 10
# squeue(1): a job or an array of them, its partitions, its priority.
FORMAT = "%i|%P|%Q"
LINE = re.compile(
    r"(?P<id>[1-9][0-9]{0,9})(?:_[0-9\[\],%-]{1,200})?\|(?P<partitions>[A-Za-z0-9_.,+-]{1,200})\|(?P<priority>[0-9]{1,10})"
)


def query(job_id, token, max_age_s, max_running_age_s):
    """The job as `slurm.find` has it, and how many seconds ago; while it is queued also how many are `ahead`, if known.

    The last status of a queued job is valid for `max_age_s`, and longer if it took more than one request to the
    controller, unless it was the first; that of any other job is valid for `max_running_age_s`. Neither is valid
    if the job has started since. Raises SlurmError.
    """
    last = read_last(job_id, token)
    now = time.time()
    if last and last["started_at"] == slurm.started_at(token):
        limit_s = max_age_s * last["weight"] if is_queued(last["job"]) else max_running_age_s
        if 0 <= now - last["at"] < limit_s:
            return aged(last["job"], int(now - last["at"]))
    started_at = slurm.started_at(token)
    job = slurm.find(job_id, token)
    position_at = 0
    weight = 1
    if job:
        job["ahead"] = None
    if is_queued(job):
        if last and last["job"]:
            position_at, job["ahead"] = last["position_at"], last["job"]["ahead"]
        # Before its first cycle, the scheduler has given the job no reason to wait, and maybe no priority.
        if job["reason"] != "None" and not 0 <= now - position_at < POSITION_INTERVAL_S:
            position_at, job["ahead"] = now, count_ahead(job_id)
            # The first status is not to hide the scheduler's first estimate, which takes it up to a minute.
            weight += POSITION_REQUESTS if last else 0
    save_last(
        token,
        dict(
            id=job_id,
            at=now,
            started_at=started_at,
            position_at=position_at,
            weight=weight,
            host=os.uname()[1],
            job=job,
        ),
    )
    return job, 0


def find_queued():
    """The job of ours that another command has just seen in the queue; None if there is none.

    Only a command on this machine counts: clusters may share a home folder.
    """
    for token in filter(slurm.TOKEN.fullmatch, os.listdir(slurm.jobs_folder())):
        job_id = slurm.read_record(token).get("id")
        last = read_last(job_id, token)
        is_recent = last and 0 <= time.time() - last["at"] < RECENT_S
        if is_recent and last["host"] == os.uname()[1] and is_queued(last["job"]):
            return dict(last["job"], id=job_id, token=token)
    return None


def is_queued(job):
    return job is not None and job["state"] == "PENDING"


def aged(job, age_s):
    """The job as it is so much later, if nothing else has changed; and its age."""
    if job and job["seconds_left"] is not None:
        job["seconds_left"] = max(0, job["seconds_left"] - age_s)
    return job, age_s


def count_ahead(job_id):
    """How many queued jobs in the same partitions have a higher priority, or the same and were there before.

    None if that is not known: a site may hide the jobs of others, and a queue may be too long to read.
    """
    try:
        status, output, _ = slurm.run(
            ["squeue", "--local", "--noheader", "--states=PENDING", "--format=" + FORMAT]
        )
    except slurm.SlurmError:
        return None
    if status or len(output) >= slurm.MAX_OUTPUT_BYTES:
        return None
    jobs = [match for match in map(LINE.fullmatch, output.split("\n")) if match]
    own = next((job for job in jobs if int(job.group("id")) == job_id), None)
    if own is None:
        return None
    partitions = set(own.group("partitions").split(","))
    return sum(
        rank(job) > rank(own) and not partitions.isdisjoint(job.group("partitions").split(","))
        for job in jobs
    )


def rank(job):
    return int(job.group("priority")), -int(job.group("id"))


def read_last(job_id, token):
    """The last status of this job; None without a readable one."""
    try:
        with open(path(token), encoding="utf-8") as file:
            last = json.load(file)
        is_valid = last["id"] == job_id and all(
            isinstance(last[name], (int, float)) for name in ("at", "position_at", "weight")
        )
        has_job = last["job"] is None or {"ahead", "state", "seconds_left"} <= set(last["job"])
        return last if is_valid and has_job and {"started_at", "host"} <= set(last) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_last(token, last):
    try:
        write_private(path(token), json.dumps(last))
    except OSError:
        pass  # the folder was removed, or the disk is full: the next command asks the controller itself


def path(token):
    return os.path.join(slurm.job_folder(token), "last_query.json")
