"""A program of the toy in place of Slurm: asks the sandbox's daemon, which has the queue, and prints its answer."""

import json
import os
import socket
import sys
import threading

BLOCK_BYTES = 262144


def main() -> None:
    program = sys.argv[1]
    try:
        folder = os.getcwd()
        request = {
            "program": program,
            "arguments": sys.argv[2:],
            "folder": folder,
            "time_format": os.environ.get("SLURM_TIME_FORMAT", ""),
            "job": os.environ.get("SLURM_JOB_ID", ""),
        }
        connection = connect(os.environ["NOTEBOOKS_SANDBOX"], folder)
        connection.sendall(json.dumps(request).encode() + b"\n")
        line, rest = read_line(connection)
        reply = json.loads(line)
    except (KeyError, OSError, ValueError):
        sys.exit(
            f"{program}: error: Unable to contact slurm controller: the sandbox's toy queue does not run"
        )
    sys.stdout.write(reply["output"])
    sys.stderr.write(reply["errors"])
    sys.stdout.flush()
    if reply["command"]:
        run_step(reply["command"], reply["environment"])
    if reply["relays"]:
        relay(connection, rest)
    sys.exit(reply["status"])


def connect(sandbox: str, folder: str) -> socket.socket:
    """Connect to the daemon; by a relative path, because that of a socket may have 108 bytes only (unix(7))."""
    connection = socket.socket(socket.AF_UNIX)
    os.chdir(os.path.join(sandbox, "toy_slurm"))
    connection.connect("socket")
    os.chdir(folder)
    return connection


def read_line(connection: socket.socket) -> tuple[bytes, bytes]:
    """The first line that the daemon sends, and what follows it already. Raises ValueError if there is none."""
    received = b""
    while b"\n" not in received:
        block = connection.recv(BLOCK_BYTES)
        if not block:
            raise ValueError("no answer")
        received += block
    line, _, rest = received.partition(b"\n")
    return line, rest


def run_step(command: list[str], environment: dict[str, str]) -> None:
    """Become the command, with the environment of the job's node."""
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  # srun starts programs
    except OSError as error:
        sys.exit(f"slurmstepd: error: execve(): {command[0]}: {error.strerror}")


def relay(connection: socket.socket, rest: bytes) -> None:
    """Copy standard input to the daemon, and what it sends to standard output, until it closes the connection."""
    write_all(rest)
    threading.Thread(target=send_input, args=(connection,), daemon=True).start()
    while True:
        block = connection.recv(BLOCK_BYTES)
        if not block:
            return
        write_all(block)


def send_input(connection: socket.socket) -> None:
    while True:
        block = os.read(0, BLOCK_BYTES)
        if not block:
            connection.shutdown(socket.SHUT_WR)
            return
        connection.sendall(block)


def write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


main()
