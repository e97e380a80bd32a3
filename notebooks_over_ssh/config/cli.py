"""The command-line options of `fab` and `invoke` themselves, before the task."""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
from paramiko.ssh_exception import SSHException

from notebooks_over_ssh.config.destination import Destination, parse_destination
from notebooks_over_ssh.errors import ConfigError

if TYPE_CHECKING:
    from invoke.config import Config
    from invoke.context import Context


class PromptedSecrets(msgspec.Struct, frozen=True):
    """The answers at the prompts of --prompt-for-login-password and --prompt-for-passphrase."""

    password: str | None = None
    passphrase: str | None = None

    def __repr__(self) -> str:
        return "PromptedSecrets(…)"


def prompted_secrets(config: "Config") -> PromptedSecrets:
    """The answers at the prompts of these options, which Fabric stores in `connect_kwargs`."""
    values = getattr(config, "_overrides", {}).get("connect_kwargs", {})
    return PromptedSecrets(**{name: values.get(name) or None for name in PromptedSecrets.__struct_fields__})


def overrides(config: "Config") -> dict[str, Any]:
    """The settings that these options set (-i, -t, -T, -S, -e, …), in the format of a configuration file.

    Fabric has them in `Config._overrides` only (Fab.update_config in fabric/main.py).
    """
    values = {key: value for key, value in getattr(config, "_overrides", {}).items() if value}
    # Invoke's form of -i, with Path objects; connect_kwargs.key_filename has the same files.
    values.pop("authentication", None)
    if "connect_kwargs" in values:
        values["connect_kwargs"] = {
            key: value
            for key, value in values["connect_kwargs"].items()
            if key not in PromptedSecrets.__struct_fields__
        }
    path = getattr(config, "_runtime_ssh_path", None)
    # The path may also come from fabric.yaml, which does not count here because `invoke` does not read it.
    if path and path != config.get("ssh_config_path"):
        values["ssh_config_path"] = str(path)
    return values


def check_host_option(config: "Config") -> None:
    """Raise ConfigError if Fabric cannot look up a -H in the ssh_config given with -S.

    Fabric does so before it runs the task, and Paramiko fails if CanonicalizeHostname is set without CanonicalDomains.
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
                hint=f"use --host {text} after the task",
            ) from error


def is_one_of_several(c: "Context") -> bool:
    """Whether `c` is the Connection to one of several hosts of -H."""
    return _is_connection(c) and len(set(_hosts_in_argv(sys.argv))) > 1


def is_first(c: "Context", config: "Config") -> bool:
    """Whether `c` is no Connection to a host of -H but the first."""
    return not is_one_of_several(c) or _host_of(c, config) == next(_hosts_in_argv(sys.argv))


def refuse_remainder(argv: Sequence[str]) -> None:
    """Raise ConfigError for a command after `--`.

    Fabric would run it through a Connection of its own, which knows no gateway of these settings and accepts any host
    key.
    """
    if "--" in argv:
        raise ConfigError("a command for the host after -- is not supported", hint="run it with ssh")


def given_host(c: "Context", config: "Config", flag: str | None) -> str | None:
    """The value of `--host` (`flag`) or `-H`, unparsed; None if neither was given.

    Raises ConfigError if one is not a destination, or they differ.
    """
    option = _host_of(c, config)
    if option is not None and flag is not None:
        if parse_destination(option, "-H") != parse_destination(flag, "--host"):
            raise ConfigError(f"-H {option} and --host {flag} differ", hint="use one of the two")
    elif option is not None:
        parse_destination(option, "-H")
    elif flag is not None:
        parse_destination(flag, "--host")
    return option if flag is None else flag


def _host_of(c: Any, config: "Config") -> str | None:
    if not _is_connection(c):
        return None
    name: str = c.original_host
    # A Connection does not show whether its user and port are defaults, so look in argv.
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


def _is_connection(c: Any) -> bool:
    return isinstance(getattr(c, "original_host", None), str)


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
