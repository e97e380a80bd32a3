"""Insecure settings are found wherever Jupyter reads them, and disabled without changing the rest of the file."""

import json
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.kit.local_scripts import HASH, VALIDITY, configure, get_status, protect, run_locally

pytestmark = pytest.mark.usefixtures("host_environment")

MARK = "# secure (notebooks-over-ssh)"


@pytest.fixture
def jupyter(tmp_path: Path) -> Path:
    """The folder of Jupyter's configuration, which is protected already."""
    protect(tmp_path)
    return tmp_path / ".jupyter"


def insecure_settings(home: Path) -> list[str]:
    """The names of the insecure settings, in the order of the files."""
    return [setting["name"] for setting in get_status(home)["insecure_settings"]]


def disable(home: Path) -> list[Path]:
    """Disable the insecure settings; returns the backups."""
    reply = configure(home, password_hash="", certificate="")
    assert reply["problem"] == "", reply
    return [Path(copy) for copy in reply["backups"]]


@pytest.mark.parametrize(
    ("preexec", "after", "names"),
    [
        ("c.ServerApp.ip = '*'", "pass", ["ServerApp.ip"]),
        ("c.ServerApp.ip='0.0.0.0' # why", "pass # why", ["ServerApp.ip"]),
        ("c . LabApp . ip = 'x'; c.A.b = 1", "pass; c.A.b = 1", ["LabApp.ip"]),
        ("if 1: c.ServerApp.token = ''", "if 1: pass", ["ServerApp.token"]),
        (
            "if 1:\n    c.ServerApp.token = ''\nelse:\n    x = 1",
            "if 1:\n    pass\nelse:\n    x = 1",
            ["ServerApp.token"],
        ),
        ("c.NotebookApp.password = (\n  'sha1:1:'\n  '2')\nx = 1", "pass\nx = 1", ["NotebookApp.password"]),
        ("c.ServerApp.certfile = open('x').name", "pass", ["ServerApp.certfile"]),
        ("c.ServerApp.allow_origin_pat = f(lambda: 0)", "pass", ["ServerApp.allow_origin_pat"]),
        ("c.ServerApp.ssl_options = {'ssl_version': 3}", "pass", ["ServerApp.ssl_options"]),
        ("c.ServerApp.ip = 'ä'; c.ServerApp.sock = 'ö'", "pass; pass", ["ServerApp.ip", "ServerApp.sock"]),
        ("\tx = 1", "", []),  # no valid Python, for Jupyter neither
        ("c.ServerApp.ip = '127.0.0.1'", "", []),
        ("c.ServerApp.allow_remote_access = False", "", []),
        ("c.ServerApp.ip == '*'\nd.ServerApp.ip = '*'\n'c.ServerApp.ip = 1'\n# c.ServerApp.ip = '*'", "", []),
        ("c.GatewayClient.auth_token = 'x'\nc.A.password = 'x'\nc.ServerApp.port = 1", "", []),
    ],
)  # fmt: skip
def test_in_python(tmp_path: Path, jupyter: Path, preexec: str, after: str, names: list[str]) -> None:
    """An insecure statement becomes `pass`, wherever it is; all else stays byte for byte; a second run changes
    nothing.
    """
    file = jupyter / "jupyter_server_config.py"
    file.write_text(f"{preexec}\n", "utf-8")
    assert insecure_settings(tmp_path) == names
    copies = disable(tmp_path)
    text = file.read_text("utf-8")
    assert text.partition(MARK)[0] == f"{after or preexec}\n"
    assert [copy.read_text("utf-8") for copy in copies] == ([f"{preexec}\n"] if names else [])
    assert insecure_settings(tmp_path) == [] and disable(tmp_path) == []
    assert file.read_text("utf-8") == text
    if names:
        compile(text, "x", "exec")


