"""The programs of the host run with old Pythons."""

import ast
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[3] / "notebooks_over_ssh" / "remote_scripts").glob("*.py"))
OURS = {script.stem for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_syntax_of_python_3_6(script: Path) -> None:
    """Python 3.6 can parse them."""
    ast.parse(script.read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_imports(script: Path) -> None:
    """They import each other and the standard library; other packages and newer modules only where they are used."""
    tree = ast.parse(script.read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - OURS - set(sys.stdlib_module_names)
    assert not foreign
