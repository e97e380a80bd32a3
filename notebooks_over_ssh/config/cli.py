"""What `fab` and `invoke` themselves were told on the command line."""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from paramiko.ssh_exception import SSHException

from notebooks_over_ssh.config.destination import Destination, parse_destination
from notebooks_over_ssh.errors import ConfigError

if TYPE_CHECKING:
    from invoke.config import Config
    from invoke.context import Context


def overrides(config: "Config") -> dict[str, Any]:
    """The settings that the programs' own flags set (-i, -t, -T, -S, -e, …), in the form of a file.

    Fabric keeps them in `Config._overrides` (fabric/main.py, Fab.update_config), with no public way to them.
    """
    values = {key: value for key, value in getattr(config, "_overrides", {}).items() if value}
    # Its own form of -i, with Path objects; connect_kwargs.key_filename says the same.
    values.pop("authentication", None)
    path = getattr(config, "_runtime_ssh_path", None)
    # Fabric keeps the path of its own fabric.yaml in the same place, and `invoke` never reads that file.
    if path and path != config.get("ssh_config_path"):
        values["ssh_config_path"] = str(path)
    return values


def check_host_option(config: "Config") -> None:
    """See that Fabric, which makes a Connection of each -H before its task, can look it up in the file of -S.

    Paramiko canonicalizes a name before it has filled in the defaults of ssh_config(5). Raises ConfigError.
    """
    path = getattr(config, "_runtime_ssh_path", None)
    if not path or path == config.get("ssh_config_path"):
        return
    for text in _hosts_in_argv(sys.argv):
        try:
            config.base_ssh_config.lookup(parse_destination(text, "-H").host)
        except (KeyError, SSHException) as error:
            raise ConfigError(
                f"Fabric cannot look up -H {text} with the CanonicalizeHostname of {path}",
                hint=f"name the host after the task: --host {text}",
            ) from error


def given_host(c: "Context", config: "Config", flag: str | None) -> str | None:
    """The host that `--host` (`flag`) or `-H` named, as it was written; None if neither did.

    Raises ConfigError if one of them is no place, or if they differ.
    """
    option = _host_of(c, config)
    if option is not None and flag is not None:
        if parse_destination(option, "-H") != parse_destination(flag, "--host"):
            raise ConfigError(f"-H says {option} and --host says {flag}", hint="give one of the two")
    elif option is not None:
        parse_destination(option, "-H")
    elif flag is not None:
        parse_destination(flag, "--host")
    return option if flag is None else flag


def _host_of(c: "Context", config: "Config") -> str | None:
    name = getattr(c, "original_host", None)
    if not isinstance(name, str):
        return None
    # A Connection does not tell whether its user and port are defaults, so look at what was written.
    for text in _hosts_in_argv(sys.argv):
        if _matches(text, name, c):
            return text
    user, port = getattr(c, "user", None), getattr(c, "port", None)
    return str(
        Destination(
            name,
            None if user == config.get("user") else user,
            None if port == config.get("port") else port,
        )
    )


def _matches(text: str, name: str, c: Any) -> bool:
    try:
        values = c.derive_shorthand(text)
    except ValueError:
        return False
    return values["host"] == name and all(
        values[part] in (None, getattr(c, part)) for part in ("user", "port")
    )


def _hosts_in_argv(argv: Sequence[str]) -> Iterator[str]:
    for argument, next_argument in pairwise([*argv, ""]):
        if argument in ("-H", "--hosts"):
            yield from next_argument.split(",")
        elif argument.startswith(("-H", "--hosts=")):
            yield from argument.removeprefix("--hosts").removeprefix("-H").removeprefix("=").split(",")
