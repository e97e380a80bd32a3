"""Clients that editors and programs use, from their package indexes, each in a folder of its own."""

import os
import subprocess

import pytest

from tests.kit.cli import ROOT
from tests.kit.users import make_venv
from tests.kit.wait import TIMEOUT_S

KIT = ROOT / "tests/kit"
# They run with Debian's Node 18.
NODE_PACKAGES = ("@jupyterlab/services@7.6.6",)
PYTHON_PACKAGES = ("jupyter_kernel_client==1.0.2", "jupyter_server_client==0.1.1")


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs jupyterlab_client.cjs."""
    folder = tmp_path_factory.mktemp("node")
    npm = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--silent",
        "--cache",
        str(folder / "cache"),
    ]
    (folder / "package.json").write_text("{}")
    subprocess.run(
        [*npm, *NODE_PACKAGES],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        check=True,
        timeout=4 * TIMEOUT_S,
    )
    return ["node", str(KIT / "jupyterlab_client.cjs"), str(folder)]


@pytest.fixture(scope="session")
def python_client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs python_clients.py."""
    venv = make_venv(tmp_path_factory.mktemp("python_clients") / "venv", *PYTHON_PACKAGES)
    # -I: the folder of the program, tests/kit, is not searched for modules.
    return [str(venv / "bin/python"), "-I", str(KIT / "python_clients.py")]
