"""Real browsers, each with its own profile, and what a user does in them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit.bidi import ENTER, SHIFT, Page, chromium, firefox
from tests.kit.cli import ROOT, User
from tests.kit.users import PASSWORD

# In the checkout; git ignores them.
SCREENSHOTS = ROOT / "screenshots"


@dataclass(frozen=True)
class BrowserKind:
    """A kind of browser: how to start it, its profile's path, and its error code for an unknown certificate."""

    name: str
    program: str
    start: Callable[[dict[str, str], Path], contextlib.AbstractContextManager[Page]]
    profile: str
    unknown: str


KINDS = (
    BrowserKind("chromium", "chromedriver", chromium, "chromium/profile", "ERR_CERT_AUTHORITY_INVALID"),
    BrowserKind(
        "firefox",
        "firefox-esr",
        firefox,
        ".mozilla/firefox/new.default",
        "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT",
    ),
)


@dataclass(frozen=True)
class Browser:
    """A browser of this user, with one profile."""

    kind: BrowserKind
    user: User
    temporary: Path

    @contextlib.contextmanager
    def running(self) -> Iterator[Page]:
        """Run the browser during the body."""
        environment = self.user.environment(TMPDIR=str(self.temporary))
        with self.kind.start(environment, self.user.home / self.kind.profile) as page:
            yield page

    def save_screenshot(self, page: Page, name: str) -> None:
        """Save a screenshot as a file of the test run."""
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(SCREENSHOTS / f"{self.kind.name}-{name}.png")


# The indicator is idle before the kernel starts, too.
READY = (
    "document.querySelector('.jp-Toolbar-kernelName')?.textContent.includes('Python 3')"
    " && !!document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"
)


def log_in(page: Page) -> None:
    """Fill in the login form."""
    page.click("input[name=password]")
    page.type(PASSWORD + ENTER)


def run_cell(page: Page, code: str, answer: str) -> str:
    """Type a cell below the first and run it; returns its output, which begins with `answer`."""
    page.click(".jp-MarkdownCell")
    page.click("[data-jp-item-name=insert] .jp-ToolbarButtonComponent")
    page.wait_for("!!document.querySelector('.jp-CodeCell.jp-mod-active')")
    page.click(".jp-CodeCell.jp-mod-active .cm-content")
    page.wait_for("!!document.activeElement.closest('.jp-CodeCell.jp-mod-active .cm-content')")
    page.type(code)
    page.press(SHIFT, ENTER)
    outputs = "[...document.querySelectorAll('.jp-OutputArea-output')].map(output => output.innerText.trim())"
    return str(page.wait_for(f"{outputs}.find(text => text.startsWith({answer!r}))"))
