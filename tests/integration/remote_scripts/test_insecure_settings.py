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


# Each statement, what it becomes, and the settings in it.
INSECURE = (
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
)
HARMLESS = (
    "c.ServerApp.ip = '127.0.0.1'",
    "c.ServerApp.allow_remote_access = False",
    "c.ServerApp.ip == '*'",
    "d.ServerApp.ip = '*'",
    "'c.ServerApp.ip = 1'",
    "# c.ServerApp.ip = '*'",
    "c.GatewayClient.auth_token = 'x'",
    "c.A.password = 'x'",
    "c.ServerApp.port = 1",
)


def test_in_python(tmp_path: Path, jupyter: Path) -> None:
    """An insecure statement becomes `pass`, wherever it is; all else stays byte for byte; a second run changes
    nothing.
    """
    before = "".join(f"{statement}\n" for statement, _, _ in INSECURE)
    names = [name for *_, names in INSECURE for name in names]
    unchanged = {
        jupyter / "jupyter_lab_config.py": "\tx = 1\n",  # no valid Python, for Jupyter neither
        jupyter / "jupyter_notebook_config.py": "".join(f"{statement}\n" for statement in HARMLESS),
    }
    for path, content in unchanged.items():
        path.write_text(content, "utf-8")
    assert insecure_settings(tmp_path) == [] and disable(tmp_path) == []
    file = jupyter / "jupyter_server_config.py"
    file.write_text(before, "utf-8")
    assert insecure_settings(tmp_path) == names
    (copy,) = disable(tmp_path)
    text = file.read_text("utf-8")
    assert text.partition(MARK)[0] == "".join(f"{after}\n" for _, after, _ in INSECURE)
    assert copy.read_text("utf-8") == before
    assert insecure_settings(tmp_path) == [] and disable(tmp_path) == []
    assert file.read_text("utf-8") == text
    compile(text, "x", "exec")
    assert {path: path.read_text("utf-8") for path in unchanged} == unchanged


# For each file, the settings, and those of them that are insecure.
IN_JSON: dict[str, tuple[dict[str, Any], list[str]]] = {
    "jupyter_config": ({"ServerApp": {"allow_credentials": True, "x": 1}}, ["ServerApp.allow_credentials"]),
    "jupyter_lab_config": (
        # The second one is the expected value.
        {"PasswordIdentityProvider": {"hashed_password": ""}, "ServerApp": {"password": HASH}},
        ["PasswordIdentityProvider.hashed_password"],
    ),
    "jupyter_notebook_config": ({"NotebookApp": {"password": "sha1:1:2"}}, ["NotebookApp.password"]),
    "jupyter_server_config": (
        {"ServerApp": {"password": "x"}, "IdentityProvider": {"token": "y"}},
        ["ServerApp.password", "IdentityProvider.token"],
    ),
    "jupyterhub_config": ({"ServerApp": {"ip": "*"}}, []),  # not read by Jupyter
}


def test_in_json(tmp_path: Path, jupyter: Path) -> None:
    """In JSON, for each application, the insecure keys are removed, and nothing else."""
    contents: dict[str, Any] = {}
    for name, (config, _) in IN_JSON.items():
        file = jupyter / f"{name}.json"
        content = contents[name] = json.loads(file.read_text()) if file.exists() else {}
        for section, values in config.items():
            content.setdefault(section, {}).update(values)
        file.write_text(json.dumps(content))
    found = {(Path(item["path"]).stem, item["name"]) for item in get_status(tmp_path)["insecure_settings"]}
    assert found == {(name, path) for name, (_, names) in IN_JSON.items() for path in names}
    copies = {copy.stem.split("-")[-1]: json.loads(copy.read_text()) for copy in disable(tmp_path)}
    assert copies == {name: contents[name] for name, (_, names) in IN_JSON.items() if names}
    for name, (_, names) in IN_JSON.items():
        content = contents[name]
        for path in names:
            section, _, trait = path.partition(".")
            del content[section][trait]
        expected = {section: values for section, values in content.items() if values}
        assert json.loads((jupyter / f"{name}.json").read_text()) == expected
    assert insecure_settings(tmp_path) == []


def test_backups(tmp_path: Path, jupyter: Path) -> None:
    """Each backup is readable by the owner only, in a folder that is too, and none overwrites another."""
    file = jupyter / "jupyter_server_config.py"
    backups: dict[Path, str] = {}
    for number in range(4):
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
