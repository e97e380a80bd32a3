"""Starts the server in a job, and stays until it ends, so that the job ends with it.

At a signal it ends the server first: the launcher has Slurm send one before the time limit, and Slurm sends SIGTERM to
a job that it ends. The line of standard input after the request is the token of the job.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import contextlib
import signal
import sys
import time

import slurm
import start_server
from common import process_start, reply
from process_tree import find_tree, terminate
from server_state import Server

POLL_INTERVAL_S = 1
STOP_TIMEOUT_S = 20
# What --signal in sbatch(1) may send. The default action of each would end the job with the server still running.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Signalled(BaseException):
    """Slurm ends the job, or soon will."""


def main(parameters):
    token = sys.stdin.buffer.readline().decode("ascii").strip()
    with contextlib.suppress(OSError):
        slurm.clear_signal(token)  # of an earlier run, if the job was queued again
    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        reply(**start_server.start(parameters, lambda: True))
        # There is none after a failed start. A server that did not answer in time may still do.
        record = Server().running()
        while record and process_start(record["pid"]) == record["process_start"]:
            time.sleep(POLL_INTERVAL_S)
    except Signalled:
        stop_server(token)


def on_signal(number, frame):
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Signalled


def stop_server(token):
    server = Server()
    with contextlib.suppress(OSError):
        slurm.mark_signalled(token)
    record = server.running()
    if record:
        terminate(find_tree(record["pid"]), STOP_TIMEOUT_S)
        server.delete()
