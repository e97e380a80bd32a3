"""The command line and the input that run a program of `remote_scripts/` on the host.

Any program may be the login shell, so the command line is a constant that all common shells parse alike. The program
and its parameters are sent on standard input. After a pause TCP sends only 10 segments at once (RFC 6928), so only the
modules that the program imports are sent, and compressed.
"""

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP, END_OF_SCRIPT
from notebooks_over_ssh.ssh.environment import AnyPython, Environment

ANY_PYTHON = AnyPython()
_IMPORT = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)


def build_request(
    marker: str, name: str, parameters: dict[str, Any], environment: AnyPython | Environment = ANY_PYTHON
) -> tuple[str, bytes]:
    """The command line and the standard input that run `remote_scripts/NAME.py`."""
    stdin = script(*environment.scripts) + build_input(marker, name, parameters, environment)
    return BOOTSTRAP, stdin


def build_input(
    marker: str, name: str, parameters: dict[str, Any], environment: AnyPython | Environment
) -> bytes:
    """The standard input with which the scripts of the environment run `remote_scripts/NAME.py`."""
    return environment.header(marker) + build_program(marker, parameters, _imports(name))


def build_program(marker: str, parameters: Any, modules: Mapping[str, str]) -> bytes:
    """The line that run_program.sh reads: the name and source of each module; the last is the program."""
    compressed = zlib.compress(json.dumps(list(modules.items())).encode())
    body = {"marker": marker, "parameters": parameters, "modules": b64encode(compressed).decode()}
    return json.dumps(body).encode() + b"\n"


def script(*names: str) -> bytes:
    """The source of scripts, with the line that ends them for BOOTSTRAP."""
    return "".join([*map(_source, names), END_OF_SCRIPT, "\n"]).encode()


@cache
def _imports(program: str) -> dict[str, str]:
    """The sources of the program and of the modules that it needs, each after those that it imports."""
    sources: dict[str, str] = {}

    def add(name: str) -> None:
        path = files("notebooks_over_ssh") / "remote_scripts" / f"{name}.py"
        if name in sources or not path.is_file():  # a module of the standard library
            return
        source = path.read_text(encoding="utf-8")
        for imported in _IMPORT.findall(source):
            add(imported)
        sources[name] = source

    add("common")  # run_program.sh needs it
    add(program)
    return sources


@cache
def _source(name: str) -> str:
    return (files("notebooks_over_ssh") / "remote_scripts" / name).read_text(encoding="utf-8")
