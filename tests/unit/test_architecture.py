"""The layers import only downwards, some calls have only one place, and tests share only the toolkit."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "notebooks_over_ssh"
# From top to bottom; packages on one line do not import each other.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("program", "executor"),
    ("__init__",),
    ("collection",),
    ("sandbox_collection",),
    ("tasks",),
    ("diagnostics", "trust_stores"),
    ("tunnel",),
    ("jupyter",),
    ("launchers",),
    ("ssh", "sandbox"),
    ("config",),
    ("terminal", "debug_log"),
    ("state_files",),
    ("errors", "util", "remote_scripts"),
)
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}
MODULES = [
    path
    for path in PACKAGE.rglob("*.py")
    if "remote_scripts" not in path.parts and "static" not in path.parts
]


def package_of(module: str) -> str:
    """`notebooks_over_ssh.ssh.remote` is in the package `ssh`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported_modules(path: Path) -> Iterator[str]:
    """Our modules that a module imports, anywhere in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "notebooks_over_ssh":
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            yield from (f"notebooks_over_ssh.{name}" for name in names)
        elif (
            isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("notebooks_over_ssh.")
        ):
            yield node.module


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_respect_layers(path: Path) -> None:
    """A package imports only itself and lower layers."""
    importer = package_of(module_of(path))
    for name in imported_modules(path):
        assert package_of(name) == importer or LAYER[package_of(name)] > LAYER[importer], (
            f"{importer} imports {name}"
        )


@cache
def names_used_in(path: Path) -> frozenset[str]:
    """Every name that a module uses, with the objects before it: `print`, `time.sleep`."""
    nodes = ast.walk(tree_of(path))
    return frozenset(dotted_name(node) for node in nodes if isinstance(node, ast.Name | ast.Attribute))


def dotted_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted_name(value)}.{name}"
        case _:
            return ""


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("fabric.Connection", {"notebooks_over_ssh.ssh.connection"}),
        ("fabric.Config", {"notebooks_over_ssh.program", "notebooks_over_ssh.ssh.connection"}),
        ("c.config", {"notebooks_over_ssh.config.settings"}),
        ("print", {"notebooks_over_ssh.terminal"}),
        ("getpass.getpass", set()),
        ("sys.exit", {"notebooks_over_ssh.sandbox.launch"}),  # the main program of the background process
        ("paramiko.AutoAddPolicy", set()),
        (
            "ssl.CERT_NONE",
            {"notebooks_over_ssh.jupyter.verification"},
        ),  # to report another server's certificate
        ("time.sleep", set()),
        ("os.system", set()),
    ],
)
def test_restricted_calls(name: str, allowed: set[str]) -> None:
    """These names are used in the allowed modules only."""
    assert {
        module_of(path) for path in MODULES if name in path.read_text() and name in names_used_in(path)
    } == allowed


TESTS = [*(ROOT / "tests").rglob("*.py")]
STARTS_PROGRAM = re.compile(r"^(?:import subprocess|from tests\.kit\.cli import .*\brun)\b", re.MULTILINE)
IMPORTS_TEST = re.compile(
    r"^ *(?:from|import) +(?:tests\.)?(?:unit|integration|security|e2e|conftest)\b.*", re.MULTILINE
)


def test_no_test_imports_a_test() -> None:
    """Tests share only the toolkit: nothing imports a module of another tests folder."""
    paths = [*TESTS, *(ROOT / "benchmarks").rglob("*.py")]
    assert {
        module_of(path): lines for path in paths if (lines := IMPORTS_TEST.findall(path.read_text()))
    } == {}


def test_unit_tests_start_no_program() -> None:
    """No unit test starts a program, except to see a missing one fail."""
    paths = [path for path in TESTS if ROOT / "tests/unit" in path.parents]
    users = {path.name for path in paths if STARTS_PROGRAM.search(path.read_text())}
    assert users == {"test_missing_programs.py"}


def test_helpers_are_in_the_toolkit() -> None:
    """Outside of tests/kit there are only test modules and conftest.py files."""
    others = [
        module_of(path)
        for path in TESTS
        if not path.name.startswith("test_")
        and ROOT / "tests/kit" not in path.parents
        and path.name != "__init__.py"
    ]
    assert {name.rpartition(".")[2] for name in others} == {"conftest"}


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_small_modules(path: Path) -> None:
    """A module has at most 300 lines."""
    assert len(path.read_text().splitlines()) <= 300
