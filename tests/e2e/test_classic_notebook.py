"""An environment with notebook 6 is secured and served like one with the newest release."""

import json
from pathlib import Path

from tests.kit.cli import User, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.users import PASSWORD


def test_notebook_6(fresh_user: User, notebook6_venv: Path, tmp_path: Path) -> None:
    """Password and certificate are written where notebook 6 reads them, other settings stay, and a kernel answers
    through the tunnel.
    """
    assert_success(fresh_user.fab("sandbox.start"))
    theirs = fresh_user.remote_home / ".jupyter/jupyter_notebook_config.json"
    theirs.parent.mkdir()
    theirs.write_text(json.dumps({"NotebookApp": {"quit_button": False}, "NbExtensions": {"a": [1]}}))
    settings = tmp_path / "classic.yaml"
    settings.write_text(json.dumps({"notebook": {"environment": str(notebook6_venv)}}))
    up = assert_success(
        fresh_user.fab("-f", str(settings), "up", "--detach", "--password-file", "-", stdin=f"{PASSWORD}\n")
    )
    assert "jupyter notebook 6." in up.stdout
    config = json.loads(theirs.read_text())
    assert config["NotebookApp"]["password"].startswith("argon2:")
    assert (config["NotebookApp"]["quit_button"], config["NbExtensions"]) == (False, {"a": [1]})
    session = fresh_user.only_session()
    with Browser(port_in(up), fresh_user.certificate_pem(session["host"])) as browser:
        assert not browser.log_in("not the password")
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            assert kernel.run("1+1").text == "2"
        assert browser.status("/notebooks/plots.ipynb") == browser.status("/tree/") == 200
    second_run = assert_success(
        fresh_user.fab("-f", str(settings), "up", "--detach", "--open", "plots.ipynb")
    )
    assert "/notebooks/plots.ipynb" in second_run.stdout
    assert "password and certificate unchanged" in second_run.stdout
    assert fresh_user.only_session()["pid"] == session["pid"]
    assert_success(fresh_user.fab("stop"))
