"""Where settings are written down: layers, each checked by itself, so that a message can name the file that is wrong.

The order is Invoke's: a collection's configuration, `/etc/invoke.yaml`, `~/.invoke.yaml`, the project's `invoke.yaml`,
`INVOKE_…` variables, the file of `-f`; each overrides those before it. A checkout's `invoke.yaml` has the defaults of
the collection, so it counts as the collection's configuration.

The layers are not taken from Invoke's merged configuration, because `fab` reads only `fabric.yaml` and `FABRIC_…`.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from notebooks_over_ssh.config.destination import parse_destination, parse_user
from notebooks_over_ssh.config.files import find_config_file, read_mapping
from notebooks_over_ssh.config.job import check_job_setting
from notebooks_over_ssh.config.jupyter_arguments import check_arguments
from notebooks_over_ssh.config.modules import check_modules
from notebooks_over_ssh.config.notebook_path import parse_notebook_path
from notebooks_over_ssh.config.schema import NOT_SUPPORTED, Configuration, Notebook, OneLine
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

Layer = dict[str, Any]
"""Values by the path of their setting, as in `notebook.nice`."""


class Source(NamedTuple):
    """Where settings come from: a file, the variables, the command line."""

    name: str
    """For messages."""
    layer: Layer


KNOWN_SETTINGS = known_settings(Configuration)
SYSTEM_STEM = Path("/etc/invoke")
_SECRETS = ("connect_kwargs.password", "connect_kwargs.passphrase")
_OWN_PREFIXES = ("INVOKE_NOTEBOOK_", "INVOKE_SSH_", "INVOKE_CONNECT_KWARGS_", "INVOKE_TIMEOUTS_")
_UNCHECKED = ("authentication", "run", "runners", "sudo", "tasks", "debug")
# Invoke reads these itself.
_INVOKE_PREFIXES = (*(f"INVOKE_{section.upper()}" for section in _UNCHECKED), "INVOKE_RUNTIME_CONFIG")
_TOP_LEVEL = sorted({path.partition(".")[0] for path in KNOWN_SETTINGS})
# Fabric's own, in which other tasks of a project may set what these do not support.
_FABRIC_SECTIONS = ("connect_kwargs", "timeouts")
# `notebok` is this close to `notebook`, and what another task calls its settings rarely is.
_MISSPELT_CUTOFF = 0.9


def sources(config: "Config") -> list[Source]:
    """The sources, each overriding those before it. Raises ConfigError for the first that is wrong."""
    project = project_folder(config)
    variables = Source("an INVOKE_ variable", _environment(os.environ))
    if project is not None and (project / "notebooks_over_ssh" / "__init__.py").is_file():
        path = find_config_file(project / "invoke")
        defaults = Source(str(path), _without_shipped_host(_file(path, path.name)))
        return [defaults, *_general(config), variables, _runtime(config)]
    # Other tasks may have their settings in the same files.
    names = ("invoke", "fabric") if file_prefix(config) == "fabric" else ("invoke",)
    paths = [] if project is None else [find_config_file(project / name) for name in names]
    own = [Source(str(path), _file(path, path.name, is_shared=True)) for path in paths]
    return [*_general(config, is_shared=True), *own, variables, _runtime(config, is_shared=True)]


def project_folder(config: "Config") -> Path | None:
    """The folder of the project's settings files, which is that of its collection; None without a project."""
    return Path(config._project_prefix) if config._project_prefix else None


def find_project() -> Path | None:
    """The nearest folder, from the current one upwards, with an `invoke.yaml`; None without one.

    Raises ConfigError if the file belongs to another account than root's: a gateway can be a command, so whoever
    writes the file runs programs as this user.
    """
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return None
    for candidate in (folder, *folder.parents):
        path = find_config_file(candidate / "invoke")
        if path.is_file():
            if os.name == "posix" and path.stat().st_uid not in (os.getuid(), 0):
                raise ConfigError(
                    f"{path} belongs to another account", hint=f"if you trust it, give it with -f: -f {path}"
                )
            return candidate
    return None


def user_file() -> Path:
    """The user's own file, which may not exist."""
    return find_config_file(Path(os.path.expanduser("~"), ".invoke"))


def unread_settings() -> str:
    """The settings in `~/.fabric.yaml`, which do not count, for a message: `gateway, user in ~/.fabric.yaml`."""
    path = find_config_file(Path(os.path.expanduser("~"), ".fabric"))
    try:
        content = read_mapping(path, path.name) or {}
    except ConfigError:  # Fabric itself reports it
        return ""
    settings = [key for key in _TOP_LEVEL if key in content and key not in _UNCHECKED]
    return f"{', '.join(settings)} in ~/{path.name}" if settings else ""


