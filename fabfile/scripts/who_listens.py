"""Tells which of the ports given have a listener of another person on this host; leaves nothing behind.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import contextlib
import os

from host import answer

# Accounts below are the system's own (login.defs(5), UID_MIN): a service of the site is no neighbour.
FIRST_PERSON = 1000
LISTEN = "0A"


def main(parameters):
    ours = os.getuid()
    taken = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        # proc(5): the local address with its port in hexadecimal, the remote one, the state, and further on the user.
        with contextlib.suppress(OSError), open(path) as file:
            for fields in (line.split() for line in file.readlines()[1:]):
                port, user = int(fields[1].rpartition(":")[2], 16), int(fields[7])
                if fields[3] == LISTEN and user >= FIRST_PERSON and user != ours:
                    taken.add(port)
    answer(problem="", taken=sorted(taken & set(parameters["ports"])))
