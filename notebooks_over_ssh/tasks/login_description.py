"""Describes a login that is held for later commands."""

from datetime import datetime

from notebooks_over_ssh.ssh.mux.login_sockets import HeldLogin


def describe(held_login: HeldLogin) -> str:
    """Since when a login is held, and until when, in the local time."""
    since = f"since {_format(held_login.since)}"
    if held_login.tunnel:
        return f"{since}, by {held_login.tunnel}"
    if held_login.until is None:
        return f"{since}, in use"
    return f"{since}, until {_format(held_login.until)} unless a command uses it"


def _format(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment):%Y-%m-%d %H:%M}"
