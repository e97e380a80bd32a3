"""Starts the practice network's background process, once, and waits until it can be used."""

import importlib.util
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.sandbox.paths import MARKER, Place, the_place
from notebooks_over_ssh.sandbox.process_cleanup import daemons, end
from notebooks_over_ssh.sandbox.start_lock import START_SECONDS, holding_start_lock
from notebooks_over_ssh.sandbox.startup_message import Report, hint_about
from notebooks_over_ssh.sandbox.state import Network, running
from notebooks_over_ssh.util.command_hint import command

_LOG_BYTES_KEPT = 1024 * 1024
NEEDED_PACKAGES = ("asyncssh", "notebook", "jupyter_server", "ipykernel", "matplotlib")
KEPT_VARIABLES = (
    "HOME",
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
)


def start() -> Network:
    """Start the practice network, unless another process has by the time it is our turn.

    Raises Failed when it cannot be made.
    """
    _require_packages()
    place = the_place()
    try:
        with holding_start_lock(place):
            network = running()
            if network is None:
                # One that lost its record or its folder cannot be found by anybody, and may keep the lock.
                end(lambda: daemons(place))
                network = _start(place)
            return network
    except OSError as error:
        raise Failed(
            f"the practice network could not be made in {place.folder}: {error.strerror or error}",
            hint=hint_about(error),
        ) from error


def _require_packages() -> None:
    missing = [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise Failed(
            f"the practice network needs packages that are not installed: {', '.join(missing)}",
            hint="install them with `uv sync --group sandbox`, or set `gateway` in invoke.yaml to your own gateway",
        )


def _start(place: Place) -> Network:
    reading, writing = os.pipe()
    try:
        log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(log).st_size > _LOG_BYTES_KEPT:
                os.ftruncate(log, 0)
            launcher = subprocess.run(
                [
                    sys.executable,
                    "-P",
                    "-X",
                    "utf8",
                    str(Path(__file__).with_name("launch.py")),
                    str(place.folder),
                    str(writing),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={
                    **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
                    MARKER: str(place.folder),
                },
                pass_fds=(writing,),
                start_new_session=True,
                timeout=START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(
                f"Python did not start within {START_SECONDS:.0f} s",
                hint=f"the end of the practice network's log, {place.log}, may say why",
            ) from error
        finally:
            os.close(log)
            os.close(writing)
        answer = _read_to_end(reading, START_SECONDS) if launcher.returncode == 0 else b""
    finally:
        os.close(reading)
    try:
        report = msgspec.json.decode(answer, type=Report)
    except msgspec.MsgspecError:
        report = Report()
    if report.network is not None:
        return report.network
    raise Failed(
        report.error or "the practice network's background process ended before it could be used",
        hint=report.hint or f"see the end of {place.log}; {command('sandbox.stop')} ends what is left of it",
        detail=() if report.error else _end_of(place.log),
    )


def _read_to_end(descriptor: int, seconds: float) -> bytes:
    deadline = time.monotonic() + seconds
    content = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            part = os.read(descriptor, 65536)
            if not part:
                break
            content += part
    return content


def _end_of(log: Path) -> tuple[str, ...]:
    try:
        return tuple(log.read_text(errors="replace").splitlines()[-12:])
    except OSError:
        return ()
