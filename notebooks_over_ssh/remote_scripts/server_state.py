"""The session's server on this host: its record, whether it is running, and requests to it.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import binascii
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import struct

from common import listeners, process_start, state_folder, write_private

PARTIAL_CHAIN = (
    0x80000  # X509_V_FLAG_PARTIAL_CHAIN: the server's certificate is the anchor, whoever signed it
)
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the certificate is pinned, and the clock may be wrong
AUDIT_TIMEOUT_S = 2  # of a server that should answer at once
MAX_LINE_LENGTH = 1000  # characters of a line of the log in a reply
SERVER_INFO = re.compile(r"(?:jpserver|nbserver)-([0-9]{1,10})\.json\Z")
FOREIGN_HOST = "not-this-server.invalid"


class Server(object):
    """The files of the session's server on this host, or on another one that has the same home folder."""

    def __init__(self, host=None):
        """`host` is the name of the other host."""
        self.folder = state_folder()
        if host is not None:
            self.folder = os.path.join(os.path.dirname(self.folder), host)
        self.record_path = os.path.join(self.folder, "server.json")
        self.log = os.path.join(self.folder, "server.log")
        self.token_path = os.path.join(self.folder, "token")
        self.old_token_path = os.path.join(self.folder, "access")  # the name in earlier versions
        # Jupyter reads its certificate for each connection, but its password once. The server has its own copy of key
        # and certificate, so that both change together, at the next start.
        self.pem_path = os.path.join(self.folder, "server.pem")
        self.runtime = os.path.join(self.folder, "runtime")
        # Of all hosts that share the home folder: the next job may run on another one.
        self.cookie_key_path = os.path.join(os.path.dirname(self.folder), "cookie_key")

    def record(self):
        """The record that was written when the server started; None without a readable one."""
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
        """The record of the server if its process is still running, else None."""
        record = self.record()
        return record if record and process_start(record["pid"]) == record["process_start"] else None

    @staticmethod
    def digest_in(record):
        """The digest of the credentials that the server started with; earlier versions called it `protected_with`."""
        return record.get("credentials_digest", record.get("protected_with"))

    def stale_pid(self, credentials_digest):
        """The PID of the server if it runs with another password or certificate than these, else 0."""
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

    def find_server_info(self, pid):
        """As `read_server_info`, with the PID; also of a server that the process `pid` runs (notebook.prefix).

        The runtime folder is emptied before a server starts, and a server that a kernel starts comes later.
        """
        pids = [pid]
        with contextlib.suppress(OSError):
            pids += [
                int(match.group(1)) for match in map(SERVER_INFO.match, os.listdir(self.runtime)) if match
            ]
        for server_pid in pids:
            info = self.read_server_info(server_pid)
            if info:
                return dict(info, pid=server_pid)
        return None

    def read_server_info(self, pid):
        """The server info file that Jupyter wrote to its runtime folder, or None while there is none."""
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
        """Why the running server is not protected; "" if it is.

        Accepts only the certificate that the server was started with. Raises OSError or ValueError.
        """
        with contextlib.closing(connect(record, timeout_s)) as connection:
            status, _ = get(connection, "/api/kernels", {})
            if status not in (401, 403):
                return "it answered a request without login"
            # A request from a page of another site gets 404 before anything else is checked.
            status, _ = get(connection, "/api/kernels", {"Origin": "https://" + FOREIGN_HOST})
            if status != 404:
                return "it answered a request from another web site"
            # DNS rebinding: a browser treats a page under any name that resolves to this host as the server's own.
            status, _ = get(connection, "/login", {"Host": "%s:%d" % (FOREIGN_HOST, record["port"])})
            if status != 403:
                return "it answered under a host name other than localhost"
        exposed_addresses = sorted(
            address for address in listening_addresses(record["pid"]) if not is_loopback(address)
        )
        return "it listened on " + ", ".join(exposed_addresses) if exposed_addresses else ""

    def find_answering(self, application):
        """The record of the server if it runs, is protected, and is of this application; None if not, or not yet."""
        record = self.running()
        if not record or not record["port"] or record["application"] != application:
            return None
        info = self.find_server_info(record["pid"])
        if not info or info["port"] != record["port"]:
            return None
        try:
            return None if self.audit(record, AUDIT_TIMEOUT_S) else record
        except (OSError, ValueError):
            return None

    def api_get(self, record, path, timeout_s):
        """The JSON reply of the server to GET of the path, with the token. Raises OSError or ValueError."""
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


def describe(record, already_running, stale):
    """The fields of a reply about a server that answers; `stale` is whether it has an older password or certificate."""
    names = (
        "pid",
        "process_start",
        "port",
        "application",
        "version",
        "directory",
        "started",
        "certificate_pem",
    )
    return dict(
        {name: record[name] for name in names},
        already_running=already_running,
        writable=os.access(record["directory"], os.W_OK),
        has_stale_credentials=stale,
    )


def connect(record, timeout_s):
    """A TLS connection to the server, which must present the certificate that it was started with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is pinned, which is stricter than its name
    context.verify_flags |= PARTIAL_CHAIN | NO_CHECK_TIME
    context.load_verify_locations(cadata=record["certificate_pem"])
    connection = http.client.HTTPSConnection("127.0.0.1", record["port"], timeout=timeout_s, context=context)
    connection.connect()
    return connection


def listening_addresses(pid):
    """The addresses on which the process listens; none without /proc."""
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
            # 32-bit words, each in the byte order of the machine.
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
