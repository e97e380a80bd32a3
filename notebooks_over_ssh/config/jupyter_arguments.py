"""Validates additional arguments for Jupyter: none may weaken the protection of the server."""

import re

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.remote_scripts.jupyter_traits import TRAITS
from notebooks_over_ssh.util.command_hint import command

_ARGUMENT_PATTERN = re.compile(r"--([A-Za-z][\w-]*(?:\.[A-Za-z]\w*)?)(?:=.*)?", re.DOTALL)
# Jupyter's aliases for reserved traits, if they are not the trait's name with dashes.
_ALIASES = {
    "config": "config_file",
    "notebook-dir": "root_dir",
    "browser": "open_browser",
    "no-browser": "open_browser",
}
# The aliases that are safe. Any other may be an alias of any trait, or an abbreviation, which argparse completes.
_ALLOWED_ALIASES = frozenset(
    {
        "debug",
        "log-level",
        "preferred-dir",
        "no-mathjax",
        "autoreload",
        "app-dir",
        "collaborative",
        "core-mode",
    }
    | {"dev-mode", "watch", "splice-source", "skip-dev-build", "custom-css", "no-custom-css"}
    | {"expose-app-in-browser", "extensions-in-dev-mode"}
)


def check_arguments(arguments: list[str], name: str) -> None:
    """Raise ConfigError if an argument is not an option, or sets a reserved trait in any form.

    The forms are --ServerApp.ip, --NotebookApp.ip and --ip. `name` is the setting's name in messages.
    """
    for argument in arguments:
        match = _ARGUMENT_PATTERN.fullmatch(argument)
        if match is None:
            raise ConfigError(
                f"{name} has {argument[:60]!r}, which is not an option",
                hint="write each option as one item, such as --ServerApp.terminals_enabled=False",
            )
        class_, dot, trait = match[1].rpartition(".")
        trait = trait if dot else _ALIASES.get(trait, trait.replace("-", "_"))
        if reserved := TRAITS.get(trait):
            instead = f"; {command(reserved.command)} sets it" if reserved.command else ""
            raise ConfigError(
                f"{name} has --{match[1]}, which cannot be set there: {reserved.refusal}",
                hint=f"remove it{instead}",
            )
        if not class_ and match[1] not in _ALLOWED_ALIASES:
            raise ConfigError(
                f"{name} has --{match[1]}, an unknown short option",
                hint="write it in full, such as --ServerApp.terminals_enabled=False",
            )
