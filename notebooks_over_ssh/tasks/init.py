"""init: ask for the settings of a site, and write them to the user's own file."""

import getpass
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from notebooks_over_ssh.config.edit import edit_yaml
from notebooks_over_ssh.config.files import find_config_file, read_mapping
from notebooks_over_ssh.config.schema import Configuration, Notebook
from notebooks_over_ssh.config.sources import check_layer, parse_setting
from notebooks_over_ssh.errors import ConfigError, TaskError, unanswered
from notebooks_over_ssh.terminal import (
    TerminalPrompter,
    is_interactive,
    print_detail,
    print_error,
    print_step,
)
from notebooks_over_ssh.util.atomic_write import atomic_write
from notebooks_over_ssh.util.command_hint import command

QUESTIONS = {
    "gateway": "the SSH gateway of your site",
    "user": "your user name there",
    "notebook.host": "the host or pool that the server runs on",
    "notebook.environment": "the environment with Jupyter, by name or path",
    "notebook.directory": "the folder on the host with your notebooks",
}
"""The settings that `init` asks for."""


def init() -> None:
    """Ask the questions, show the answers, and write those that change something. Raises ConfigError or TaskError."""
    path = find_config_file(Path(os.path.expanduser("~"), ".invoke"))
    name = f"~/{path.name}"
    if not is_interactive():
        raise ConfigError(
            "init asks questions, and there is no terminal",
            hint=f"write the settings to {name}: gateway, user, and notebook: {{host, environment, directory}}",
        )
    if path.suffix == ".json":
        raise ConfigError(f"init cannot change {name}, which is JSON", hint="change it yourself")
    mapping = read_mapping(path, name)
    content = b"" if mapping is None else path.read_bytes()
    present = check_layer(mapping or {}, name, is_shared=True)
    prompter = TerminalPrompter(is_interactive())
    answers = _ask(prompter, present)
    changes = {setting: value for setting, value in answers.items() if present.get(setting, ...) != value}
    edited = edit_yaml(content, changes, name)
    for setting, value in changes.items():
        print_step("init", f"{setting}: {_format(value)}")
    if not changes or not prompter.confirm(f"write this to {name}?"):
        return print_step("init", f"{name} is unchanged")
    _write(path, name, edited)
    print_step("init", f"wrote {name}")
    print_detail(f"{command('doctor')} checks everything from here to a working kernel")


def plan() -> None:
    """Print what `init` would do."""
    print_step("init", f"would ask {len(QUESTIONS)} questions, and write the answers to your ~/.invoke.yaml")


def _ask(prompter: TerminalPrompter, present: Mapping[str, Any]) -> dict[str, Any]:
    """The answers by setting; an empty one keeps what is there, or the default. Raises TaskError at end of input."""
    answers: dict[str, Any] = {}
    for setting, question in QUESTIONS.items():
        current = present[setting] if setting in present else _default(setting)
        while setting not in answers:
            text = prompter.ask(f"{question} [{_format(current)}]:")
            if text is None:
                raise unanswered()
            if not text:
                break
            try:
                answers[setting] = parse_setting(setting, text, setting)
            except ConfigError as error:
                print_error(error)
    return answers


def _default(setting: str) -> Any:
    if setting == "user":
        return getpass.getuser()
    section, _, name = setting.rpartition(".")
    return getattr(Notebook() if section else Configuration(), name)


def _format(value: Any) -> str:
    return "none" if value is None else str(value)


def _write(path: Path, name: str, content: bytes) -> None:
    """Replace the file, which keeps its mode; a symbolic link keeps leading to it. Raises TaskError."""
    target = path.resolve()
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o600
        atomic_write(target, content, mode)
    except OSError as error:
        raise TaskError(
            f"{name} cannot be written: {error.strerror or error}", hint=f"make {target.parent} writable"
        ) from error
