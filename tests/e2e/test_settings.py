"""Settings of one run: a file of `-f` and `INVOKE_` variables count under both programs."""

import json
from pathlib import Path

import psutil

from tests.kit.cli import User, assert_success, interrupt, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S


def test_another_application(user: User, tmp_path: Path) -> None:
    """With `-f FILE` the server is the application that the file names; so it is with a variable, and `status` shows
    it.
    """
    file = tmp_path / "mine.yaml"
    file.write_text("notebook:\n  application: lab\n  nice: 15\n")
    with_file = ("fab", "-f", str(file), "up", "--detach")
    up = assert_success(user.run(*with_file))
    session = user.only_session()
    assert session["application"] == "lab"
    server = psutil.Process(session["pid"])
    assert any(argument.endswith("jupyter-lab") for argument in server.cmdline())
    assert server.nice() == 15
    with Browser(port_in(up), user.certificate_pem(session["host"])) as browser:
        assert browser.log_in(PASSWORD)
        assert browser.status("/lab") == 200

    # The same settings from a variable and under the other program give no warning; different ones do.
    same = assert_success(user.invoke("serve", INVOKE_NOTEBOOK_APPLICATION="lab"))
    assert "warning" not in same.stderr
    other = assert_success(user.fab("serve"))
    assert "jupyter lab, not notebook" in other.stderr
    assert user.record(session["host"])["pid"] == session["pid"]
    assert_success(user.fab("stop"))


def test_variable(user: User) -> None:
    """With a variable `up` starts that application; without a terminal, Ctrl-C ends the tunnel and not the server."""
    with user.running("invoke", "up", INVOKE_NOTEBOOK_APPLICATION="lab") as process:
        assert process.stdout
        assert any("ctrl-c" in line for line in iter(process.stdout.readline, ""))
        interrupt(process)
        assert process.wait(timeout=TIMEOUT_S) == 0
    session = user.only_session()
    assert (session["server"], session["application"]) == ("running", "lab")
    assert (session["tunnel"], session["local_port"], session["url"]) == ("closed", None, None)
    assert_success(user.fab("stop"))


def test_more_arguments(user: User, tmp_path: Path) -> None:
    """`notebook.arguments` reach Jupyter, each as one literal argument, beside those that protect it."""
    name = "a b'c\"$(touch ran)`touch ran`;ü"
    file = tmp_path / "mine.yaml"
    arguments = ["--ServerApp.terminals_enabled=False", f"--ServerApp.iopub_data_rate_limit={2e6}"]
    arguments.append(f"--ServerApp.custom_name={name}")
    file.write_text(json.dumps({"notebook": {"arguments": arguments}}))
    up = assert_success(user.fab("-f", str(file), "up", "--detach"))
    session = user.only_session()
    command_line = psutil.Process(session["pid"]).cmdline()
    assert set(arguments) <= set(command_line) and "--ServerApp.ip=127.0.0.1" in command_line
    with Browser(port_in(up), user.certificate_pem(session["host"])) as browser:
        assert browser.log_in(PASSWORD)
        assert browser.status("/api/terminals") == 404
    assert not list(user.remote_home.rglob("ran"))
    assert_success(user.fab("stop"))
