"""Runs enter_environment.sh as on a host, and returns the environment that it has entered."""

import json
import re
from pathlib import Path
from typing import Any

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP
from notebooks_over_ssh.ssh.environment import Environment
from notebooks_over_ssh.ssh.program_input import build_program, script
from tests.kit.local_scripts import MARKER, run_in_shell

PROFILE_FOLDER = Path("/etc/profile.d")
VARIABLES = ("CONDA_PREFIX", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "HOOK", "PATH", "LOADEDMODULES")
PROGRAM = """
import json, os, sys
def main(names):
    values = {name: os.environ.get(name) for name in names}
    sys.stdout.write("\\n%s %s\\n" % (sys.modules["common"].MARKER, json.dumps(dict(values, python=sys.executable))))
"""


def enter(
    home: Path,
    name: str = "",
    *,
    shell: str = "sh",
    variables: dict[str, str] | None = None,
    profile_folder: Path = PROFILE_FOLDER,
    **fields: Any,
) -> dict[str, Any]:
    """Run enter_environment.sh as remote.py does, for a login with this home folder and these variables.

    `profile_folder` replaces /etc/profile.d. `fields` are the other fields of the Environment. Returns VARIABLES and
    the path of the Python that ran, or the error.
    """
    environment = Environment(name, **fields)
    source = script(*environment.scripts).replace(bytes(PROFILE_FOLDER), bytes(profile_folder))
    request = build_program(MARKER, VARIABLES, {"common": "", "program": PROGRAM})
    stdin = source + environment.header(MARKER) + request
    output = run_in_shell(home, shell, BOOTSTRAP.replace("/bin/sh", shell), stdin, variables)
    first, _, lines = output.partition("\n")
    if first.startswith("{"):
        reply: dict[str, Any] = json.loads(first)
        return reply
    problem, _, reason = first.partition(" ")
    names = {line for line in lines.split("\n") if line and not line.startswith("\t")}
    return {
        "problem": problem,
        "reason": reason,
        "alternatives": sorted(names),
        "log": re.findall(r"(?m)^\t(.*)", lines),
    }
