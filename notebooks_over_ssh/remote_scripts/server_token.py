"""Reports the token of the session's server on this host.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

from common import reply
from server_state import Server


def main(parameters):
    server = Server()
    record = server.running()
    # The server reads the token once, as it starts.
    if record is None or record["process_start"] != parameters["process_start"]:
        return reply(problem="server-ended")
    reply(problem="", token=server.token())
