"""The wheel, installed where there is no checkout."""

import json
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.kit.cli import ROOT, Result, User, assert_error, assert_success, port_in, run
from tests.kit.wait import TIMEOUT_S

UV = [sys.executable, "-m", "uv", "--offline", "--quiet"]
PACKAGE = ROOT / "notebooks_over_ssh"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [*UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable]
    run(*build, "-o", folder, ROOT, timeout=2 * TIMEOUT_S)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the wheel, which imports everything else from the tests' own environment."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(*UV, "venv", "--python", sys.executable, venv)
    run(*UV, "pip", "install", "--no-deps", "--python", venv / "bin/python", wheel)
    (packages,) = venv.glob("lib/python*/site-packages")
    # The .pth files of that folder, and so the checkout, are not looked at (site, "Module contents").
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv


@pytest.fixture
def installed_elsewhere(fresh_user: User, venv: Path, tmp_path: Path) -> User:
    """A user who has the wheel and a project of their own."""
    folder = tmp_path / "project"
    folder.mkdir()
    return replace(fresh_user, folder=folder, programs=venv / "bin")


@pytest.fixture
def installed(fresh_user: User, venv: Path, tmp_path: Path) -> Iterator[User]:
    """A user who has the wheel and no checkout, in an empty folder."""
    folder = tmp_path / "anywhere"
    folder.mkdir()
    user = replace(fresh_user, folder=folder, programs=venv / "bin")
    yield user
    assert not list(folder.iterdir())


def test_contents(wheel: Path) -> None:
    """The wheel has every file of the package, with its permissions, and no other."""
    tracked = run("git", "ls-files", "-z", PACKAGE, cwd=ROOT).stdout.split("\0")[:-1]
    with zipfile.ZipFile(wheel) as archive:
        entries = {info.filename: info for info in archive.infolist() if ".dist-info/" not in info.filename}
    assert set(entries) == set(tracked)
    for name, info in entries.items():
        assert bool(info.external_attr >> 16 & 0o100) == bool((ROOT / name).stat().st_mode & 0o100), name


def test_first_notebook(installed: User, venv: Path) -> None:
    """Without a checkout, `notebooks up` starts a server in the sandbox, and further commands find it."""
    location = installed.execute(
        [str(venv / "bin/python"), "-c", "import notebooks_over_ssh as n; print(n.__file__)"]
    )
    assert location.stdout.startswith(str(venv)), location.stdout
    started = assert_success(installed.run("notebooks", "up", "--detach", "--no-browser"))
    assert started.stdout.endswith("/notebooks stop` closes the tunnel and stops the server\n")
    port = port_in(started)
    assert httpx.get(f"https://localhost:{port}/api", verify=False).json()["version"]
    output = assert_success(installed.run("notebooks", "status"))
    assert f"https://localhost:{port}/" in output.stdout
    assert_success(installed.run("notebooks", "stop"))
    assert_success(installed.run("notebooks", "logout"))
    assert json.loads(assert_success(installed.run("notebooks", "status", "--json")).stdout) == []
    assert_success(installed.run("notebooks", "sandbox.stop"))


def test_module(installed: User, venv: Path) -> None:
    """`python -m notebooks_over_ssh` is the same program, and its hints name it."""
    result = installed.execute([str(venv / "bin/python"), "-m", "notebooks_over_ssh", "tunnel"])
    assert result.returncode == 1
    assert f"{venv / 'bin/python'} -m notebooks_over_ssh serve`" in result.stderr


OWN_TASKS = """
from {library} import task
from invoke import Collection

from notebooks_over_ssh import namespace


@task(pre=[namespace["secure"], namespace["serve"]])
def train(c):
    print("builder", c.config.docs.builder)


@task
def show(c):
    namespace["status"](c, json=True)


@task
def reconnect(c):
    namespace["tunnel"](c, host="nowhere")


ns = Collection(train, show, reconnect)
ns.add_collection(namespace, name="jupyter")
ns.configure({{"notebook": {{"application": "lab", "nice": 11}}, "docs": {{"builder": "none"}}}})
"""


@pytest.mark.parametrize("program", ["invoke", "fabric"])
def test_other_project(installed_elsewhere: User, venv: Path, program: str) -> None:
    """A project has the tasks below its own name, its tasks call them, and its settings apply in Invoke's order."""
    user = installed_elsewhere
    python = str(venv / "bin/python")
    file, library = {"invoke": ("tasks.py", "invoke"), "fabric": ("fabfile.py", "fabric")}[program]
    (user.folder / file).write_text(OWN_TASKS.format(library=library))
    (user.folder / "invoke.yaml").write_text("docs: {builder: html}\nnotebook: {application: server}\n")
    (user.folder / "fabric.yaml").write_text("docs: {builder: pdf}\nnotebook: {application: notebook}\n")
    builder, application = {"invoke": ("html", "server"), "fabric": ("pdf", "notebook")}[program]

    def run(*arguments: str) -> Result:
        return user.execute([python, "-m", program, *arguments])

    listing = assert_success(run("--list")).stdout
    assert "jupyter.up (jupyter)" in listing
    assert "jupyter.sandbox.start" in listing
    assert f"builder {builder}" in assert_success(run("train")).stdout
    (session,) = json.loads(assert_success(run("show")).stdout)
    assert session["application"] == application
    assert_success(run("jupyter.stop"))
    assert_error(run("reconnect"), 1, f"`{python} -m {program} jupyter.serve`")
    unknown = run("jupyter.stopp")
    assert (unknown.returncode, unknown.stderr) == (1, "No idea what 'jupyter.stopp' is!\n")
    # Fabric completes the name that it was called by, which is that of its module here.
    name = {"invoke": "invoke", "fabric": "__main__.py"}[program]
    completed = run("--complete", "--", name, "jupyter.stop", "--")
    assert completed.stdout.split() == ["--all", "--force", "--host", "--site"]
    assert_success(run("jupyter.sandbox.stop"))
