"""A server behind an open tunnel, browsers that have never run, and a folder for what they showed."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.bidi import Page, chromium, firefox
from tests.journey.conftest import PASSWORD, new_user
from tests.journey.program import ROOT, User, port_in, succeeded

# Below the checkout, where whoever runs the tests finds them; git passes them over.
SCREENSHOTS = ROOT / "screenshots"


@dataclass(frozen=True)
class Kind:
    """A kind of browser: how it is started, where its profile is, and what it calls a certificate that it does not know."""

    name: str
    start: Callable[[dict[str, str], Path], contextlib.AbstractContextManager[Page]]
    profile: str
    unknown: str


KINDS = (
    Kind("chromium", chromium, "chromium/profile", "ERR_CERT_AUTHORITY_INVALID"),
    Kind("firefox", firefox, ".mozilla/firefox/new.default", "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT"),
)


@dataclass(frozen=True)
class Browser:
    """A browser of this user, with one profile."""

    kind: Kind
    user: User
    temporary: Path

    @contextlib.contextmanager
    def started(self) -> Iterator[Page]:
        """The browser runs until the end of the body."""
        environment = self.user.environment(TMPDIR=str(self.temporary))
        with self.kind.start(environment, self.user.home / self.kind.profile) as page:
            yield page

    def keeps(self, page: Page, name: str) -> None:
        """Keep what the page shows as a file of the test run."""
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(SCREENSHOTS / f"{self.kind.name}-{name}.png")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user with a server and an open tunnel, whose browsers know nothing."""
    with new_user(tmp_path_factory, temporary) as user:
        succeeded(user.fab("up", "--detach", "--password-file", "-", stdin=f"{PASSWORD}\n"))
        yield user


@pytest.fixture(scope="module")
def address(user: User) -> str:
    """Where the tunnel leads from, without a slash at the end."""
    return f"https://localhost:{port_in(succeeded(user.fab('tunnel', '--detach')))}"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def browser(request: pytest.FixtureRequest, user: User) -> Iterator[Browser]:
    """Each kind of browser, which nothing was said to before and which trusts nothing of ours afterwards."""
    # Chromium has a socket there, and unix(7) allows 107 bytes for its path: too few for the folders of a worker.
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        yield Browser(request.param, user, Path(temporary))
    succeeded(user.fab("untrust"))
