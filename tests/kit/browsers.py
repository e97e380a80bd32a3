"""Real browsers, each with a profile of its own, and what a user does in them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit.bidi import ENTER, Page, chromium, firefox
from tests.kit.cli import ROOT, User
from tests.kit.users import PASSWORD

# Below the checkout, where whoever runs the tests finds them; git passes them over.
SCREENSHOTS = ROOT / "screenshots"


@dataclass(frozen=True)
class BrowserKind:
    """A kind of browser: how it is started, where its profile is, and what it calls a certificate that it does not know."""

    name: str
    start: Callable[[dict[str, str], Path], contextlib.AbstractContextManager[Page]]
    profile: str
    unknown: str


KINDS = (
    BrowserKind("chromium", chromium, "chromium/profile", "ERR_CERT_AUTHORITY_INVALID"),
    BrowserKind("firefox", firefox, ".mozilla/firefox/new.default", "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT"),
)


@dataclass(frozen=True)
class Browser:
    """A browser of this user, with one profile."""

    kind: BrowserKind
    user: User
    temporary: Path

    @contextlib.contextmanager
    def running(self) -> Iterator[Page]:
        """The browser runs until the end of the body."""
        environment = self.user.environment(TMPDIR=str(self.temporary))
        with self.kind.start(environment, self.user.home / self.kind.profile) as page:
            yield page

    def save_screenshot(self, page: Page, name: str) -> None:
        """Keep what the page shows as a file of the test run."""
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(SCREENSHOTS / f"{self.kind.name}-{name}.png")


# The indicator says idle also before there is a kernel.
READY = (
    "document.querySelector('.jp-Toolbar-kernelName')?.textContent.includes('Python 3')"
    " && !!document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"
)


def log_in(page: Page) -> None:
    """Fill in the form."""
    page.click("input[name=password]")
    page.type(PASSWORD + ENTER)
