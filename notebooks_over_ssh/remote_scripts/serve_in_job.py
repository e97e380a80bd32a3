"""Starts the server in a job, and stays until it ends, so that the job ends with it.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import time

import start_server
from common import process_start, reply
from server_state import Server

POLL_INTERVAL_S = 1


def main(parameters):
    result = start_server.start(parameters, lambda: True)
    reply(**result)
    # There is none after a failed start. A server that did not answer in time may still do.
    record = Server().running()
    while record and process_start(record["pid"]) == record["process_start"]:
        time.sleep(POLL_INTERVAL_S)
