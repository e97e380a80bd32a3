"""The server of ours on this host: its record, whether it still runs, and what it answers.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import contextlib
import http.client
import json
import os
import ssl

from host import process_start, state_folder, write_private

PARTIAL_CHAIN = (
    0x80000  # X509_V_FLAG_PARTIAL_CHAIN: the one certificate that we know is an anchor, whoever signed it
)


class Server(object):
    """The files that tell of the server of ours on this host."""

    def __init__(self):
        self.folder = state_folder()
        self.record_path = os.path.join(self.folder, "server.json")
        self.log = os.path.join(self.folder, "server.log")
        self.token_path = os.path.join(self.folder, "access")
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

    def note(self, record):
        write_private(self.record_path, json.dumps(record, indent=2) + "\n")

    def forget(self):
        for path in (self.record_path, self.token_path):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass

    def announced(self, pid):
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

    def look(self, record, timeout_s):
        """The certificate (DER) that the server shows on this host's loopback, and whether it serves who has not logged in.

        Only the certificate that it was started with is accepted. Raises OSError or ValueError.
        """
        with contextlib.closing(connect(record, timeout_s)) as connection:
            served = connection.sock.getpeercert(True)
            status, _ = get(connection, "/api/kernels", {})
            return served, status not in (401, 403)

    def ask(self, record, path, timeout_s):
        """What the server answers to its owner: GET the path, with our token. Raises OSError or ValueError."""
        with open(self.token_path) as file:
            headers = {"Authorization": "token " + file.read().strip()}
        with contextlib.closing(connect(record, timeout_s)) as connection:
            status, body = get(connection, path, headers)
            if status != 200:
                raise ValueError("%s answered %d" % (path, status))
            return json.loads(body.decode("utf-8"))

    def last_lines(self, number):
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.path.getsize(self.log) - 65536))
                return file.read().decode("utf-8", "replace").splitlines()[-number:]
        except OSError:
            return []


def connect(record, timeout_s):
    """A TLS connection to the server, which has shown the certificate that it was started with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is the anchor, which is more than its name
    context.verify_flags |= PARTIAL_CHAIN
    context.load_verify_locations(cafile=record["certificate"])
    connection = http.client.HTTPSConnection("127.0.0.1", record["port"], timeout=timeout_s, context=context)
    connection.connect()
    return connection


def get(connection, path, headers):
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ValueError("%s: %r" % (path, error))
