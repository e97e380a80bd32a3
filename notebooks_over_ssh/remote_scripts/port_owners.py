"""Tells which of the ports given have a listener of another account on this host; leaves nothing behind.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os

from common import answer, listeners


def main(parameters):
    # Root can read and change everything here anyway. An account of the system's own (login.defs(5), SYS_UID_MAX) may
    # run a program that others have taken over, or one that serves whoever asks.
    trusted = (0, os.getuid())
    taken = {(port, user) for _, _, port, user, _ in listeners() if user not in trusted}
    answer(problem="", taken=sorted(entry for entry in taken if entry[0] in parameters["ports"]))
