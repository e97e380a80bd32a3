"""Users, each with a home folder and a practice network of their own, of whom nothing is left in the end."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import left_below
from tests.journey.program import PATIENCE_S, Done, User, succeeded

PASSWORD = "a password of the tests' own"
Newcomer = Callable[[], contextlib.AbstractContextManager[User]]


def made_up_password(done: Done) -> str:
    """The password that a command made up, which it shows just once."""
    (password,) = re.findall(r"the password is +(\S+)", done.stdout)
    return str(password)


@contextlib.contextmanager
def new_user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user with an empty home folder; the end of the body is the end of all that they started."""
    user = User(tmp_path_factory.mktemp("user"), temporary)
    try:
        yield user
    finally:
        stopped = user.fab("stop", "--all", "--force")
        succeeded(user.fab("sandbox.stop"))
    left = left_below(user.home)
    assert not left, "left in the home folder's name:\n" + "\n".join(left)
    succeeded(stopped)


@pytest.fixture(scope="session")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the last notebook 6, from the package index."""
    return _venv(tmp_path_factory.mktemp("classic") / "venv", "notebook<7")


@pytest.fixture(scope="session")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of SSLyze, a TLS scanner from the package index, in a venv of its own: it wants other releases than we."""
    return _venv(tmp_path_factory.mktemp("scanner") / "venv", "sslyze>=6.2") / "bin/sslyze"


def _venv(venv: Path, *packages: str) -> Path:
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, venv], check=True, timeout=PATIENCE_S)
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", venv / "bin/python", *packages],
        check=True,
        timeout=4 * PATIENCE_S,
        cwd=venv.parent,  # away from the pins of this project
        env={**os.environ, "TMPDIR": str(venv.parent)},  # it leaves locks there
    )
    return venv


@pytest.fixture
def idle_user(tmp_path: Path, temporary: Path) -> User:
    """A user with an empty home folder, for commands that start nothing."""
    home = tmp_path / "home"
    home.mkdir()
    return User(home, temporary)


@pytest.fixture
def newcomer(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user of this test alone, in whose home folder nothing is yet."""
    with new_user(tmp_path_factory, temporary) as user:
        yield user


@pytest.fixture(scope="session")
def _protected_user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    with new_user(tmp_path_factory, temporary) as user:
        succeeded(user.fab("secure", "--password-file", "-", stdin=f"{PASSWORD}\n"))
        yield user


@pytest.fixture(scope="module")
def user(_protected_user: User) -> Iterator[User]:
    """A user whose notebook server is protected with PASSWORD; each module begins without a session."""
    yield _protected_user
    _protected_user.has_no_session()
