"""Users, each with their own home folder and sandbox, of which nothing is left in the end."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.cli import Result, User, assert_success, run
from tests.kit.leaks import leaked_processes
from tests.kit.wait import TIMEOUT_S

PASSWORD = "a password of the tests' own"


def generated_password(result: Result) -> str:
    """The generated password in a command's output, which shows it once."""
    (password,) = re.findall(r"the password is +(\S+)", result.stdout)
    return str(password)


@contextlib.contextmanager
def new_user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user with an empty home folder; in the end everything that they started is stopped."""
    user = User(tmp_path_factory.mktemp("user"), temporary)
    try:
        yield user
    finally:
        stopped = user.fab("stop", "--all", "--force", "sandbox.stop")
        if stopped.returncode:
            assert_success(user.fab("sandbox.stop"))
        user.end_logins()
    leaks = leaked_processes(user.home)
    assert not leaks, "left in the home folder's name:\n" + "\n".join(leaks)
    assert_success(stopped)


@pytest.fixture(scope="session")
def notebook6_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the last release of notebook 6, from the package index."""
    return make_venv(tmp_path_factory.mktemp("classic") / "venv", "notebook<7")


@pytest.fixture(scope="session")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of SSLyze, a TLS scanner from the package index, in its own venv, since its pins differ from ours."""
    return make_venv(tmp_path_factory.mktemp("scanner") / "venv", "sslyze>=6.2") / "bin/sslyze"


@pytest.fixture(scope="session")
def poetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of poetry, from the package index, in its own venv."""
    return make_venv(tmp_path_factory.mktemp("poetry") / "venv", "poetry>=2,<3") / "bin/poetry"


def make_venv(venv: Path, *packages: str) -> Path:
    """Create a venv with these packages from the package index."""
    uv = [sys.executable, "-m", "uv"]
    run(*uv, "venv", "--quiet", "--python", sys.executable, venv)
    install = [*uv, "pip", "install", "--quiet", "--python", str(venv / "bin/python")]
    environment = {**os.environ, "TMPDIR": str(venv.parent)}  # it leaves locks there
    # The folder is outside of this project, whose pins would apply.
    run(*install, *packages, timeout=4 * TIMEOUT_S, cwd=venv.parent, env=environment)
    return venv


@pytest.fixture
def clean_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder of this process, and no environment variable that is a setting."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for variable in [name for name in os.environ if name.startswith(("INVOKE_", "FABRIC_"))]:
        monkeypatch.delenv(variable)
    return home


@pytest.fixture
def idle_user(tmp_path: Path, temporary: Path) -> User:
    """A user with an empty home folder, for commands that start nothing."""
    home = tmp_path / "home"
    home.mkdir()
    return User(home, temporary)


@pytest.fixture
def fresh_user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user of this test alone, with an empty home folder."""
    with new_user(tmp_path_factory, temporary) as user:
        yield user


@pytest.fixture(scope="module")
def sandbox_user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user with a running sandbox, in which nothing was secured yet."""
    with new_user(tmp_path_factory, temporary) as created:
        assert_success(created.fab("sandbox.start"))
        yield created


@pytest.fixture(scope="session")
def _secured_user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    with new_user(tmp_path_factory, temporary) as user:
        assert_success(user.fab("secure", "--password-file", "-", stdin=f"{PASSWORD}\n"))
        yield user


@pytest.fixture(scope="module")
def user(_secured_user: User) -> Iterator[User]:
    """A user whose server is secured with PASSWORD; each module begins without a session."""
    yield _secured_user
    _secured_user.stop_all_sessions()
