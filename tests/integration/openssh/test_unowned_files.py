"""Jupyter's configuration that the account does not own, as a site may have it, is never changed."""

from pathlib import Path

import psutil
import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.sshd import LOOPBACK, Network


@pytest.fixture
def site_config(network: Network) -> Path:
    """A file that every Jupyter on the host reads before the account's own (JUPYTER_CONFIG_PATH)."""
    folder = network.folder / "etc"
    folder.mkdir()
    network.host.stop()
    network.host.start(network.environment(JUPYTER_CONFIG_PATH=str(folder)))
    return folder / "jupyter_server_config.py"


def test_overridden_setting(network: Network, site_config: Path) -> None:
    """A setting that the command line overrides is not reported, and the server listens on loopback only."""
    text = (
        "c.ServerApp.ip = '0.0.0.0'\nc.ServerApp.allow_origin = '*'\nc.ServerApp.allow_remote_access = True\n"
    )
    site_config.write_text(text)
    result = assert_success(network.user.fab("secure", "serve"))
    assert result.stderr == "" and "disabled" not in result.stdout
    server = psutil.Process(network.user.only_record()["pid"])
    listening = {
        connection.laddr.ip
        for connection in server.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {LOOPBACK}
    assert_success(network.user.fab("stop"))
    assert site_config.read_text() == text


@pytest.mark.parametrize(
    "setting", ["c.NotebookApp.ip = '0.0.0.0'", "c.PasswordIdentityProvider.hashed_password = ''"]
)
def test_insecure_setting(network: Network, site_config: Path, setting: str) -> None:
    """`secure` warns of an insecure setting in another owner's file, with both names, and `serve` fails with 6."""
    site_config.write_text(f"{setting}\n")
    name = setting.partition(" ")[0].removeprefix("c.")
    warned = assert_success(network.user.fab("secure")).stderr
    assert str(site_config) in warned and name in warned and "not your own file" in warned
    result = assert_error(network.user.fab("serve"), 6, str(site_config), name)
    assert "ask their owner" in result.stderr
    assert network.user.status() == []
    assert site_config.read_text() == f"{setting}\n"
