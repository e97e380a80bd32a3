"""The settings of one run of a task, merged from all sources.

Later layers override earlier ones: the defaults, the project's `invoke.yaml`, `~/.invoke.yaml`, `INVOKE_…` variables,
the file given with `-f`, the command line. They are read here instead of from the merged `c.config`, because Invoke
gives the project's file precedence over the user's, and `fab` reads `fabric.yaml` and `FABRIC_…` instead. Each layer is
validated separately, so that messages can name the file.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from notebooks_over_ssh.config import cli
from notebooks_over_ssh.config.cli import given_host, overrides
from notebooks_over_ssh.config.destination import SSH_PORT, Destination, parse_destination, parse_user
from notebooks_over_ssh.config.files import find_config_file, read_mapping
from notebooks_over_ssh.config.jupyter_arguments import check_arguments
from notebooks_over_ssh.config.notebook_path import parse_notebook_path
from notebooks_over_ssh.config.schema import (
    NOT_SUPPORTED,
    SSH,
    Configuration,
    ConnectKwargs,
    Notebook,
    OneLine,
    Timeouts,
)
from notebooks_over_ssh.config.validation import (
    check_mapping,
    check_value,
    closest_match,
    known_settings,
    parse_text,
)
from notebooks_over_ssh.errors import ConfigError

if TYPE_CHECKING:
    from invoke.config import Config
    from invoke.context import Context

__all__ = [
    "SSH",
    "SSH_PORT",
    "ConnectKwargs",
    "Destination",
    "Notebook",
    "Settings",
    "Timeouts",
    "check_host_option",
    "load",
    "parse_destination",
]

PROJECT_FILE = Path(__file__).resolve().parents[2] / "invoke.yaml"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The validated settings of one run of a task."""

    gateway: str | None
    """None, "sandbox", comma-separated destinations, the outermost first, or a ProxyCommand (it has a space)."""
    user: str | None
    port: int | None
    connect_kwargs: dict[str, Any]
    """Those that are set, except `timeout`, which is `timeouts.connect`; `key_filename` is a list of expanded paths."""
    timeouts: Timeouts
    ssh_config_path: str | None
    load_ssh_configs: bool
    ssh: SSH
    notebook: Notebook
    explicit_host: str | None
    """The host that the user named with `--host`, `-H` or a setting; None for that of the shipped `invoke.yaml`."""

    def __repr__(self) -> str:
        # Other settings may contain a password, and a repr may be logged.
        return f"Settings(gateway={self.gateway!r}, explicit_host={self.explicit_host!r}, notebook={self.notebook!r})"

    def destination(self, host: str | None = None) -> Destination:
        """Parse `host`, by default `explicit_host` or `notebook.host`, and add `user` and `port` if it has none.

        Raises ConfigError if it is not a destination.
        """
        host_name = self.notebook.host if self.explicit_host is None else self.explicit_host
        destination = parse_destination(host_name if host is None else host, "the host")
        user = self.user if destination.user is None else destination.user
        return Destination(
            destination.host, user, self.port if destination.port is None else destination.port
        )


_KNOWN = known_settings(Configuration)
_SECRETS = ("connect_kwargs.password", "connect_kwargs.passphrase")
_OWN_PREFIXES = ("INVOKE_NOTEBOOK_", "INVOKE_SSH_", "INVOKE_CONNECT_KWARGS_", "INVOKE_TIMEOUTS_")
_UNCHECKED = ("authentication", "run", "runners", "sudo", "tasks", "debug")
# Invoke reads these itself.
_INVOKE_PREFIXES = (*(f"INVOKE_{section.upper()}" for section in _UNCHECKED), "INVOKE_RUNTIME_CONFIG")


def load(c: "Context", *, host: str | None = None, **flags: str | int | bool | None) -> Settings:
    """The settings for a task that runs with `c`, an Invoke Context or the Connection of `fab -H`.

    `host` and `flags` are the values of the task's flags, None if not given. Each flag has the name of its setting in
    `notebook`; a str is parsed as in a variable. Raises ConfigError for the first setting that is unknown or invalid.
    """
    values: dict[str, Any] = {}
    for layer in (
        *sources(c.config),
        _command_line(c.config),
        _flags(flags),
    ):
        values = _merge(values, _normalize_timeout(layer))
    return Settings(
        gateway=_gateway(values.get("gateway", "sandbox")),
        user=values.get("user"),
        port=values.get("port"),
        connect_kwargs=_connect_kwargs(_section(values, "connect_kwargs")),
        timeouts=Timeouts(**_section(values, "timeouts")),
        ssh_config_path=values.get("ssh_config_path"),
        load_ssh_configs=values.get("load_ssh_configs", True),
        ssh=SSH(**_section(values, "ssh")),
        notebook=Notebook(**_section(values, "notebook")),
        explicit_host=given_host(c, c.config, host) or values.get("notebook.host"),
    )


def check_host_option(c: "Context") -> None:
    """Raise ConfigError if Fabric cannot look up a -H."""
    cli.check_host_option(c.config)


def sources(config: "Config") -> list[dict[str, Any]]:
    """The layers of the files and variables. Raises ConfigError."""
    project = _without_shipped_host(_project())
    return [project, _user(), _environment(os.environ), _runtime(config)]


def _project() -> dict[str, Any]:
    return _file(PROJECT_FILE, PROJECT_FILE.name) or {}


