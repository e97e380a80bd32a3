"""Reports the state of the server's job, and what it has written so far.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os

import slurm
from common import reply

MAX_LOG_LINES = 20


def main(parameters):
    try:
        if parameters["id"] is None:  # its submission was interrupted
            jobs = slurm.find_active()
            job = jobs[0] if jobs else None
        else:
            job = slurm.find(parameters["id"], parameters["token"])
    except slurm.SlurmError as error:
        return reply(**error.fields)
    token = job["token"] if job else parameters["token"]
    marker, output = slurm.read_output(token) if token else ("", "")
    record = slurm.read_record(token) if token else {}
    reply(
        problem="",
        job=job,
        cluster=record.get("cluster", ""),
        submitted=record.get("submitted", ""),
        marker=marker,
        output=output,
        log=log_tail(token) if token else [],
        is_signalled=bool(token) and slurm.is_signalled(token),
    )


def log_tail(token):
    """The last lines that the job wrote to its standard error."""
    try:
        with open(os.path.join(slurm.job_folder(token), "log"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
            return file.read().decode("utf-8", "replace").splitlines()[-MAX_LOG_LINES:]
    except OSError:
        return []
