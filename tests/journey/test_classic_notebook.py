"""An environment of years ago, with notebook 6, is protected and served as the newest is."""

import json
from pathlib import Path

from tests.journey.browser import Browser
from tests.journey.conftest import PASSWORD
from tests.journey.program import User, port_in, succeeded


def test_notebook_6(newcomer: User, classic: Path, tmp_path: Path) -> None:
    """Password and certificate go where notebook 6 reads them, what is there stays, and a kernel answers through the tunnel."""
    succeeded(newcomer.fab("sandbox.start"))
    theirs = newcomer.remote_home / ".jupyter/jupyter_notebook_config.json"
    theirs.parent.mkdir()
    theirs.write_text(json.dumps({"NotebookApp": {"quit_button": False}, "NbExtensions": {"a": [1]}}))
    settings = tmp_path / "classic.yaml"
    settings.write_text(json.dumps({"notebook": {"environment": str(classic)}}))
    up = succeeded(
        newcomer.fab("-f", str(settings), "up", "--detach", "--password-file", "-", stdin=f"{PASSWORD}\n")
    )
    assert "jupyter notebook 6." in up.stdout
    config = json.loads(theirs.read_text())
    assert config["NotebookApp"]["password"].startswith("argon2:")
    assert (config["NotebookApp"]["quit_button"], config["NbExtensions"]) == (False, {"a": [1]})
    session = newcomer.only_session()
    with Browser(port_in(up), newcomer.certificate_pem(session["host"])) as browser:
        assert not browser.log_in("not the password")
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            assert kernel.run("1+1").text == "2"
        assert browser.status("/notebooks/plots.ipynb") == browser.status("/tree/") == 200
    again = succeeded(newcomer.fab("-f", str(settings), "up", "--detach", "--open", "plots.ipynb"))
    assert "/notebooks/plots.ipynb" in again.stdout
    assert "in place" in again.stdout
    assert newcomer.only_session()["pid"] == session["pid"]
    succeeded(newcomer.fab("stop"))
