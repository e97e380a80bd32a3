"""Tells whether the server of ours runs on this host, what was noted of it, and where its log is.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

from common import answer
from server_state import Server


def main(parameters):
    server = Server()
    record = server.running()
    known = record or {}
    answer(
        problem="",
        running=record is not None,
        pid=known.get("pid"),
        process_start=known.get("process_start"),
        port=known.get("port") or None,
        application=known.get("application"),
        directory=known.get("directory"),
        started=known.get("started"),
        certificate_pem=known.get("certificate_pem"),
        log=server.log,
    )
