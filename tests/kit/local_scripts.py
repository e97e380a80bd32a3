"""Runs the programs of the host on this machine, in a home folder of the test."""

import contextlib
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from notebooks_over_ssh.sandbox.conda_environments import ensure_environment
from notebooks_over_ssh.ssh.confirmation import CONFIRMATION
from notebooks_over_ssh.ssh.environment import Environment
from notebooks_over_ssh.ssh.program_input import build_request
from tests.kit.wait import TIMEOUT_S

SYSTEM_PYTHON = Path("/usr/bin/python3")
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
# If the tests run with the system's Python, one is enough.
HOST_PYTHONS = ["own"] if Path(sys.executable).resolve() == SYSTEM_PYTHON.resolve() else ["own", "system"]
# The tests' own venv, which has Jupyter; the fixture `host_environment` replaces it.
ENVIRONMENT = Path(sys.prefix)
MARKER = "a-marker"
LOGIN_VARIABLES = {"PATH": "/usr/bin:/bin"}
# The validity of new certificates.
VALIDITY = {"not_before": "260101000000Z", "not_after": "361231235959Z"}
# By environment, what `configure` writes to an empty home: the mode of each path, and the content of a file.
_protected_files: dict[Path, dict[Path, tuple[int, bytes | None]]] = {}
HASH = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdA$aGFzaA"


def run_locally(
    home: Path,
    name: str,
    parameters: dict[str, Any],
    *,
    environment: Path | None = None,
    preexec: Callable[[], None] | None = None,
    variables: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run `remote_scripts/NAME.py` as on a host whose home folder is `home`; returns its reply.

    The environment is `ENVIRONMENT` unless another is given. `preexec` runs in the new process, for example to set a
    limit; `variables` are environment variables.
    """
    command, stdin = request_here(name, parameters, environment)
    output = run_in_shell(
        home, "/bin/sh", command, stdin + CONFIRMATION, variables, umask=0, preexec_fn=preexec
    )
    reply: dict[str, Any] = json.loads(output.partition("\n")[0])
    return reply


def run_in_shell(
    home: Path, shell: str, command: str, stdin: bytes, variables: dict[str, str] | None, **options: Any
) -> str:
    """Run a command as a login with this home folder; returns its output after the marker."""
    result: subprocess.CompletedProcess[bytes] = subprocess.run(
        [shell, "-c", command],
        input=stdin,
        capture_output=True,
        env={**LOGIN_VARIABLES, "HOME": str(home), **(variables or {})},
        cwd=home,
        timeout=TIMEOUT_S,
        check=False,
        **options,
    )
    _, separator, rest = result.stdout.decode().rpartition(f"\n{MARKER} ")
    assert separator, result
    return rest


@contextlib.contextmanager
def start_locally(
    home: Path, name: str, parameters: dict[str, Any], bufsize: int = -1
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `remote_scripts/NAME.py` in the background during the body, with pipes, on which it has its request."""
    command, stdin = request_here(name, parameters)
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=bufsize,
        env={**LOGIN_VARIABLES, "HOME": str(home)},
    ) as program:
        try:
            assert program.stdin
            program.stdin.write(stdin)
            program.stdin.flush()
            yield program
        finally:
            program.kill()


def request_here(name: str, parameters: dict[str, Any], environment: Path | None = None) -> tuple[str, bytes]:
    """The shell command and its stdin that run `remote_scripts/NAME.py` in an environment of this machine."""
    return build_request(MARKER, name, parameters, Environment(str(environment or ENVIRONMENT)))


def make_environment(prefix: Path, python: Path | None = None) -> None:
    """Create an environment with Jupyter whose Python is `python`, or else that of `ENVIRONMENT`."""
    ensure_environment(prefix)
    interpreter = (python or ENVIRONMENT / "bin" / "python").resolve()
    (prefix / "bin/python").unlink()
    (prefix / "bin/python").symlink_to(interpreter)
    (prefix / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")


def configure(home: Path, **parameters: Any) -> dict[str, Any]:
    """The reply of configure_security.py, by default for a password and a new certificate."""
    application = parameters.get("application", "notebook")
    status = run_locally(home, "security_status", {"application": application, "directory": "~"})
    defaults = {
        # Missing in a reply with a problem.
        "credentials_digest": status.get("credentials_digest", ""),
        "application": "notebook",
        "directory": "~",
        "password_hash": HASH,
        "certificate": "make",
        **VALIDITY,
    }
    return run_locally(home, "configure_security", defaults | parameters)


def protect(home: Path) -> None:
    """Protect the server of a home as `configure` does; from the second time on, by a copy of its files."""
    files = _protected_files.setdefault(ENVIRONMENT, {})
    if not files:
        assert configure(home)["problem"] == ""
        for path in home.rglob("*"):
            content = None if path.is_dir() else path.read_bytes().replace(bytes(home), b"{home}")
            files[path.relative_to(home)] = (stat.S_IMODE(path.stat().st_mode), content)
    for name, (mode, content) in files.items():
        if content is None:
            (home / name).mkdir(exist_ok=True)
        else:
            (home / name).write_bytes(content.replace(b"{home}", bytes(home)))
        (home / name).chmod(mode)


def get_status(home: Path) -> dict[str, Any]:
    """The reply of security_status.py."""
    return run_locally(home, "security_status", {"application": "notebook", "directory": "~"})