def _without_shipped_host(project: dict[str, Any]) -> dict[str, Any]:
    """The project's layer without the host that it is shipped with, which the user has not named."""
    return {
        path: value for path, value in project.items() if (path, value) != ("notebook.host", Notebook().host)
    }


def _user() -> dict[str, Any]:
    path = find_config_file(Path(os.path.expanduser("~"), ".invoke"))
    return _file(path, f"~/{path.name}") or {}


def _runtime(config: "Config") -> dict[str, Any]:
    # From -f or INVOKE_RUNTIME_CONFIG (Program.update_config in invoke/program.py). Invoke ignores a missing file.
    path = getattr(config, "_runtime_path", None)
    if path is None:
        return {}
    layer = _file(Path(os.path.expanduser(path)), str(path))
    if layer is None:
        raise ConfigError(f"there is no configuration file {path}", hint="check the path given with -f")
    return layer


def _file(path: Path, name: str) -> dict[str, Any] | None:
    content = read_mapping(path, name)
    if content is None:
        return None
    section = content.get("connect_kwargs")
    for secret in _SECRETS:
        if isinstance(section, Mapping) and secret.rpartition(".")[2] in section:
            raise ConfigError(
                f"{secret} in {name} is a secret in a configuration file",
                hint="remove the line: you are prompted when it is needed",
            )
    layer = check_mapping(content, Configuration, name)
    for setting in layer:
        _validate_semantics(setting, layer[setting], f"{setting} in {name}")
    return layer


def _environment(variables: Mapping[str, str]) -> dict[str, Any]:
    names = _variables(path for path in _KNOWN if path not in _UNCHECKED)
    secrets, unsupported = _variables(_SECRETS), _variables(NOT_SUPPORTED)
    layer: dict[str, Any] = {}
    for variable in sorted(variables):
        if not variable.startswith("INVOKE_") or variable.startswith(_INVOKE_PREFIXES):
            continue
        if variable in secrets:
            raise ConfigError(
                f"{variable} is a secret in the environment",
                hint="unset it: you are prompted when it is needed",
            )
        if variable in unsupported:
            raise ConfigError(f"{variable} is not supported", hint=NOT_SUPPORTED[unsupported[variable]][1])
        if variable not in names:
            _reject_misspelt_variable(variable, names)
        else:
            layer[names[variable]] = _parse_setting(names[variable], variables[variable], variable)
    return layer


def _variables(paths: Iterable[str]) -> dict[str, str]:
    """The paths of settings, by the name of the variable that sets each."""
    return {f"INVOKE_{path.replace('.', '_').upper()}": path for path in paths}


def _reject_misspelt_variable(variable: str, names: Mapping[str, str]) -> None:
    # Other projects have INVOKE_ variables too, so one that resembles none of ours is ignored.
    paths = {name.removeprefix("INVOKE_").lower(): name for name in names}
    name = variable.removeprefix("INVOKE_").lower()
    match = closest_match(name, paths)
    if match or variable.startswith(_OWN_PREFIXES):
        hint = f"did you mean {paths[match]}?" if match else "unset it"
        raise ConfigError(f"unknown variable {variable}", hint=hint)


def _command_line(config: "Config") -> dict[str, Any]:
    return check_mapping(overrides(config), Configuration, "the command line")


def _flags(flags: Mapping[str, str | int | bool | None]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for name, value in flags.items():
        path = f"notebook.{name}"
        if path not in _KNOWN:
            raise TypeError(f"load() got a flag without a setting: {name}")
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, str):
            layer[path] = _parse_setting(path, value, flag)
        elif value is not None:
            layer[path] = check_value(value, _KNOWN[path], flag)
    return layer


def _parse_setting(path: str, text: str, name: str) -> Any:
    value = check_value(parse_text(text, _KNOWN[path]), _KNOWN[path], name)
    _validate_semantics(path, value, name)
    return value


def _validate_semantics(path: str, value: Any, name: str) -> None:
    if value is None:
        return
    if path == "notebook.host":
        parse_destination(value, name)
    elif path == "connect_kwargs.key_filename" and isinstance(value, str):
        check_value(value, OneLine, name)
    elif path == "notebook.arguments":
        check_arguments(value, name)
    elif path == "notebook.open":
        parse_notebook_path(value, name)
    elif path == "user":
        parse_user(value, name)
    elif path == "gateway" and _gateway(value) not in (None, "sandbox") and " " not in value:
        for destination in value.split(","):
            parse_destination(destination, name)


def _gateway(value: str | None) -> str | None:
    # `none` as in ssh_config(5), ProxyJump.
    return None if value is None or value.lower() == "none" else value


def _normalize_timeout(layer: dict[str, Any]) -> dict[str, Any]:
    # Fabric rejects a connection with both, and -t sets connect_kwargs.timeout.
    if "connect_kwargs.timeout" in layer:
        layer["timeouts.connect"] = layer.pop("connect_kwargs.timeout")
    return layer


def _connect_kwargs(section: dict[str, Any]) -> dict[str, Any]:
    keys = section.pop("key_filename", None)
    if keys:
        paths = [keys] if isinstance(keys, str) else keys
        section["key_filename"] = [os.path.expanduser(path) for path in paths]
    return {key: value for key, value in section.items() if value is not None}


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    prefix = f"{name}."
    return {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
