"""The account and the process at the other end of a Unix socket, as the kernel reports them."""

import socket
import struct
import sys

# macOS: SOL_LOCAL and the options in <sys/un.h>; struct xucred begins with its version and the effective user ID.
SOL_LOCAL = 0
LOCAL_PEERCRED = 0x001
LOCAL_PEERPID = 0x002
XUCRED_BYTES = 76


def peer_uid(sock: socket.socket) -> int:
    """The user ID of the process that connected or listened. Raises OSError."""
    if sys.platform == "darwin":
        _, uid = struct.unpack_from("=II", sock.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED_BYTES))
    else:
        _, uid = _linux_credentials(sock)
    return int(uid)


def peer_pid(sock: socket.socket) -> int:
    """The process that connected or listened; 0 if it is unknown, as in another PID namespace. Raises OSError."""
    if sys.platform == "darwin":
        return sock.getsockopt(SOL_LOCAL, LOCAL_PEERPID)
    pid, _ = _linux_credentials(sock)
    return pid


def _linux_credentials(sock: socket.socket) -> tuple[int, int]:
    # struct ucred in unix(7): process, user and group ID
    pid, uid, _ = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
