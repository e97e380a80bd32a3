"""A tunnel in a process of its own, which outlives the command and the terminal that opened it.

What it must know, secrets included, reaches it through a pipe. It asks at the terminal as long as the command
waits for it, tells through a pipe that it is ready or why not, and leaves the terminal then.
"""

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from notebooks_over_ssh import debug_log, state_files
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import Failed, Problem
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session, Tunnel
from notebooks_over_ssh.ssh.prompting import Asking, Secrets
from notebooks_over_ssh.terminal import Person, say, show_problem, somebody_is_there
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.events import News
from notebooks_over_ssh.util.command_hint import Invocation, act_for, invocation

_log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]


class Order(msgspec.Struct, frozen=True):
    """What the process must know."""

    session: Session
    settings: Settings
    secrets: Secrets
    somebody_is_there: bool
    noticed: tuple[str, ...]
    old_port: int | None
    invocation: Invocation


class Report(msgspec.Struct, frozen=True):
    """That the tunnel is ready, or the Problem that it met."""

    tunnel: Tunnel | None = None
    exit_code: int = 0
    message: str = ""
    hint: str = ""
    detail: tuple[str, ...] = ()
    source: str = ""


def open_tunnel(session: Session, settings: Settings, asking: Asking, old_port: int | None) -> Tunnel:
    """Start the process and wait until it is ready; returns its tunnel. Raises the Problem that it met.

    `old_port` is that of the tunnel in whose place it comes.
    """
    order = Order(
        session, settings, asking.secrets, somebody_is_there(), tuple(asking.noticed), old_port, invocation()
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "notebooks_over_ssh.tunnel.daemon"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout  # as asked for
    try:
        with process.stdin, process.stdout:
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.close()
            report = msgspec.json.decode(process.stdout.read(), type=Report)
    except msgspec.DecodeError as error:
        raise Failed("the tunnel's process ended before it was ready", hint="try again") from error
    except BaseException:
        process.terminate()
        raise
    if report.tunnel is None:
        kind = {kind.exit_code: kind for kind in Problem.__subclasses__()}[report.exit_code]
        raise kind(report.message, hint=report.hint, detail=report.detail, source=report.source)
    return report.tunnel


def main() -> int:
    """Read the order, open the tunnel, report, and hold it until SIGTERM."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    act_for(order.invocation)
    signal.signal(signal.SIGTERM, _end)
    reported = False
    with suppress(OSError):  # the command that waits has said so
        debug_log.start()
    try:
        asking = Asking(Person(order.somebody_is_there), order.secrets, order.noticed)
        with tunnels.held(order.session, order.settings, asking, order.old_port) as held:
            _report(Report(held.tunnel))
            _leave_the_terminal(order.session)
            reported = True
            held.hold(asking.alone(), _note)
    except tunnels.AlreadyOpen as other:
        _report(Report(other.tunnel))
    except KeyboardInterrupt:
        return 1  # the command that waits for this process was interrupted too, and says so
    except Problem as problem:
        if reported:
            show_problem(problem)
        else:
            _report(
                Report(None, problem.exit_code, str(problem), problem.hint, problem.detail, problem.source)
            )
        return problem.exit_code
    return 0


def _note(news: News) -> None:
    _log.debug("%s", news)
    say(f"{datetime.now():%Y-%m-%d %H:%M:%S} {news}")


def _end(*_: Any) -> None:
    raise SystemExit(0)


def _report(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.flush()


def _leave_the_terminal(session: Session) -> None:
    """Live on without the command that waits, and let it know: its pipe is closed by what takes the pipe's place."""
    os.setsid()
    os.chdir("/")
    log = state_files.open_log(sessions.tunnel_log(session))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for new, old in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(new, old)
    os.close(log)
    os.close(nothing)


if __name__ == "__main__":
    raise SystemExit(main())
