"""init: ask for the settings of a site, and write them to the user's own file."""

import getpass
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notebooks_over_ssh.config.edit import edit_json, edit_yaml
from notebooks_over_ssh.config.files import read_mapping
from notebooks_over_ssh.config.schema import Configuration, Notebook
from notebooks_over_ssh.config.settings import overriding_sources
from notebooks_over_ssh.config.sources import check_layer, parse_setting, user_file
from notebooks_over_ssh.errors import ConfigError, TaskError, unanswered
from notebooks_over_ssh.terminal import (
    TerminalPrompter,
    is_interactive,
    print_detail,
    print_error,
    print_step,
    warn,
)
from notebooks_over_ssh.util.atomic_write import atomic_write
from notebooks_over_ssh.util.command_hint import command

if TYPE_CHECKING:
    from invoke.context import Context

QUESTIONS = {
    "gateway": "the SSH gateway of your site",
    "user": "your user name there",
    "notebook.host": "the host or pool that the server runs on",
    "notebook.environment": "the environment with Jupyter, by name or path",
    "notebook.directory": "the folder on the host with your notebooks",
}
"""The settings that `init` asks for."""


def init(c: "Context") -> None:
    """Ask the questions, show the answers, and write those that change something. Raises ConfigError or TaskError."""
    path = user_file()
    name = f"~/{path.name}"
    if not is_interactive():
        raise ConfigError(
            "init asks questions, and there is no terminal",
            hint=f"write the settings to {name}: gateway, user, and notebook: {{host, environment, directory}}",
        )
    python_file = path.with_suffix(".py")
    if python_file.exists() and not path.exists():
        raise ConfigError(
            f"with {name} in place, Invoke would no longer read ~/{python_file.name}",
            hint=f"move the settings of ~/{python_file.name} to {name}, then run init again",
        )
    mapping = read_mapping(path, name)
    content = b"" if mapping is None else path.read_bytes()
    present = check_layer(mapping or {}, name, is_shared=True)
    prompter = TerminalPrompter(is_interactive())
    answers = _ask(prompter, present)
    changes = {setting: value for setting, value in answers.items() if present.get(setting, ...) != value}
    edited = (edit_json if path.suffix == ".json" else edit_yaml)(content, changes, name)
    for setting, value in changes.items():
        print_step("init", f"{setting}: {_format(value)}")
    if not changes or not prompter.confirm(f"write this to {name}?"):
        return print_step("init", f"{name} is unchanged")
    _write(path, name, edited)
    print_step("init", f"wrote {name}")
    values = present | answers
    _warn_of_overrides(c, {setting: values[setting] for setting in QUESTIONS if setting in values})
    print_detail(f"{command('doctor')} checks everything from here to a working kernel")


def plan() -> None:
    """Print what `init` would do."""
    print_step("init", f"would ask {len(QUESTIONS)} questions, and write the answers to ~/{user_file().name}")


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


def _warn_of_overrides(c: "Context", values: Mapping[str, Any]) -> None:
    """Say which settings in the user's own file do not count in this folder, and why."""
    try:
        overridden = overriding_sources(c, values)
    except ConfigError as error:  # of another file
        return warn(str(error))
    for name, settings in overridden.items():
        warn(f"here, {name} overrides {', '.join(settings)}")


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
