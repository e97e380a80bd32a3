"""The settings of one run of a task: those in files and variables (sources.py), then the command line.

Before the source that names a site come the settings of the site's file (site.py).
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from notebooks_over_ssh.config import cli
from notebooks_over_ssh.config.cli import given_host, overrides
from notebooks_over_ssh.config.destination import SSH_PORT, Destination, parse_destination
from notebooks_over_ssh.config.schema import SSH, Configuration, ConnectKwargs, Job, Notebook, Timeouts
from notebooks_over_ssh.config.site import Site, insert_site, make_absolute
from notebooks_over_ssh.config.sources import (
    KNOWN_SETTINGS,
    Source,
    normalize_gateway,
    parse_setting,
    sources,
)
from notebooks_over_ssh.config.validation import check_mapping, check_value
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
    "Site",
    "Timeouts",
    "check_host_option",
    "load",
    "overriding_sources",
    "parse_destination",
]


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
    requested_job: Job = Job()
    """What the command line and its flags ask for, of `notebook.job`."""
    site: Site | None = None
    """The site whose settings are among these, which the user has to accept first (tasks/site_acceptance.py)."""

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


def load(
    c: "Context", *, host: str | None = None, site: str | None = None, **flags: str | int | bool | None
) -> Settings:
    """The settings for a task that runs with `c`, an Invoke Context or the Connection of `fab -H`.

    `host`, `site` and `flags` are the values of the task's flags, None if not given. Each flag has the name of its
    setting in `notebook`, as in `local_port` and `job.time`; a str is parsed as in a variable. Raises ConfigError for
    the first setting that is unknown or invalid.
    """
    values: dict[str, Any] = {}
    flag_source = Source("the flags", _flags({"site": make_absolute(site), **flags}))
    command_line = _command_line(c.config)
    all_sources, site_of_sources = insert_site([*sources(c.config), command_line, flag_source])
    for source in all_sources:
        values = _merge(values, _normalize_timeout(source.layer))
    job = Job(**_section(values, "notebook.job"))
    notebook = Notebook(**_section(values, "notebook"), job=job)
    if notebook.environment == "modules" and not (notebook.modules or notebook.activate):
        raise ConfigError(
            "notebook.environment is modules, but notebook.modules has none",
            hint="list those that provide Python and Jupyter, such as modules: [python/3.11]",
        )
    return Settings(
        gateway=normalize_gateway(values.get("gateway", "sandbox")),
        user=values.get("user"),
        port=values.get("port"),
        connect_kwargs=_connect_kwargs(_section(values, "connect_kwargs")),
        timeouts=Timeouts(**_section(values, "timeouts")),
        ssh_config_path=values.get("ssh_config_path"),
        load_ssh_configs=values.get("load_ssh_configs", True),
        ssh=SSH(**_section(values, "ssh")),
        notebook=notebook,
        requested_job=Job(**_section({**command_line.layer, **flag_source.layer}, "notebook.job")),
        site=site_of_sources,
        explicit_host=given_host(c, c.config, host) or values.get("notebook.host"),
    )


def overriding_sources(c: "Context", values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Of these values in the user's own file, those that do not count: by the name of the source that overrides them.

    Raises ConfigError for the first source that is wrong.
    """
    last = {
        setting: source
        for source in insert_site([*sources(c.config), _command_line(c.config)])[0]
        for setting in source.layer
    }
    overridden: dict[str, list[str]] = {}
    for setting, value in values.items():
        if last[setting].layer[setting] != value:
            overridden.setdefault(last[setting].name, []).append(setting)
    return overridden


def check_host_option(c: "Context") -> None:
    """Raise ConfigError if Fabric cannot look up a -H."""
    cli.check_host_option(c.config)


def prompted_secrets(c: "Context") -> cli.PromptedSecrets:
    """The answers at the prompts of --prompt-for-login-password and --prompt-for-passphrase."""
    return cli.prompted_secrets(c.config)


def is_dry(c: "Context") -> bool:
    """Whether --dry was given."""
    return bool(c.config.run.dry)


def is_one_of_several(c: "Context") -> bool:
    """Whether `c` is the Connection to one of several hosts of -H."""
    return cli.is_one_of_several(c)


def is_first(c: "Context") -> bool:
    """Whether `c` is no Connection to a host of -H but the first."""
    return cli.is_first(c, c.config)


def _command_line(config: "Config") -> Source:
    return Source("the command line", check_mapping(overrides(config), Configuration, "the command line"))


def _flags(flags: Mapping[str, str | int | bool | None]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for name, value in flags.items():
        path = f"notebook.{name}"
        if path not in KNOWN_SETTINGS:
            raise TypeError(f"load() got a flag without a setting: {name}")
        flag = f"--{name.rpartition('.')[2].replace('_', '-')}"
        if isinstance(value, str):
            layer[path] = parse_setting(path, value, flag)
        elif value is not None:
            layer[path] = check_value(value, KNOWN_SETTINGS[path], flag)
    return layer


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
    names = {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}
    return {name: value for name, value in names.items() if "." not in name}


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
