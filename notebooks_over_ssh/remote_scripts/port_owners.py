"""Reports which of the given ports have a listener of another account on this host. Leaves nothing behind.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os

from common import listeners, reply


def main(parameters):
    # Root can read and change everything anyway. System accounts (login.defs(5), SYS_UID_MAX) are not trusted: they may
    # run a program that was taken over, or one that serves everybody.
    trusted_uids = (0, os.getuid())
    foreign = {(port, user) for _, _, port, user, _ in listeners() if user not in trusted_uids}
    reply(
        problem="",
        is_known=os.access("/proc/net/tcp", os.R_OK),  # else `listeners` is empty
        foreign=sorted(entry for entry in foreign if entry[0] in parameters["ports"]),
    )
