"""Shows what a site's file sets, and asks, before it first counts."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from notebooks_over_ssh import state_files
from notebooks_over_ssh.config.settings import Site
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.terminal import TerminalPrompter

_NAME_COLUMNS = 24


def require_accepted(site: Site, prompter: TerminalPrompter) -> None:
    """Return if the user has accepted these settings of the site before, or does so now. Raises ConfigError.

    A file with other settings than the accepted ones is shown again, with what changed.
    """
    accepted = _accepted_settings(site)
    if accepted == site.settings:
        return
    news = "new" if accepted is None else "different from the one that you accepted"
    lines = tuple(_describe(site.settings) if accepted is None else _changes(accepted, site.settings))
    if not prompter.is_interactive:
        raise ConfigError(
            f"the site's file {site.path} is {news}, and there is no terminal to confirm it",
            hint="run the command once at a terminal, where you can confirm these settings",
            detail=lines,
        )
    settings = "\n".join(f"  {line}" for line in lines)
    if not prompter.confirm(f"the site's file {site.path} is {news}. It sets\n{settings}\nuse it?"):
        raise ConfigError(
            f"the site's file {site.path} was not accepted",
            hint="run the command again to accept it, or name another site with --site",
        )
    state_files.write(_record(site), msgspec.json.encode(site))


def _describe(settings: Mapping[str, Any]) -> list[str]:
    return [_row(name, value) for name, value in _rows(settings).items()] or ["no setting"]


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The lines of the settings that differ, with the old value."""
    old_rows, new_rows = _rows(old), _rows(new)
    return [
        _row(name, f"{new_rows.get(name, 'not set any more')} (was {old_rows.get(name, 'not set')})")
        for name in {**new_rows, **old_rows}
        if new_rows.get(name) != old_rows.get(name)
    ]


def _row(name: str, value: str) -> str:
    return f"{name:{_NAME_COLUMNS}} {value}"


def _rows(settings: Mapping[str, Any]) -> dict[str, str]:
    """Each setting as one line of text, and each name in `ssh.host_keys`."""
    rows: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows |= {f"{name}.{inner}": ", ".join(texts) for inner, texts in value.items()}
        elif isinstance(value, list):
            rows[name] = ", ".join(value)
        else:
            rows[name] = "none" if value is None else str(value)
    return rows


def _accepted_settings(site: Site) -> dict[str, Any] | None:
    """The settings in the record of this path; None without a readable one. Raises TaskError."""
    content = state_files.read(_record(site))
    try:
        return None if content is None else msgspec.json.decode(content, type=Site).settings
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _record(site: Site) -> Path:
    name = hashlib.sha256(site.path.encode(errors="surrogateescape")).hexdigest()
    return state_files.state_folder("sites") / f"{name}.json"
