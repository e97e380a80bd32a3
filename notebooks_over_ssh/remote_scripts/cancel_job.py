"""Cancels the server's job, if it is still ours, and waits until it is gone.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import pwd
import shutil
import time

import slurm
from common import reply

FIRST_INTERVAL_S, MAX_INTERVAL_S, BACKOFF = 0.5, 10, 1.5


def main(parameters):
    try:
        reply(**cancel(parameters["id"], parameters["token"], parameters["timeout_s"]))
    except slurm.SlurmError as error:
        reply(**error.fields)


def cancel(job_id, token, timeout_s):
    """Cancel the job; returns the reply. Raises SlurmError."""
    job = slurm.find(job_id, token)
    was_active = job is not None and job["is_active"]
    if was_active:
        user = pwd.getpwuid(os.getuid()).pw_name
        # The number alone could be that of another job by the time that it is cancelled.
        status, _, errors = slurm.run(["scancel", "--user=" + user, "--name=" + slurm.NAME, str(job_id)])
        job = slurm.find(job_id, token)
        if status and job is not None and job["is_active"]:  # it has not ended by itself meanwhile
            raise slurm.SlurmError("cancel-failed", errors)
    deadline = time.time() + timeout_s
    interval_s = FIRST_INTERVAL_S
    while job is not None and (job["is_active"] or job["state"] == "COMPLETING"):
        if time.time() > deadline:
            return dict(problem="job-remains", reason=job["state"])
        time.sleep(interval_s)
        interval_s = min(MAX_INTERVAL_S, interval_s * BACKOFF)
        job = slurm.find(job_id, token)
    shutil.rmtree(slurm.job_folder(token), ignore_errors=True)
    return dict(problem="", was_active=was_active)
