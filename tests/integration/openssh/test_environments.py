"""`up` runs the notebook in the environments that people have on a host: of uv, of poetry, and of modules."""

from pathlib import Path

import psutil

from notebooks_over_ssh.sandbox.conda_environments import add_jupyter
from tests.kit.cli import Result, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.local_scripts import make_environment
from tests.kit.modules import ModuleHost
from tests.kit.project_environments import PROJECT, UV_PROJECT, install_with_poetry, sync_with_uv
from tests.kit.sshd import Network
from tests.kit.users import PASSWORD


def up(network: Network) -> Result:
    """The result of `up` with PASSWORD."""
    return network.user.fab("up", "--detach", "--password-file", "-", stdin=f"{PASSWORD}\n")


def kernel_prefix(network: Network) -> str:
    """Run `up`, and return the `sys.prefix` of a kernel in the notebook that it opens."""
    result = assert_success(up(network))
    session = network.user.only_session()
    assert session["directory"] == str(network.remote_home / "mlpractical")
    with Browser(port_in(result), network.user.certificate_pem(session["host"])) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            prefix = kernel.run("import os, sys; print(sys.prefix)").text.strip()
    variables = psutil.Process(session["pid"]).environ()
    assert prefix in (variables.get("VIRTUAL_ENV"), variables.get("WORK_PYTHON"))
    assert_success(network.user.fab("stop"))
    return prefix


def test_uv(network: Network) -> None:
    """With `notebook.environment: uv`, `up` says that there is no project, then that it has no environment, and runs
    Jupyter in the one that `uv sync` creates.
    """
    project = network.remote_home / "mlpractical"
    network.configure(notebook={"environment": "uv"})
    assert_error(up(network), 6, "pyproject.toml", "~/mlpractical", "mlp")
    (project / "pyproject.toml").write_text(UV_PROJECT)
    assert_error(up(network), 6, str(project), "no environment", "uv sync", "mlp")
    sync_with_uv(project, network.remote_home)
    assert_error(up(network), 6, "environment uv", "no Jupyter")
    add_jupyter(project / ".venv")
    assert kernel_prefix(network) == str(project / ".venv")


def test_poetry(network: Network, poetry: Path) -> None:
    """With `notebook.environment: poetry`, `up` runs Jupyter in the environment that `poetry install` creates in its
    cache.
    """
    project = network.remote_home / "mlpractical"
    (project / "pyproject.toml").write_text(PROJECT)
    network.configure(notebook={"environment": "poetry"})
    (network.remote_home / ".local/bin").mkdir(parents=True)
    (network.remote_home / ".local/bin/poetry").symlink_to(poetry)
    install_with_poetry(poetry, project, network.remote_home)
    (prefix,) = (network.remote_home / ".cache/pypoetry/virtualenvs").glob("work-*-py3*")
    add_jupyter(prefix)
    assert kernel_prefix(network) == str(prefix)


def test_modules(network: Network, module_host: ModuleHost) -> None:
    """With `notebook.modules`, `up` names a missing module and those like it, and then runs Jupyter with the Python of
    one, whose variables a kernel has.
    """
    make_environment(module_host.python)
    network.host.stop()
    network.host.start(network.environment(**module_host.variables))
    network.configure(notebook={"environment": "modules", "modules": ["work-python/3.0"]})
    assert_error(up(network), 6, "no module work-python/3.0", "work-python/1.0, work-python/2.0")
    network.configure(notebook={"environment": "modules", "modules": ["broken/1"]})
    assert_error(up(network), 6, "broken/1 does not load", "something-else")
    network.configure(notebook={"environment": "modules", "modules": ["work-python/1.0"]})
    assert kernel_prefix(network) == str(module_host.python)
