"""The server of ours on this host: its record, whether it still runs, and what it answers.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import binascii
import contextlib
import http.client
import json
import os
import socket
import ssl
import struct

from common import listeners, process_start, state_folder, write_private

PARTIAL_CHAIN = (
    0x80000  # X509_V_FLAG_PARTIAL_CHAIN: the one certificate that we know is an anchor, whoever signed it
)
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: it is known by its key, and the clock may be wrong
MAX_LINE_LENGTH = 1000  # characters of a line of the log in an answer
FOREIGN_HOST = "not-this-server.invalid"


class Server(object):
    """The files that tell of the server of ours on this host."""

    def __init__(self):
        self.folder = state_folder()
        self.record_path = os.path.join(self.folder, "server.json")
        self.log = os.path.join(self.folder, "server.log")
        self.token_path = os.path.join(self.folder, "token")
        self.old_token_path = os.path.join(self.folder, "access")  # the name in earlier versions
        # Jupyter reads its certificate anew for each connection, and its password once: so that both change together,
        # at a start, the server has a key and certificate of its own.
        self.pem_path = os.path.join(self.folder, "server.pem")
        self.runtime = os.path.join(self.folder, "runtime")

    def record(self):
        """What was noted of the server at its start, or None where nothing readable was."""
        try:
            with open(self.record_path, encoding="utf-8") as file:
                record = json.load(file)
            return (
                record
                if isinstance(record["pid"], int) and isinstance(record["process_start"], str)
                else None
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def running(self):
        """The record of the server when its very process still runs, else None."""
        record = self.record()
        return record if record and process_start(record["pid"]) == record["process_start"] else None

    @staticmethod
    def digest_in(record):
        """The digest of the credentials that the server was started with; an earlier version has another name for it."""
        return record.get("credentials_digest", record.get("protected_with"))

    def stale_pid(self, credentials_digest):
        """The process of the server that runs with an older password or certificate than these; 0 when none does."""
        record = self.running()
        return record["pid"] if record and self.digest_in(record) != credentials_digest else 0

    def save(self, record):
        write_private(self.record_path, json.dumps(record, indent=2) + "\n")

    def delete(self):
        for path in (self.record_path, self.token_path, self.old_token_path, self.pem_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def token(self):
        """The token of the server that is on record. Raises OSError."""
        path = self.token_path if os.path.exists(self.token_path) else self.old_token_path
        with open(path) as file:
            return file.read().strip()

    def read_server_info(self, pid):
        """What Jupyter itself wrote about its process into its runtime folder, or None so far."""
        for prefix in ("jpserver", "nbserver"):
            try:
                with open(os.path.join(self.runtime, "%s-%d.json" % (prefix, pid)), encoding="utf-8") as file:
                    info = json.load(file)
                if isinstance(info["port"], int):
                    return info
            except (OSError, ValueError, KeyError, TypeError):
                pass
        return None

    def audit(self, record, timeout_s):
        """What the server does that a protected one does not do ("": nothing).

        Only the certificate that it was started with is accepted. Raises OSError or ValueError.
        """
        with contextlib.closing(connect(record, timeout_s)) as connection:
            status, _ = get(connection, "/api/kernels", {})
            if status not in (401, 403):
                return "it served who had not logged in"
            # A page of another site is told before all else that there is nothing there.
            status, _ = get(connection, "/api/kernels", {"Origin": "https://" + FOREIGN_HOST})
            if status != 404:
                return "it answered to another web site"
            # Who has a name that leads here would be let in by a browser as this server's own page (DNS rebinding).
            status, _ = get(connection, "/login", {"Host": "%s:%d" % (FOREIGN_HOST, record["port"])})
            if status != 403:
                return "it answered under another name than localhost"
        exposed_addresses = sorted(
            address for address in listening_addresses(record["pid"]) if not is_loopback(address)
        )
        return "it listened on " + ", ".join(exposed_addresses) if exposed_addresses else ""

    def api_get(self, record, path, timeout_s):
        """What the server answers to its owner: GET the path, with our token. Raises OSError or ValueError."""
        headers = {"Authorization": "token " + self.token()}
        with contextlib.closing(connect(record, timeout_s)) as connection:
            status, body = get(connection, path, headers)
            if status != 200:
                raise ValueError("%s answered %d" % (path, status))
            return json.loads(body.decode("utf-8"))

    def log_tail(self, number):
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.path.getsize(self.log) - 65536))
                lines = file.read().decode("utf-8", "replace").splitlines()[-number:]
                return [line[:MAX_LINE_LENGTH] for line in lines]
        except OSError:
            return []


def connect(record, timeout_s):
    """A TLS connection to the server, which has shown the certificate that it was started with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is the anchor, which is more than its name
    context.verify_flags |= PARTIAL_CHAIN | NO_CHECK_TIME
    context.load_verify_locations(cadata=record["certificate_pem"])
    connection = http.client.HTTPSConnection("127.0.0.1", record["port"], timeout=timeout_s, context=context)
    connection.connect()
    return connection


def listening_addresses(pid):
    """The addresses on which the process listens; none where nothing tells."""
    try:
        links = [os.path.join("/proc/%d/fd" % pid, name) for name in os.listdir("/proc/%d/fd" % pid)]
    except OSError:
        return set()
    sockets = set()
    for link in links:
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(link))
    addresses = set()
    for family, address, _, _, of_socket in listeners():
        if of_socket in sockets:
            # In words of 32 bits, each in the byte order of the machine.
            words = binascii.unhexlify(address)
            count = len(words) // 4
            packed = struct.pack("!%dI" % count, *struct.unpack("=%dI" % count, words))
            addresses.add(socket.inet_ntop(family, packed))
    return addresses


def is_loopback(address):
    return address == "::1" or address.startswith(("127.", "::ffff:127."))


def get(connection, path, headers):
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ValueError("%s: %r" % (path, error))
