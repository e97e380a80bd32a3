"""Reports the state of the server's job, and what it has written so far.

Slurm's answer is kept for a while and used by the user's other commands, so running `status` often costs Slurm's
controller no more than one command that waits. The start of the job shows in its folder, without a request to Slurm.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import select
import time

import slurm
from common import reply
from queue_status import query, read_last

MAX_LOG_LINES = 20
POLL_INTERVAL_MS = 1000


def main(parameters):
    token = parameters["token"]
    age_s = 0
    try:
        if parameters["id"] is None:  # its submission was interrupted
            jobs = slurm.find_active()
            job = jobs[0] if jobs else None
        else:
            if not wait_for_start(parameters["id"], token, parameters["wait_s"]):
                return None
            job, age_s = query(
                parameters["id"], token, parameters["max_age_s"], parameters["max_running_age_s"]
            )
    except slurm.SlurmError as error:
        return reply(**error.fields)
    token = job["token"] if job else token
    marker, output = slurm.read_output(token) if token else ("", "")
    record = slurm.read_record(token) if token else {}
    reply(
        problem="",
        job=job,
        age_s=age_s,
        cluster=record.get("cluster", ""),
        submitted=record.get("submitted", ""),
        marker=marker,
        output=output,
        log=log_tail(token) if token else [],
        is_signalled=bool(token) and slurm.is_signalled(token),
    )


def wait_for_start(job_id, token, wait_s):
    """Wait until the job has started, or for `wait_s` seconds; returns False if nobody waits for the reply any more."""
    last = read_last(job_id, token)
    started_at = last["started_at"] if last else slurm.started_at(token)
    reader = select.poll()
    # poll(2) reports POLLERR, the end of the reader, without being asked for it.
    reader.register(1, 0)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline and slurm.started_at(token) == started_at:
        if reader.poll(POLL_INTERVAL_MS):
            return False
    return True


def log_tail(token):
    """The last lines that the job wrote to its standard error."""
    try:
        with open(os.path.join(slurm.job_folder(token), "log"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
            return file.read().decode("utf-8", "replace").splitlines()[-MAX_LOG_LINES:]
    except OSError:
        return []
