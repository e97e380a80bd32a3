"""One table lists the traits of Jupyter that matter for the server's protection, and each module uses it."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from notebooks_over_ssh.config.jupyter_arguments import check_arguments
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter.security import InsecureSetting
from notebooks_over_ssh.remote_scripts.jupyter_traits import TRAITS, Trait

PACKAGE = Path(__file__).resolve().parents[3] / "notebooks_over_ssh"
EXPECTED = {"password": "the hash", "certfile": "/server.pem", "keyfile": "/server.pem"}
TRAITS_WITH_SAFE_VALUE = {name: trait for name, trait in TRAITS.items() if trait.safe is not None}


@pytest.fixture
def insecure_settings(import_remote: Callable[[str], ModuleType]) -> ModuleType:
    """The program of the host, imported by the name that it has there."""
    return import_remote("insecure_settings")


@pytest.mark.parametrize("name", TRAITS)
def test_refused_as_argument(name: str) -> None:
    """notebook.arguments may not set a trait of the table; the message says why, and the hint names a command."""
    with pytest.raises(ConfigError) as excinfo:
        check_arguments([f"--ServerApp.{name}=x"], "notebook.arguments")
    assert str(excinfo.value).endswith(TRAITS[name].refusal)
    assert TRAITS[name].command in excinfo.value.hint


@pytest.mark.parametrize(("name", "trait"), TRAITS_WITH_SAFE_VALUE.items())
def test_insecure_in_a_file(insecure_settings: ModuleType, name: str, trait: Trait) -> None:
    """A checked trait is insecure with any value but the safe ones, on the table's classes only, and has an effect."""
    sections = ("ServerApp", "IdentityProvider", "Session")
    section = next(section for section in sections if re.fullmatch(trait.classes, section))
    safe = [EXPECTED[trait.safe]] if isinstance(trait.safe, str) else list(trait.safe)
    assert insecure_settings.is_insecure(f"{section}.{name}", "another value", EXPECTED)
    assert not any(insecure_settings.is_insecure(f"{section}.{name}", value, EXPECTED) for value in safe)
    assert not insecure_settings.is_insecure(f"Other.{name}", "another value", EXPECTED)
    setting = InsecureSetting(path="", name=f"{section}.{name}", value="", is_owned=True)
    assert setting.explanation == trait.effect != ""


def test_secrets(insecure_settings: ModuleType) -> None:
    """The value of a secret is not shown."""
    secrets = {name for name in TRAITS if not insecure_settings.redacted(f"ServerApp.{name}", "x")}
    assert secrets == {"token", "password", "hashed_password", "key", "cookie_secret"}


def test_no_second_table() -> None:
    """No other module has a collection with four of these traits or more."""
    tables = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "jupyter_traits.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if len(_strings(node) & TRAITS.keys()) >= 4
    ]
    assert tables == []


def _strings(node: ast.AST) -> set[str]:
    match node:
        case ast.Dict(keys=keys):
            members = [key for key in keys if key is not None]
        case ast.Tuple(elts=members) | ast.List(elts=members) | ast.Set(elts=members):
            pass
        case _:
            return set()
    return {
        member.value
        for member in members
        if isinstance(member, ast.Constant) and isinstance(member.value, str)
    }
