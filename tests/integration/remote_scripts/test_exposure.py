"""Files that other users could change or read are found wherever Jupyter reads them, and made private if the account
owns them.
"""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.kit.local_scripts import HASH, configure, get_status, make_environment, protect, run_locally

pytestmark = pytest.mark.usefixtures("host_environment")

OTHER_USER = 54321


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of an account whose server is protected."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    protect(home)
    return home


def exposed(home: Path) -> set[str]:
    """The paths that security_status names, below the home."""
    reply = get_status(home)
    assert reply["problem"] == "", reply
    return {os.path.relpath(each["path"], home) for each in reply["exposed"]}


def start(home: Path, **parameters: Any) -> dict[str, Any]:
    """The reply of start_server.py where it must not start a server."""
    server = {
        "application": "notebook",
        "directory": "~",
        "nice": 0,
        "remote_port": 8888,
        "start_timeout_s": 5,
    }
    reply = run_locally(home, "start_server", server | {"arguments": [], "prefix": []} | parameters)
    assert reply["problem"], "a server was started"
    return reply


# A folder ends with a slash.
PATHS = (
    "./",
    ".jupyter/",
    ".jupyter/jupyter_server_config.json",
    ".jupyter/jupyter_server_config.py",
    ".jupyter/jupyter_server_config.d/",
    ".jupyter/jupyter_server_config.d/an extension.json",
    ".jupyter/custom/custom.js",
    ".jupyter/notebooks-over-ssh/backups/",
    ".local/",
    ".local/state/notebooks-over-ssh/",
    ".local/share/jupyter/kernels/mine/kernel.json",
    ".local/share/jupyter/labextensions/theirs/package.json",
    ".ipython/profile_default/startup/00-first.py",
    ".ipython/profile_default/startup/",
)


def test_writable(home: Path) -> None:
    """Each file or folder that all can write to keeps the server from starting, and is made private by name; a second
    run changes nothing.
    """
    targets = {os.path.normpath(path): home / path for path in PATHS}
    for path, target in zip(PATHS, targets.values(), strict=True):
        folder = target if path.endswith("/") else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        if folder != target and not target.exists():
            target.write_text("{}")
    before = {path: target.stat() for path, target in targets.items()}
    contents = {path: target.read_bytes() for path, target in targets.items() if target.is_file()}
    assert exposed(home) == set()

    for path, target in targets.items():
        target.chmod(stat.S_IMODE(before[path].st_mode) | 0o002)
        reply = start(home)
        assert (reply["problem"], reply["path"], reply["is_owned"]) == ("exposed", str(home / path), True)
        target.chmod(stat.S_IMODE(before[path].st_mode))
    for path, target in targets.items():
        target.chmod(stat.S_IMODE(before[path].st_mode) | 0o002)
    assert exposed(home) == set(targets)
    closed = configure(home, password_hash="", certificate="")
    assert sorted(each["path"] for each in closed["exposed"]) == sorted(str(home / path) for path in targets)
    assert [path for path, target in targets.items() if target.stat().st_mode & 0o022] == []
    for path, content in contents.items():
        # A process that had it open for writing has the old file.
        assert targets[path].read_bytes() == content
        assert targets[path].stat().st_ino != before[path].st_ino, path
    assert exposed(home) == set()
    assert configure(home, password_hash="", certificate="")["exposed"] == []


def test_readable_cookie_secret(home: Path) -> None:
    """A readable configuration file with the secret that signs login cookies is made private too."""
    config = home / ".jupyter/jupyter_server_config.py"
    config.write_text("c.ServerApp.cookie_secret = b'0123456789abcdef'\n")
    config.chmod(0o644)
    assert exposed(home) == {".jupyter/jupyter_server_config.py"}
    configure(home, password_hash="", certificate="")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_readable_hash(home: Path, mode: int) -> None:
    """A readable configuration file with the hash is made private and named, also behind a symlink."""
    config = home / ".jupyter/jupyter_server_config.json"
    dotfiles = home / "dotfiles.json"
    config.rename(dotfiles)
    config.symlink_to(dotfiles)
    dotfiles.chmod(mode)
    assert exposed(home) == {".jupyter/jupyter_server_config.json"}
    assert start(home)["reason"] == "can be read by other accounts"
    configure(home, password_hash="", certificate="")
    assert stat.S_IMODE(dotfiles.stat().st_mode) == 0o600
    assert config.is_symlink() and HASH in dotfiles.read_text()


