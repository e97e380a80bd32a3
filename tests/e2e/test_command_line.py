"""The command line before any connection: the tasks and their flags, and that listing them is cheap."""

import re
import sys

import pytest

from tests.kit.cli import BIN_DIR, User, assert_success

TASKS = ("secure", "serve", "tunnel", "trust", "untrust", "stop", "up", "status", "logs", "login", "logout")
SANDBOX_TASKS = ("sandbox.start", "sandbox.stop", "sandbox.status")
FLAGS = {
    "secure": ("--host", "--renew", "--password-file", "--certificate", "--key"),
    "serve": ("--host",),
    "tunnel": ("--host", "--local-port", "--detach", "--no-browser", "--open", "--plain", "--trust"),
    "trust": ("--host",),
    "untrust": ("--host",),
    "stop": ("--host", "--all", "--force"),
    "up": ("--host", "--renew", "--password-file", "--local-port", "--detach", "--no-browser")
    + (
        "--open",
        "--plain",
        "--trust",
    ),
    "status": ("--json", "--editors"),
    "logs": ("--host", "--follow", "--lines"),
    "login": ("--host",),
    "logout": ("--host", "--all"),
}
# Needed only by the sandbox or a task: slow to import.
HEAVY = {
    *("asyncssh", "psutil", "msgspec", "argon2", "filelock", "platformdirs", "tempfile", "logging.handlers"),
    *("notebooks_over_ssh.sandbox", "notebooks_over_ssh.config", "notebooks_over_ssh.tasks.up"),
}
# What `fab` imports for itself.
FABRIC = {"fabric", "paramiko", "cryptography", "tempfile"}

POSIX_ONLY = ("fcntl", "grp", "pty", "pwd", "resource", "termios")


def test_list(idle_user: User) -> None:
    """`--list` shows the same tasks and help texts under each program, and imports none of the slow modules."""
    listings = {}
    for program in ("fab", "invoke", "notebooks"):
        result = assert_success(
            idle_user.execute([sys.executable, "-X", "importtime", str(BIN_DIR / program), "--list"])
        )
        listings[program] = [line.split() for line in result.stdout.splitlines() if re.match(r"  \S", line)]
        imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
        assert "invoke.program" in imported
        assert imported & (HEAVY | FABRIC) == (FABRIC if program == "fab" else set())
    assert listings["fab"] == listings["invoke"] == listings["notebooks"]
    assert {*TASKS, *SANDBOX_TASKS} <= {name for name, *_ in listings["fab"]}
    assert all(sentence for _, *sentence in listings["fab"])
    assert list(idle_user.home.iterdir()) == []


def test_import_on_windows(idle_user: User) -> None:
    """No module of ours that is imported before a task runs needs a module that Python has on POSIX only."""
    code = (
        "import sys, notebooks_over_ssh.program, notebooks_over_ssh.config.settings\n"
        f"posix = [sys.modules[name] for name in {POSIX_ONLY} if name in sys.modules]\n"
        "ours = [m for name, m in sys.modules.items() if name.startswith('notebooks_over_ssh')]\n"
        "print([m.__name__ for m in ours if any(v is p for v in vars(m).values() for p in posix)])"
    )
    assert assert_success(idle_user.execute([sys.executable, "-c", code])).stdout == "[]\n"


@pytest.mark.parametrize("task", TASKS)
def test_flags(task: str, idle_user: User) -> None:
    """Each task has the documented flags, each with a help text."""
    _, options = assert_success(idle_user.fab("--help", task)).stdout.split("Options:")
    lines = [line.strip() for line in options.splitlines() if line.startswith("  -")]
    assert all(re.search(r"\S  +\S", line) for line in lines), lines
    assert set(FLAGS[task]) <= set(re.findall(r"--[\w-]*\w", options))


def test_no_session(idle_user: User) -> None:
    """Without a session `status --json` prints `[]` and `status` says so; neither starts anything."""
    assert idle_user.status() == []
    assert "no session" in assert_success(idle_user.fab("status")).stdout
    assert "not running" in assert_success(idle_user.fab("sandbox.status")).stdout
    assert idle_user.files() == []
