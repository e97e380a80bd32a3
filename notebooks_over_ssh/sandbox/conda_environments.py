"""Environments laid out as Conda's, with the packages of this project's own environment."""

import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.fake_programs import install_program
from notebooks_over_ssh.util.installation import sandbox_command

_PROGRAMS = Path(__file__).with_name("static") / "conda"
PATH_FILE = "sandbox.pth"  # read at start-up by the `site` module
_PACKAGES = ("jupyter_server", "notebook", "ipykernel", "matplotlib")
_HISTORY = (
    "==> 2026-01-01 00:00:00 <==\n# cmd: conda create --name {name}\n# made by the sandbox's fake conda\n"
)
# A script for both sh and Python: sh runs the `exec` on line 2, Python reads lines 2 and 3 as a string. So Python's
# path may contain spaces, and exceed the kernel's limit for a #! line.
_LAUNCHER = """\
#!/bin/sh
'''exec' {python} "$0" "$@"
' '''
import sys
from {module} import {function}

sys.exit({call}())
"""


def ensure_base(prefix: Path) -> None:
    """Create Conda's base prefix: its history and the fake `conda`."""
    for folder in ("condabin", "bin"):
        install_program(_PROGRAMS / "conda", prefix / folder / "conda")
    _write_history(prefix)


def ensure_plain_environment(prefix: Path) -> None:
    """Create an environment that has Python but not Jupyter."""
    if not _is_usable(prefix):
        _make_python(prefix)
        _write_history(prefix)


def ensure_environment(prefix: Path) -> None:
    """Create an environment with Jupyter, its kernels and matplotlib, which it imports from where this process does.

    Recreated when its Python or one of the packages no longer exists. Raises TaskError when a package is not
    installed in this project's environment.
    """
    if _is_usable(prefix) and _packages_exist(prefix):
        return
    package_dirs = _package_dirs()
    _make_python(prefix)
    _add_packages(prefix, package_dirs)
    _write_history(prefix)


def add_jupyter(prefix: Path) -> None:
    """Add Jupyter, its kernels and matplotlib to a venv of this process's Python, as in `ensure_environment`."""
    _add_packages(prefix, _package_dirs())


def _add_packages(prefix: Path, package_dirs: list[str]) -> None:
    (_site_packages(prefix) / PATH_FILE).write_text("".join(f"{folder}\n" for folder in package_dirs))
    _make_launchers(prefix)
    install_program(_PROGRAMS / "node", prefix / "bin" / "node")
    _share_jupyter_data(prefix)


def _write_history(prefix: Path) -> None:
    # Conda recognizes an environment by this file, so it is written last.
    history = prefix / "conda-meta" / "history"
    if not history.exists():
        history.parent.mkdir(parents=True, exist_ok=True)
        history.write_text(_HISTORY.format(name=prefix.name))


def _is_usable(prefix: Path) -> bool:
    return (prefix / "conda-meta" / "history").exists() and os.access(prefix / "bin" / "python", os.X_OK)


def _packages_exist(prefix: Path) -> bool:
    for path_file in prefix.glob(f"lib/python*/site-packages/{PATH_FILE}"):
        package_dirs = [Path(line) for line in path_file.read_text().splitlines()]
        return all(any((folder / name).is_dir() for folder in package_dirs) for name in _PACKAGES)
    return False


def _make_python(prefix: Path) -> None:
    import venv

    if prefix.exists():
        shutil.rmtree(prefix)
    venv.EnvBuilder(symlinks=True, with_pip=False).create(prefix)


def _site_packages(prefix: Path) -> Path:
    return prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _package_dirs() -> list[str]:
    """The folders from which this process imports _PACKAGES, without repetition."""
    package_dirs: dict[str, None] = {}
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise TaskError(
                f"the sandbox needs the package {name}, which is not installed",
                hint=f"install it: `{sandbox_command()}`",
            )
        package_dirs[str(Path(spec.origin).parent.parent)] = None
    return list(package_dirs)


def _make_launchers(prefix: Path) -> None:
    for program in importlib.metadata.entry_points(group="console_scripts"):
        if program.name.startswith("jupyter"):
            launcher = prefix / "bin" / program.name
            launcher.write_text(
                _LAUNCHER.format(
                    python=shlex.quote(str(prefix / "bin" / "python")),
                    module=program.module,
                    function=program.attr.partition(".")[0],
                    call=program.attr,
                )
            )
            launcher.chmod(0o755)


def _share_jupyter_data(prefix: Path) -> None:
    source = _data_prefix()
    # A copy, because Jupyter's commands write there. It is small.
    if (source / "etc" / "jupyter").is_dir():
        shutil.copytree(source / "etc" / "jupyter", prefix / "etc" / "jupyter", dirs_exist_ok=True)
    _mirror(source / "share" / "jupyter", prefix / "share" / "jupyter", depth=2)


def _mirror(source: Path, target: Path, depth: int) -> None:
    """Create real folders down to `depth`, so that a user can install into them, and symbolic links below."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if depth > 1 and entry.is_dir() and not entry.is_symlink():
            _mirror(entry, target / entry.name, depth - 1)
        else:
            (target / entry.name).symlink_to(entry)


def _data_prefix() -> Path:
    """The prefix with the packages' data files in share/jupyter."""
    for file in importlib.metadata.files("ipykernel") or ():
        if file.match("share/jupyter/kernels/*/kernel.json"):
            return Path(os.path.normpath(file.locate())).parents[4]
    return Path(sys.prefix)
