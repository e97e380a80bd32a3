"""The key of the server's login cookies. It outlives the server, so that an open page stays logged in.

Jupyter keeps its own as long, in the runtime folder, which is emptied before each start. This one is deleted by `stop`.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import binascii
import hashlib
import hmac
import os

from common import write_private

KEY_BYTES = 32


def write_cookie_secret(server, family, credentials_digest):
    """Write the file from which Jupyter reads the key. A new password or certificate makes it another key."""
    key = hmac.new(read_key(server.cookie_key_path), credentials_digest.encode("ascii"), hashlib.sha256)
    name = "notebook_cookie_secret" if family == "classic" else "jupyter_cookie_secret"
    write_private(os.path.join(server.runtime, name), key.hexdigest())


def delete_cookie_key(server):
    """Let the next server accept no cookie of an earlier one."""
    try:
        os.unlink(server.cookie_key_path)
    except OSError:
        pass  # there is none, or the file system is read-only: the password protects the next server too


def read_key(path):
    """The key in the file, which is created if there is none."""
    try:
        with open(path, "rb") as file:
            key = binascii.unhexlify(file.read(2 * KEY_BYTES))
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        key = os.urandom(KEY_BYTES)
        write_private(path, binascii.hexlify(key))
    return key
