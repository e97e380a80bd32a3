"""More arguments for Jupyter, each judged by what it would do to the protection of the server."""

import re

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.remote_scripts.jupyter_traits import TRAITS
from notebooks_over_ssh.util.command_hint import command

_ARGUMENT_PATTERN = re.compile(r"--([A-Za-z][\w-]*(?:\.[A-Za-z]\w*)?)(?:=.*)?", re.DOTALL)
# Jupyter's own short spellings of these, where they are not the trait's name with dashes.
_ALIASES = {
    "config": "config_file",
    "notebook-dir": "root_dir",
    "browser": "open_browser",
    "no-browser": "open_browser",
}
# The short spellings that do no harm. Others may be any trait's, or the beginning of one, which argparse completes.
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
    """See that each is a flag that leaves the protection of the server alone; `name` is how messages call the setting.

    A trait is refused in every spelling: --ServerApp.ip, --NotebookApp.ip, --ip. Raises ConfigError.
    """
    for argument in arguments:
        match = _ARGUMENT_PATTERN.fullmatch(argument)
        if match is None:
            raise ConfigError(
                f"{name} has {argument[:60]!r}, which is no argument",
                hint="write each in one piece, as in --ServerApp.terminals_enabled=False",
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
                f"{name} has --{match[1]}, a short form that is not known here",
                hint="write it in full, as in --ServerApp.terminals_enabled=False",
            )
