"""The account at the other end of a Unix socket, as the kernel reports it."""

import socket
import struct
import sys

# macOS: SOL_LOCAL and LOCAL_PEERCRED in <sys/un.h>; struct xucred begins with its version and the effective user ID.
SOL_LOCAL = 0
LOCAL_PEERCRED = 0x001
XUCRED_BYTES = 76


def peer_uid(sock: socket.socket) -> int:
    """The user ID of the process that connected or listened. Raises OSError."""
    if sys.platform == "darwin":
        _, uid = struct.unpack_from("=II", sock.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED_BYTES))
    else:
        # struct ucred in unix(7): process, user and group ID
        _, uid, _ = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
