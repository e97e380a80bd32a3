"""The sandbox's home folder: its files, and that Jupyter works in it."""

import json
import shlex
from pathlib import Path

from notebooks_over_ssh.sandbox import Network
from tests.kit.openssh_client import OpenSSHClient

_RUN_THE_NOTEBOOK = """
import sys
import nbclient, nbformat
notebook = nbformat.read("mlpractical/plots.ipynb", as_version=4)
notebook.cells.append(nbformat.v4.new_code_cell("import sys; print(sys.prefix)"))
nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
print(outputs[0]["text"], end="")
print("image/png" in outputs[1]["data"])
print(outputs[2]["text"], end="")
"""


def test_notebook_is_valid(network: Network) -> None:
    """The notebook is valid: format 4.5, cells with ids, no outputs."""
    import nbformat  # slow: not at collection, in every worker

    text = (Path(network.home) / "mlpractical/plots.ipynb").read_text()
    content = json.loads(text)
    nbformat.validate(content)
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in content["cells"])


def test_notebook_runs(client: OpenSSHClient, network: Network) -> None:
    """The environment's own kernel runs the whole notebook, which prints its host and draws a plot."""
    result = client.run("bonnington", "~/miniconda3/envs/mlp/bin/python -", stdin=_RUN_THE_NOTEBOOK)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["bonnington", "True", f"{network.home}/miniconda3/envs/mlp"]


def test_launchers(client: OpenSSHClient) -> None:
    """One program of Jupyter finds and starts another, although its path contains spaces."""
    result = client.run("ashbury", "~/miniconda3/envs/mlp/bin/jupyter notebook --version")
    assert result.returncode == 0, result.stderr


def test_node(client: OpenSSHClient, network: Network) -> None:
    """Jupyter finds a Node.js in the environment that prints no setting, so a start of Jupyter does not wait for it."""
    prefix = Path(network.home) / "miniconda3/envs/mlp"
    result = client.run(
        "ashbury", f"PATH={shlex.quote(str(prefix))}/bin:$PATH; command -v node; node yarn.js config --json"
    )
    assert (result.returncode, result.stdout) == (0, f"{prefix}/bin/node\n"), result


def test_kernels_are_isolated(client: OpenSSHClient, network: Network) -> None:
    """A kernel spec installed in the environment does not appear in this project's own environment."""
    result = client.run("ashbury", "~/miniconda3/envs/mlp/bin/jupyter kernelspec list --json")
    prefix = Path(network.home) / "miniconda3/envs/mlp"
    kernels = json.loads(result.stdout)["kernelspecs"]
    assert kernels["python3"]["resource_dir"] == str(prefix / "share/jupyter/kernels/python3")
    for folder in ("etc/jupyter", "share/jupyter", "share/jupyter/kernels"):
        assert (prefix / folder).is_dir()
        assert not (prefix / folder).is_symlink()


def test_environments_are_listed(client: OpenSSHClient, network: Network) -> None:
    """Conda lists the base, `mlp`, and `plain`, which has Python but no Jupyter."""
    base = Path(network.home) / "miniconda3"
    prefixes = [base, base / "envs/mlp", base / "envs/plain"]
    environments = (Path(network.home) / ".conda/environments.txt").read_text().splitlines()
    assert environments == [str(prefix) for prefix in prefixes]
    for prefix in prefixes:
        assert (prefix / "conda-meta/history").is_file()
    output = client.run(
        "ashbury", "~/miniconda3/condabin/conda info --envs; ~/miniconda3/bin/conda --version"
    ).stdout
    assert all(str(prefix) in output for prefix in prefixes)
    assert "fake" in output
    assert (
        client.run("ashbury", "~/miniconda3/envs/plain/bin/python -c 'import jupyter_server'").returncode == 1
    )
    result = client.run("ashbury", "~/miniconda3/bin/conda install numpy")
    assert result.returncode == 1
    assert "fake" in result.stderr
