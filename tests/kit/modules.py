"""Lmod and Environment Modules from their Debian packages, and modules for them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

LMOD = Path("/usr/share/lmod/lmod/init/sh")
# The two packages exclude each other, so .ci/run installs one and unpacks the other.
UNPACKED = Path("/opt/environment-modules")
SYSTEMS = {"lmod": "Lmod", "environment-modules": "Environment Modules"}
INIT = "usr/share/modules/init/sh"
MODULE = """\
#%Module
prepend-path PATH "{folder}/bin"
setenv WORK_PYTHON "{folder}"
"""
BROKEN_MODULE = "#%Module\nprereq something-else\n"


@dataclass(frozen=True)
class ModuleHost:
    """The variables of a login on a host that has modules: `work-python/1.0` and `2.0`, and `broken/1`."""

    system: str
    """`Lmod` or `Environment Modules`."""
    variables: dict[str, str]
    python: Path
    """The prefix of the Python of `work-python/1.0`, which does not exist yet."""


@pytest.fixture(params=SYSTEMS)
def module_host(request: pytest.FixtureRequest, tmp_path: Path) -> ModuleHost:
    """A host with Lmod, which its /etc/profile.d sets up, then one with Environment Modules, which the login's
    variables name.
    """
    path = tmp_path / "modules"
    for name, text in (
        ("work-python/1.0", MODULE.format(folder=tmp_path / "python")),
        ("work-python/2.0", MODULE.format(folder=tmp_path / "no python")),
        ("broken/1", BROKEN_MODULE),
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    variables = {"MODULEPATH": str(path)}
    if request.param == "lmod":
        if not LMOD.exists():
            pytest.skip("needs Lmod (lmod)")
    elif (UNPACKED / INIT).exists():
        variables["MODULESHOME"] = str(_relocate(tmp_path / "package") / "usr/share/modules")
    else:
        pytest.skip(f"needs the package environment-modules, unpacked in {UNPACKED} as by .ci/run")
    return ModuleHost(SYSTEMS[request.param], variables, tmp_path / "python")


def _relocate(root: Path) -> Path:
    """A copy of the unpacked package that works at `root`: its scripts name the folders where it would be installed."""
    shutil.copytree(UNPACKED, root, symlinks=True)
    (library,) = (root / "usr/lib").glob("*/modulecmd.tcl")
    folders = [f"/{library.parent.relative_to(root)}", "/usr/share/modules", "/etc/environment-modules"]
    for script in (library, root / INIT):
        text = script.read_text()
        for folder in folders:
            text = text.replace(folder, f"{root}{folder}")
        script.write_text(text)
    return root
