"""Where the browser opens: with a display, without one, and for an editor."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.kit.browser_recorder import Recorder
from tests.kit.cli import Result, User, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.users import PASSWORD

NOTEBOOK = "week 1/größe & more?.ipynb"
ENCODED = "week%201/gr%C3%B6%C3%9Fe%20%26%20more%3F.ipynb"


@pytest.mark.parametrize(
    ("application", "page", "folder"),
    [
        ("notebook", f"/notebooks/{ENCODED}", "/tree/week%201"),
        ("lab", f"/lab/tree/{ENCODED}", "/lab/tree/week%201"),
    ],
)
def test_right_page(user: User, tmp_path: Path, application: str, page: str, folder: str) -> None:
    """The browser opens once the server answers, on the notebook or folder that was named, and the page exists."""
    recorder = Recorder(tmp_path)
    variables = {**recorder.variables, "INVOKE_NOTEBOOK_APPLICATION": application}
    up = assert_success(user.fab("up", "--detach", "--open", NOTEBOOK, **variables))
    second_run = assert_success(user.invoke("tunnel", "--detach", "--open", "week 1", **variables))
    base = f"https://localhost:{port_in(up)}"
    assert recorder.take_urls() == [f"{base}{page}", f"{base}{folder}"] == [_ready(up), _ready(second_run)]

    theirs = user.remote_home / "mlpractical" / NOTEBOOK
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_bytes((user.remote_home / "mlpractical/plots.ipynb").read_bytes())
    with Browser(port_in(up), user.only_record()["certificate_pem"]) as browser:
        assert browser.log_in(PASSWORD)
        assert browser.status(page) == browser.status(folder) == 200
        assert browser.get(f"/api/contents/{ENCODED}?content=0")["path"] == NOTEBOOK
    assert_success(user.fab("stop"))


def test_no_browser(user: User, tmp_path: Path) -> None:
    """Without a display, with --no-browser, and after an error no browser is opened, and the URL is printed."""
    recorder = Recorder(tmp_path)
    assert_error(user.fab("up", "--detach", "--open", "../x", **recorder.variables), 2, "--open")
    up = assert_success(
        user.fab("up", "--detach", "--open", "plots.ipynb", BROWSER=recorder.variables["BROWSER"])
    )
    assert _ready(up) == f"https://localhost:{port_in(up)}/notebooks/plots.ipynb"
    assert_success(user.fab("tunnel", "--detach", "--no-browser", **recorder.variables))
    assert recorder.take_urls() == []
    assert_success(user.fab("tunnel", "--detach", **recorder.variables))
    assert recorder.take_urls() == [f"https://localhost:{port_in(up)}/"]
    assert_success(user.fab("stop"))


def test_for_editors(user: User) -> None:
    """`status --editors` prints the URL without a secret, and the SHA-256 to compare; without a tunnel it is an
    error.
    """
    assert_error(user.fab("status", "--editors"), 1, "no tunnel")
    assert_success(user.fab("serve"))
    assert_error(user.fab("status", "--editors"), 1, "no tunnel", "up --detach")
    port = port_in(assert_success(user.fab("tunnel", "--detach")))
    session = user.only_session()
    output = assert_success(user.invoke("status", "--editors")).stdout
    assert output.splitlines()[0].split() == [session["host"], f"https://localhost:{port}/"]
    assert session["certificate_sha256"] in output and "token" not in output
    assert_success(user.fab("stop"))


def _ready(result: Result) -> str:
    (url,) = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("ready")]
    assert urlsplit(url).query == ""
    return url
