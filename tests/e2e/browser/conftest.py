"""A server behind an open tunnel, browsers with new profiles, and a folder for their screenshots."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.browsers import KINDS, Browser
from tests.kit.cli import User, assert_success, port_in
from tests.kit.missing_programs import PACKAGES
from tests.kit.users import PASSWORD, new_user


@pytest.fixture(scope="module", autouse=True)
def _browsers() -> None:
    """Skips the tests before a server is started for them, where no browser is installed."""
    if not any(shutil.which(kind.program) for kind in KINDS):
        programs = " or ".join(f"{kind.program} ({PACKAGES[kind.program]})" for kind in KINDS)
        pytest.skip(f"needs the program {programs}")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user with a server and an open tunnel, whose browsers have new profiles."""
    with new_user(tmp_path_factory, temporary) as user:
        assert_success(user.fab("up", "--detach", "--password-file", "-", stdin=f"{PASSWORD}\n"))
        yield user


@pytest.fixture(scope="module")
def address(user: User) -> str:
    """The tunnel's URL, without a slash at the end."""
    return f"https://localhost:{port_in(assert_success(user.fab('tunnel', '--detach')))}"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def browser(request: pytest.FixtureRequest, user: User) -> Iterator[Browser]:
    """Each kind of browser, with a new profile; afterwards it trusts none of our certificates."""
    # Chromium creates a socket there, whose path has at most 107 bytes (unix(7)): too few for a worker's folders.
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        yield Browser(request.param, user, Path(temporary))
    assert_success(user.fab("untrust"))
