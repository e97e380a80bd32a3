"""Sites: the file in which a department describes its gateway and hosts, and what such a file may set."""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from notebooks_over_ssh.config.files import SUFFIXES, parse_mapping
from notebooks_over_ssh.config.schema import Job
from notebooks_over_ssh.config.sources import Source, check_layer
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.util.peer_text import clean

ALLOWED = (
    "gateway",
    "port",
    "notebook.host",
    "notebook.environment",
    "notebook.modules",
    "notebook.directory",
    "notebook.application",
    "notebook.nice",
    "notebook.launcher",
    "notebook.node_access",
    *(f"notebook.job.{name}" for name in Job.__struct_fields__ if name != "sbatch_arguments"),
    "ssh.host_keys",
)
"""The settings that a site's file may have: where the hosts are, what is on them, and what a job asks for. None is a
command for this machine, a path on it, or an argument for Jupyter."""
MAX_FILE_BYTES = 1 << 16


class Site(msgspec.Struct, frozen=True):
    """A site's file."""

    path: str
    """Absolute."""
    settings: dict[str, Any]
    """Its settings by name, all of them in ALLOWED, and in that order."""


def insert_site(sources: Sequence[Source]) -> tuple[list[Source], Site | None]:
    """The sources with the site that the last of them names, just before the one that names it.

    So a setting in the same source as the site's name overrides the site's, and the site's overrides those in the
    sources before. Only a host key that the user has pinned wins over the site's everywhere. Raises ConfigError.
    """
    layers = [source.layer for source in sources]
    naming = [number for number, layer in enumerate(layers) if "notebook.site" in layer]
    if not naming or layers[naming[-1]]["notebook.site"] is None:
        return list(sources), None
    paths = {name: path for layer in layers for name, path in layer.get("notebook.sites", {}).items()}
    site = _read(_find_path(layers[naming[-1]]["notebook.site"], paths))
    layer = dict(site.settings)
    pinned = {name for own in layers for name in own.get("ssh.host_keys", {})}
    if "ssh.host_keys" in layer:
        layer["ssh.host_keys"] = {
            name: keys for name, keys in layer["ssh.host_keys"].items() if name not in pinned
        }
    return [*sources[: naming[-1]], Source(site.path, layer), *sources[naming[-1] :]], site


def make_absolute(site: str | None) -> str | None:
    """The value of `--site`, in which the path of a file is relative to the current folder."""
    if site is None or not _is_path(site) or site.startswith("~"):
        return site
    return os.path.abspath(site)


def _is_path(site: str) -> bool:
    return os.sep in site or site.endswith(SUFFIXES)


def _find_path(site: str, paths: dict[str, str]) -> Path:
    if not _is_path(site) and site not in paths:
        alternatives = f"the sites there are {', '.join(paths)}" if paths else "add its name and file there"
        raise ConfigError(
            f"there is no site {site} in notebook.sites", hint=f"{alternatives}; or give the path of its file"
        )
    path = Path(os.path.expanduser(site if _is_path(site) else paths[site]))
    if not path.is_absolute():
        raise ConfigError(
            f"the path of a site's file in the settings must be absolute, not {str(path)!r}",
            hint="begin it with / or ~/",
        )
    return path


def _read(path: Path) -> Site:
    name = f"the site's file {path}"
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{name} is not a YAML or JSON file", hint="use a file whose name ends in .yaml, .yml or .json"
        )
    layer = check_layer(parse_mapping(_content(path, name), path.suffix, name), name)
    for setting in layer:
        if setting not in ALLOWED:
            raise ConfigError(
                f"{name} sets {setting}, which a site may not",
                hint=f"remove it; a site may set {', '.join(ALLOWED)}",
            )
        _check_visible(layer[setting], f"{setting} in {name}")
    if "notebook.host" not in layer:
        raise ConfigError(
            f"{name} has no notebook.host",
            hint="name its host or pool, as in notebook: {host: student.compute}",
        )
    if " " in (layer.get("gateway") or ""):
        raise ConfigError(
            f"{name} has a command as its gateway, which a site may not",
            hint="name the gateway, as in gateway: student.ssh.example.ac.uk",
        )
    return Site(str(path), {setting: layer[setting] for setting in ALLOWED if setting in layer})


def _check_visible(value: Any, name: str) -> None:
    """Raise ConfigError if a text in the value would look different when it is shown for confirmation."""
    if isinstance(value, Mapping | list):
        for inner in value:
            _check_visible(inner, name)
    elif isinstance(value, str) and clean(value) != value:
        raise ConfigError(
            f"{name} has characters that cannot be shown, more than one space in a row, or is too long",
            hint="remove them, or put the setting into ~/.invoke.yaml",
        )


def _content(path: Path, name: str) -> bytes:
    try:
        # Opening a FIFO would block.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be read: {error.strerror or error}",
            hint="check its path, in notebook.site, notebook.sites or --site",
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{name} has more than {MAX_FILE_BYTES} bytes", hint="check its path: a site's file is short"
        )
    return content
