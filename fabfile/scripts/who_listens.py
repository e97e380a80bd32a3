"""Tells which of the ports given have a listener of another person on this host; leaves nothing behind.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os

from host import answer, listeners

# Accounts below are the system's own (login.defs(5), UID_MIN): a service of the site is no neighbour.
FIRST_PERSON = 1000


def main(parameters):
    others = {port for _, _, port, user, _ in listeners() if user >= FIRST_PERSON and user != os.getuid()}
    answer(problem="", taken=sorted(others & set(parameters["ports"])))
