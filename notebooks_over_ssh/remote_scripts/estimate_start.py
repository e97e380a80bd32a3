"""Asks Slurm when it would start a job, without submitting it.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import re
import time

import slurm
from common import reply

# sbatch(1), --test-only.
ESTIMATE = re.compile(
    r"sbatch: Job \d{1,10} to start at (\d{1,12}) .*?(?: in partition ([A-Za-z0-9_.-]{1,64}))?"
)


def main(parameters):
    try:
        command = ["sbatch", "--test-only", "--nodes=1", "--ntasks=1", "--wrap=true"]
        status, _, errors = slurm.run(command + parameters["options"])
        if status:
            raise slurm.SlurmError("submit-failed", errors)
    except slurm.SlurmError as error:
        return reply(**error.fields)
    match = next(filter(None, map(ESTIMATE.fullmatch, errors)), None)
    reply(
        problem="",
        starts_in_s=max(0, int(match.group(1)) - int(time.time())) if match else None,
        partition=match.group(2) or "" if match else "",
    )
