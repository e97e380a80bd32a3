"""The plain port in real browsers: no warning, no login form, and the login lasts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.bidi import CONTROL
from tests.kit.browsers import READY, Browser, run_cell
from tests.kit.cli import User, assert_success
from tests.kit.plain_client import PlainAddress, plain_address
from tests.kit.users import PASSWORD, new_user
from tests.kit.wait import wait_until


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user whose tunnel has a plain port."""
    with new_user(tmp_path_factory, temporary) as user:
        arguments = ("up", "--detach", "--plain", "--password-file", "-")
        assert_success(user.fab(*arguments, stdin=f"{PASSWORD}\n"))
        yield user


@pytest.fixture
def plain(user: User) -> PlainAddress:
    """The address that `status --editors` prints."""
    return plain_address(user)


def test_notebook(browser: Browser, user: User, plain: PlainAddress) -> None:
    """The address with the token opens Jupyter without a warning or a form; a cell runs, the notebook is saved, and the
    login lasts without the token.
    """
    with browser.running() as page:
        page.open(plain.url)
        page.wait_for("!!document.querySelector('.jp-DirListing-item')")
        assert plain.token not in page.evaluate("location.href")
        page.open(f"{plain.base}notebooks/plots.ipynb")
        page.wait_for(READY)
        assert run_cell(page, "print('over', 6 * 7)", "over") == "over 42"
        browser.save_screenshot(page, "5-plain")
        notebook = user.remote_home / "mlpractical/plots.ipynb"
        page.press(CONTROL, "s")
        wait_until(lambda: b"over 42" in notebook.read_bytes(), "the notebook is saved")
        page.reload()
        page.wait_for(READY)
