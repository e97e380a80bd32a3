"""Waits in the job until the server's start has a result, and reports it.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import time

import slurm
from common import reply

POLL_INTERVAL_S = 0.05


def main(parameters):
    deadline = time.time() + parameters["timeout_s"]
    marker, output = slurm.read_output(parameters["token"])
    while not has_reply(marker, output) and time.time() < deadline:
        time.sleep(POLL_INTERVAL_S)
        marker, output = slurm.read_output(parameters["token"])
    has_record = bool(slurm.read_record(parameters["token"]))
    reply(problem="", marker=marker, output=output, has_record=has_record)


def has_reply(marker, output):
    """Whether the output has the reply, with the end of its line."""
    _, separator, rest = output.partition("\n%s " % marker)
    return bool(separator and marker) and "\n" in rest
