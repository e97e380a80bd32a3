"""The command line and the input that run a program of `remote_scripts/` on the host.

Any program may be the login shell, so the command line is a constant that all common shells parse alike. The program
and its parameters are sent on standard input.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP, END_OF_SCRIPT
from notebooks_over_ssh.ssh.environment import Environment

# Sent with every program, each after the modules that it imports.
SHARED_MODULES = (
    *("common", "process_tree", "jupyter_traits", "insecure_settings"),
    *("exposure", "jupyter_config", "server_state"),
)
# Sent with these programs too, each after the modules that it imports.
OWN_MODULES = {
    **dict.fromkeys(
        ("job_access", "await_job", "cancel_job", "list_partitions", "estimate_start"), ("slurm",)
    ),
    **dict.fromkeys(("submit_job", "job_state"), ("slurm", "queue_status")),
    **dict.fromkeys(("start_server", "stop_server"), ("cookie_key",)),
    "serve_in_job": ("slurm", "cookie_key", "start_server"),
}
ANY_PYTHON = Environment()


def build_request(
    marker: str, name: str, parameters: dict[str, Any], environment: Environment = ANY_PYTHON
) -> tuple[str, bytes]:
    """The command line and the standard input that run `remote_scripts/NAME.py`."""
    return BOOTSTRAP, script("bootstrap.sh") + build_input(marker, name, parameters, environment)


def build_input(
    marker: str, name: str, parameters: dict[str, Any], environment: Environment = ANY_PYTHON
) -> bytes:
    """The standard input with which bootstrap.sh runs `remote_scripts/NAME.py`."""
    modules = (*SHARED_MODULES, *OWN_MODULES.get(name, ()), name)
    body = {
        "marker": marker,
        "parameters": parameters,
        "modules": [(module, _source(f"{module}.py")) for module in modules],
    }
    return environment.header(marker) + json.dumps(body).encode() + b"\n"


def script(*names: str) -> bytes:
    """The source of scripts and what they use, with the line that ends them for BOOTSTRAP."""
    return "".join([*map(_source, ("environments.sh", *names)), END_OF_SCRIPT, "\n"]).encode()


@cache
def _source(name: str) -> str:
    return (files("notebooks_over_ssh") / "remote_scripts" / name).read_text(encoding="utf-8")