@pytest.mark.parametrize(
    "variable", ["JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH", "JUPYTER_PATH", "IPYTHONDIR", "PYTHONPATH"]
)
def test_folders_of_variables(home: Path, tmp_path: Path, variable: str) -> None:
    """A folder that a variable names is checked, or its parent, in which another user could create it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    jupyter = {"application": "notebook", "directory": "~"}
    for folder in (shared, shared / "missing"):
        separator = run_locally(home, "security_status", jupyter, variables={variable: str(folder)})
        assert (separator["problem"], separator["path"], separator["is_owned"]) == (
            "exposed",
            str(shared),
            False,
        )
    (shared / "own").mkdir(mode=0o755)
    separator = run_locally(home, "security_status", jupyter, variables={variable: str(shared / "own")})
    assert separator["problem"] == ""


def test_symlink_into_a_shared_folder(home: Path, tmp_path: Path) -> None:
    """A folder behind a symlink counts like any other."""
    shared = tmp_path / "shared"
    (shared / "kernels").mkdir(parents=True)
    (home / ".local/share/jupyter").mkdir(parents=True)
    (home / ".local/share/jupyter/kernels").symlink_to(shared / "kernels")
    assert exposed(home) == set()
    shared.chmod(0o777)
    assert exposed(home) == {"../shared"}


def test_files_of_another_account(home: Path) -> None:
    """A file of another account is refused by name, and nothing changes, although the rest could be made private."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file to another user")
    planted = home / ".jupyter/jupyter_server_config.py"
    planted.write_text("c.ServerApp.ip = '*'\n")
    os.chown(planted, OTHER_USER, OTHER_USER)
    (home / ".jupyter").chmod(0o777)
    for reply in (get_status(home), configure(home), start(home)):
        assert (reply["problem"], reply["path"], reply["is_owned"]) == ("exposed", str(planted), False)
        assert reply["reason"] == f"belongs to another account (user ID {OTHER_USER})"
    assert planted.read_text() == "c.ServerApp.ip = '*'\n"
    assert stat.S_IMODE((home / ".jupyter").stat().st_mode) == 0o777


def test_environment_of_another_account(home: Path, tmp_path: Path) -> None:
    """The owner of an environment may be able to change it, and nobody else."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give an environment to another user")
    prefix = tmp_path / "environment"
    make_environment(prefix)
    (prefix / "etc/jupyter").mkdir(parents=True, exist_ok=True)
    for path in (prefix, *prefix.rglob("*")):
        os.chown(path, OTHER_USER, OTHER_USER, follow_symlinks=False)
    jupyter = {"application": "notebook", "directory": "~"}
    assert run_locally(home, "security_status", jupyter, environment=prefix)["problem"] == ""
    (prefix / "etc/jupyter").chmod(0o777)
    reply = run_locally(home, "security_status", jupyter, environment=prefix)
    assert (reply["problem"], reply["path"]) == ("exposed", str(prefix / "etc/jupyter"))


def test_many(home: Path) -> None:
    """All of very many files that others can change are made private, and the reply names some."""
    folder = home / ".jupyter/lab"
    folder.mkdir()
    for number in range(200):
        (folder / str(number)).touch(mode=0o666)
        (folder / str(number)).chmod(0o666)
    assert 0 < len(configure(home, password_hash="", certificate="")["exposed"]) < 200
    assert exposed(home) == set()
