"""Tells whether the server of ours runs on this host, and where its log is.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

from host import answer
from server_record import Server


def main(parameters):
    server = Server()
    record = server.running()
    answer(
        problem="",
        running=record is not None,
        pid=record["pid"] if record else None,
        process_start=record["process_start"] if record else None,
        log=server.log,
    )
