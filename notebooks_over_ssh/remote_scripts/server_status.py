"""Reports whether the session's server is running on this host, and its record.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

from common import reply
from server_state import Server


def main(parameters):
    server = Server()
    record = server.running()
    fields = record or {}
    reply(
        problem="",
        running=record is not None,
        pid=fields.get("pid"),
        process_start=fields.get("process_start"),
        port=fields.get("port") or None,
        application=fields.get("application"),
        directory=fields.get("directory"),
        started=fields.get("started"),
        certificate_pem=fields.get("certificate_pem"),
    )
