"""Validates the names of modules, which a shell on the host passes to `module load`."""

import re

from notebooks_over_ssh.errors import ConfigError

MAX_LENGTH = 200
# Nothing that a shell expands, and no dash at the beginning, which `module` would take for an option.
_NAME = re.compile(r"\.?[A-Za-z0-9_][A-Za-z0-9_.+@=-]*(/[A-Za-z0-9_.+@=-]+)*")


def check_modules(modules: list[str], option_name: str) -> None:
    """Raise ConfigError for the first that is not the name of a module. `option_name` is its name in messages."""
    for module in modules:
        if len(module) > MAX_LENGTH or not _NAME.fullmatch(module):
            raise ConfigError(
                f"{option_name} has {module[:60]!r}, which is not the name of a module",
                hint="write each name as one item, as `module avail` lists it, such as python/3.11",
            )
