"""First use: from an empty home folder to a plot in the browser, and back to an empty home folder."""

import base64
import hashlib
import json
import ssl
from pathlib import Path

from tests.kit.cli import User, assert_success, port_in
from tests.kit.jupyter_client import Browser, Kernel
from tests.kit.leaks import leaked_processes, listening_ports, processes_below
from tests.kit.users import PASSWORD, generated_password

# Caches of other programs may stay.
CACHES = (".cache/", ".npm/", ".config/matplotlib/")


def test_without_a_terminal(fresh_user: User) -> None:
    """Without a terminal, `fab up --detach` leads to a plot in the browser, and two commands remove everything."""
    result = assert_success(fresh_user.fab("up", "--detach"))
    password = generated_password(result)
    assert result.stdout.count(password) == 1
    assert len(password.replace("-", "")) >= 16
    port = port_in(result)
    session = fresh_user.only_session()
    assert session["local_port"] == port
    pem = fresh_user.certificate_pem(session["host"])
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == session["certificate_sha256"]

    with Browser(port, pem) as browser:
        assert browser.log_in(password)
        assert browser.get("/api/contents/plots.ipynb?content=0")["type"] == "notebook"
        with browser.kernel() as kernel:
            assert kernel.run("1 + 1").text == "2"
            _draw_the_plot(kernel, fresh_user.remote_home / "mlpractical/plots.ipynb", session["host"])

    running = processes_below(fresh_user.home)
    assert {port, session["remote_port"]} <= listening_ports(running)
    assert_success(fresh_user.fab("stop"))
    assert fresh_user.status() == []
    assert_success(fresh_user.fab("sandbox.stop"))
    _assert_nothing_left(fresh_user)


def test_at_a_terminal(fresh_user: User) -> None:
    """At a terminal, `fab up` asks for the password twice without echo, and after Ctrl-C whether to stop the server."""
    with fresh_user.at_terminal("fab", "up") as terminal:
        terminal.expect(r"new password")
        terminal.type(PASSWORD)
        terminal.expect(r"confirm the password")
        terminal.type(PASSWORD)
        port = int(terminal.expect(r"ready.* https://localhost:(\d+)/")[1])
        terminal.expect(r"ctrl-c")
        with Browser(port, fresh_user.only_record()["certificate_pem"]) as browser:
            assert browser.log_in(PASSWORD)
        terminal.interrupt()
        terminal.expect(r"stop the server on \w+ too\?")
        terminal.type("y")
        assert terminal.end() == 0, terminal.output
    assert PASSWORD not in terminal.output
    assert fresh_user.status() == []
    assert_success(fresh_user.fab("sandbox.stop"))
    _assert_nothing_left(fresh_user)


def _draw_the_plot(kernel: Kernel, notebook: Path, host: str) -> None:
    """Run the cells of the sandbox's notebook, as Shift+Enter does."""
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    replies = [kernel.run("".join(cell["source"])) for cell in cells]
    assert [reply.status for reply in replies] == ["ok"] * len(cells)
    assert replies[0].text.strip() == host
    (picture,) = (output["data"] for output in replies[-1].outputs if "data" in output)
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")


def _assert_nothing_left(user: User) -> None:
    assert leaked_processes(user.home) == []
    assert [path for path in user.files() if not path.startswith(CACHES)] == []