def file_prefix(config: "Config") -> str:
    """What a project's settings files are called by the program itself: `invoke`, or `fabric` (Config, file_prefix)."""
    return config.file_prefix or config.prefix


def _without_shipped_host(project: Layer) -> Layer:
    """The layer of a checkout's file without the host that it is shipped with: nobody named that."""
    return {
        path: value for path, value in project.items() if (path, value) != ("notebook.host", Notebook().host)
    }


def _general(config: "Config", *, is_shared: bool = False) -> list[Source]:
    """The sources below a project's: its collections, this machine, this user."""
    system, user = find_config_file(SYSTEM_STEM), user_file()
    system_name, user_name = str(system), f"~/{user.name}"
    return [
        Source("ns.configure", check_layer(config._collection, "ns.configure", is_shared=is_shared)),
        Source(system_name, _file(system, system_name, is_shared=is_shared)),
        Source(user_name, _file(user, user_name, is_shared=is_shared)),
    ]


def _runtime(config: "Config", *, is_shared: bool = False) -> Source:
    # From -f or INVOKE_RUNTIME_CONFIG (Program.update_config in invoke/program.py). Invoke ignores a missing file.
    path = getattr(config, "_runtime_path", None)
    if path is None:
        return Source("-f", {})
    content = read_mapping(Path(os.path.expanduser(path)), str(path))
    if content is None:
        raise ConfigError(f"there is no configuration file {path}", hint="check the path given with -f")
    return Source(str(path), check_layer(content, str(path), is_shared=is_shared))


def _file(path: Path, name: str, *, is_shared: bool = False) -> Layer:
    return check_layer(read_mapping(path, name) or {}, name, is_shared=is_shared)


def check_layer(content: Mapping[Any, Any], name: str, *, is_shared: bool = False) -> Layer:
    """The settings in the content of a file. Raises ConfigError.

    `is_shared` tells that it may have settings of other tasks too, which are left out.
    """
    section = content.get("connect_kwargs")
    for secret in _SECRETS:
        if isinstance(section, Mapping) and secret.rpartition(".")[2] in section:
            raise ConfigError(
                f"{secret} in {name} is a secret in a configuration file",
                hint="remove the line: you are prompted when it is needed",
            )
    layer = check_mapping(_own(content, name) if is_shared else content, Configuration, name)
    for setting in layer:
        _validate(setting, layer[setting], f"{setting} in {name}")
    return layer


def _own(content: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    """What of the content is for these tasks. Raises ConfigError for what seems to be, misspelt."""
    own: dict[Any, Any] = {}
    for key, value in content.items():
        if key in _FABRIC_SECTIONS and isinstance(value, Mapping):
            own[key] = {inner: value[inner] for inner in value if f"{key}.{inner}" in KNOWN_SETTINGS}
        elif key in _TOP_LEVEL:
            own[key] = value
        elif meant := _misspelt(str(key)):
            raise ConfigError(f"unknown setting {key} in {name}", hint=f"did you mean {meant}?")
    return own


def _misspelt(key: str) -> str | None:
    close = difflib.get_close_matches(key, _TOP_LEVEL, 1, _MISSPELT_CUTOFF)
    # The plural of one of ours is another thing.
    return close[0] if close and close[0].rstrip("s") != key.rstrip("s") else None


def _environment(variables: Mapping[str, str]) -> dict[str, Any]:
    names = _variables(path for path in KNOWN_SETTINGS if path not in _UNCHECKED)
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
            layer[names[variable]] = parse_setting(names[variable], variables[variable], variable)
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


def parse_setting(path: str, text: str, name: str) -> Any:
    """Parse a value of a flag or a variable. Raises ConfigError."""
    value = check_value(parse_text(text, KNOWN_SETTINGS[path]), KNOWN_SETTINGS[path], name)
    _validate(path, value, name)
    return value


def _validate(path: str, value: Any, name: str) -> None:
    if value is None:
        return
    if path == "notebook.host":
        parse_destination(value, name)
    elif path == "connect_kwargs.key_filename" and isinstance(value, str):
        check_value(value, OneLine, name)
    elif path == "notebook.arguments":
        check_arguments(value, name)
    elif path.startswith("notebook.job."):
        check_job_setting(path.rpartition(".")[2], value, name)
    elif path == "notebook.modules":
        check_modules(value, name)
    elif path == "notebook.open":
        parse_notebook_path(value, name)
    elif path == "user":
        parse_user(value, name)
    elif path == "gateway" and normalize_gateway(value) not in (None, "sandbox") and " " not in value:
        for destination in value.split(","):
            parse_destination(destination, name)


def normalize_gateway(value: str | None) -> str | None:
    """The gateway, None for `none`."""
    # `none` as in ssh_config(5), ProxyJump.
    return None if value is None or value.lower() == "none" else value
