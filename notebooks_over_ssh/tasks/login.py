"""login and logout: a login that is kept for all commands, without a tunnel."""

import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from threading import Event

import psutil

from notebooks_over_ssh.errors import ConfigError, TaskError
from notebooks_over_ssh.jupyter.connecting import SANDBOX, make_target, sandbox_runs
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.mux.login_sockets import (
    HeldLogin,
    LoginStaysError,
    end_login,
    find_login,
    login_socket,
    login_sockets,
)
from notebooks_over_ssh.tasks.login_description import describe
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import print_detail, print_step, progress
from notebooks_over_ssh.tunnel.background_process import BackgroundProcess
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.duration import describe_duration
from notebooks_over_ssh.util.processes import is_alive

END_TIMEOUT_S = 10
POLL_INTERVAL_S = 0.05


def login(run: Run) -> None:
    """Log in to the host in the background, for all later commands. Raises a UserError."""
    lifetime_s = run.settings.notebook.login_lifetime
    if not lifetime_s:
        raise ConfigError(
            "notebook.login_lifetime is 0, so no login is kept without a tunnel",
            hint="set it to the time in seconds for which an unused login is kept",
        )
    start_if_needed(run.settings.gateway)
    start_time = time.monotonic()
    host = run.settings.destination().host
    held_login = find_login(_login_ids(run)[-1])
    if held_login is not None:
        print_step("login", f"already logged in to {host}")
        return print_detail(describe(held_login))
    with progress("login", f"logging in to {host}"), closing(BackgroundProcess()) as process:
        process.log_in(run.settings, run.credentials)
        accounts = process.keep_login()
    if not accounts:
        return print_step("login", f"the login that ssh holds on {host} is used", start_time)
    print_step("login", f"logged in to {' and '.join(accounts)}", start_time)
    print_detail(f"it ends when no command has used it for {describe_duration(lifetime_s)}")
    print_detail(f"{command('logout')} ends it now")


def logout(run: Run) -> None:
    """End the logins that are held on the hops of the settings' route. Raises a UserError."""
    if run.settings.gateway == SANDBOX and not sandbox_runs():
        return _end(())
    _end(login_socket(login_id) for hop in _login_ids(run) for login_id in hop)


def logout_all() -> None:
    """End all logins that are held. Raises a UserError."""
    _end(login_sockets())


def _login_ids(run: Run) -> list[tuple[str, ...]]:
    """The names of the logins on each hop of the settings' route, outermost first. Raises a UserError."""
    target = make_target(run.settings, run.settings.destination())
    return [hop.login_ids for hop in ssh.resolve_hops(run.settings, target, run.credentials)]


def _end(paths: Iterable[Path]) -> None:
    """End the logins that are offered at these sockets, and their processes. Raises TaskError if one stays."""
    start_time = time.monotonic()
    ended: dict[int, HeldLogin] = {}
    remedies: dict[str, str] = {}
    for path in paths:
        try:
            held_login = end_login(path)
        except LoginStaysError as error:
            remedies[str(error)] = error.hint
        else:
            if held_login is not None:
                ended[held_login.pid] = held_login
    for held_login in ended.values():
        _wait_for_end(held_login)
        print_step("logout", f"ended the login on {' and '.join(held_login.hops)}", start_time)
    if remedies:
        hint = "; ".join(dict.fromkeys(remedies.values()))
        raise TaskError(f"a login stays: {', '.join(remedies)}", hint=hint)
    if not ended:
        print_step("logout", "no login is held")


def _wait_for_end(held_login: HeldLogin) -> None:
    deadline = time.monotonic() + END_TIMEOUT_S
    try:
        process = psutil.Process(held_login.pid)
        while is_alive(process):
            if time.monotonic() > deadline:
                raise TaskError(
                    f"the process {held_login.pid} that holds a login did not end",
                    hint=f"end it with: kill {held_login.pid}",
                )
            Event().wait(POLL_INTERVAL_S)
    except psutil.NoSuchProcess:
        pass