@pytest.mark.parametrize(
    ("name", "config", "names"),
    [
        ("jupyter_config", {"ServerApp": {"allow_credentials": True, "x": 1}}, ["ServerApp.allow_credentials"]),
        ("jupyter_notebook_config", {"NotebookApp": {"password": "sha1:1:2"}}, ["NotebookApp.password"]),
        (
            "jupyter_lab_config",
            {"PasswordIdentityProvider": {"hashed_password": ""}},
            ["PasswordIdentityProvider.hashed_password"],
        ),
        ("jupyter_lab_config", {"ServerApp": {"password": HASH}}, []),  # the expected value
        (
            "jupyter_server_config",
            {"ServerApp": {"password": "x"}, "IdentityProvider": {"token": "y"}},
            ["ServerApp.password", "IdentityProvider.token"],
        ),
        ("jupyterhub_config", {"ServerApp": {"ip": "*"}}, []),  # not read by Jupyter
    ],
)  # fmt: skip
def test_in_json(tmp_path: Path, jupyter: Path, name: str, config: Any, names: list[str]) -> None:
    """In JSON, for each application, the insecure keys are removed, and nothing else."""
    file = jupyter / f"{name}.json"
    content = json.loads(file.read_text()) if file.exists() else {}
    for section, values in config.items():
        content.setdefault(section, {}).update(values)
    file.write_text(json.dumps(content))
    assert sorted(insecure_settings(tmp_path)) == sorted(names)
    copies = disable(tmp_path)
    assert [json.loads(copy.read_text()) for copy in copies] == ([content] if names else [])
    for path in names:
        section, _, trait = path.partition(".")
        del content[section][trait]
    assert json.loads(file.read_text()) == {section: values for section, values in content.items() if values}
    assert insecure_settings(tmp_path) == []


def test_backups(tmp_path: Path, jupyter: Path) -> None:
    """Each backup is readable by the owner only, in a folder that is too, and none overwrites another."""
    file = jupyter / "jupyter_server_config.py"
    backups: dict[Path, str] = {}
    for number in range(12):
        file.write_text(f"c.ServerApp.ip = '{number}.0.0.0'\n")
        file.chmod(0o644)
        (copy,) = disable(tmp_path)
        assert copy not in backups
        backups[copy] = f"c.ServerApp.ip = '{number}.0.0.0'\n"
    assert {copy: copy.read_text() for copy in backups} == backups
    assert {stat.S_IMODE(copy.stat().st_mode) for copy in backups} == {0o600}
    assert {stat.S_IMODE(copy.parent.stat().st_mode) for copy in backups} == {0o700}


def test_full_disk(tmp_path: Path, jupyter: Path) -> None:
    """When no backup can be written nothing is disabled, the cause is reported, and the next run succeeds."""
    file = jupyter / "jupyter_server_config.py"
    file.write_text("c.ServerApp.ip = '*'\n")
    digest = get_status(tmp_path)["credentials_digest"]
    unchanged = {"password_hash": "", "certificate": "", "credentials_digest": digest, **VALIDITY}
    parameters = {"application": "notebook", "directory": "~", **unchanged}

    def disk_full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    reply = run_locally(tmp_path, "configure_security", parameters, preexec=disk_full)
    assert (reply["problem"], reply["reason"]) == ("system-error", "File too large")
    assert file.read_text() == "c.ServerApp.ip = '*'\n"
    assert list((jupyter / "notebooks-over-ssh/backups").iterdir()) == []
    assert len(disable(tmp_path)) == 1


@pytest.mark.parametrize(
    ("password_hash", "problem"),
    [
        (HASH, ""),
        ("sha256:0123456789ab:abc", ""),
        ("sha1:0123456789ab:abc", "its hash is SHA1, which is guessed fast"),
        ("md5:0123456789ab:abc", "its hash is MD5, which is guessed fast"),
        ("hello", "it is not a hash"),
        ("", "missing"),
    ],
)
def test_weak_hash(tmp_path: Path, jupyter: Path, password_hash: str, problem: str) -> None:
    """A weak hash, or none, counts as no password; the file with the weak one is backed up when it is replaced."""
    file = jupyter / "jupyter_server_config.json"
    config = json.loads(file.read_text())
    config["IdentityProvider"]["hashed_password"] = password_hash
    file.write_text(json.dumps(config))
    assert get_status(tmp_path)["password_problem"] == problem
    backups = configure(tmp_path, certificate="")["backups"]
    assert [json.loads(Path(copy).read_text()) for copy in backups] == (
        [config] if problem not in ("", "missing") else []
    )
    assert get_status(tmp_path)["password_problem"] == ""
