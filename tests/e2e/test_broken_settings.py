"""Settings files and variables that Invoke itself cannot read are errors that name them, never a traceback."""

import shutil
from pathlib import Path

import pytest

from tests.kit.cli import BIN_DIR, ROOT, Result, User, assert_error, run

BOTH = pytest.mark.parametrize("program", ["fab", "invoke"])
YAML = b"user: me\nnotebook: [1\n  nice: 12\n"
FILES: dict[str, tuple[str, bytes | None, str]] = {
    "YAML": ("f.yaml", YAML, "f.yaml, line 3: invalid YAML: expected ',' or ']'"),
    "JSON": ("f.json", b'{"user":\n }', "f.json, line 2: invalid JSON"),
    "a list": ("f.yaml", b"- user\n", "f.yaml must be a mapping of names to values, not a list"),
    "one value": ("f.yaml", b"sandbox\n", "f.yaml must be a mapping of names to values, not a single value"),
    "a value as section": ("f.yaml", b"notebook: 5\n", "notebook in"),
    "a NUL": ("f.yaml", b"user: \0\n", "f.yaml, line 1: invalid YAML"),
    "not UTF-8": ("f.yaml", b"user: \xff\n", "f.yaml is not UTF-8: byte 6 is 0xff"),
    "too deep": ("f.yaml", b"[" * 1000, "f.yaml is nested too deeply"),
    "another kind": ("f.toml", b"user = 1\n", "f.toml is not a YAML or JSON file"),
    "no kind": ("f", b"user: me\n", "f is not a YAML or JSON file"),
    "a program that fails": ("f.py", b"1 / 0\n", "f.py is not a YAML or JSON file"),
    "missing": ("f.yaml", None, "there is no configuration file"),
}


@BOTH
@pytest.mark.parametrize("kind", FILES)
def test_unreadable_file(idle_user: User, tmp_path: Path, program: str, kind: str) -> None:
    """An unreadable file of `-f` is refused with 2, its name, and its line where there is one."""
    name, content, error = FILES[kind]
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    assert_error(idle_user.run(program, "-f", str(file), "status"), 2, error, str(file))
    assert_error(idle_user.run(program, "status", INVOKE_RUNTIME_CONFIG=str(file)), 2, error)


@BOTH
def test_folder_and_symlink_loop(idle_user: User, tmp_path: Path, program: str) -> None:
    """A folder and a symlink to itself are refused as settings files."""
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert_error(
        idle_user.run(program, "-f", str(folder), "status"), 2, f"{folder} cannot be read: it is a folder"
    )
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert_error(
        idle_user.run(program, "-f", str(loop), "status"), 2, f"{loop} cannot be read", "symbolic links"
    )


@BOTH
def test_variables(idle_user: User, program: str) -> None:
    """A variable whose value has the wrong type is refused by its name, whichever program reads it first."""
    assert_error(
        idle_user.run(program, "status", INVOKE_NOTEBOOK_NICE="abc"), 2, "INVOKE_NOTEBOOK_NICE must be"
    )
    prefix = {"fab": "FABRIC", "invoke": "INVOKE"}[program]
    name = f"{prefix}_RUN_WATCHERS"
    done = idle_user.run(program, "status", **{name: "x"})
    assert_error(done, 2, f"Invoke cannot use one of the variables {name}", "list")


def test_missing_ssh_config(idle_user: User) -> None:
    """A missing file of `-S` is named."""
    assert_error(
        idle_user.fab("-S", "/nonexistent/config", "status"), 2, "/nonexistent/config cannot be read"
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, whose own files a test can break."""
    copy = tmp_path / "project"
    for folder in ("notebooks_over_ssh", "fabfile"):
        shutil.copytree(ROOT / folder, copy / folder)
    for file in ("tasks.py", "invoke.yaml", "fabric.yaml"):
        shutil.copy(ROOT / file, copy)
    return copy


def run_in(project: Path, user: User, program: str) -> Result:
    return run(BIN_DIR / program, "status", cwd=project, env=user.environment(), check=False)


@pytest.mark.parametrize(("program", "name"), [("fab", "invoke"), ("invoke", "invoke"), ("fab", "fabric")])
def test_broken_project_file(project: Path, idle_user: User, program: str, name: str) -> None:
    """Both programs refuse a broken invoke.yaml in the project, and `fab` a broken fabric.yaml."""
    (project / f"{name}.yaml").write_bytes(YAML)
    assert_error(run_in(project, idle_user, program), 2, f"{name}.yaml, line 3: invalid YAML")


def test_broken_user_file(idle_user: User) -> None:
    """`fab` refuses a broken ~/.invoke.yaml. (`invoke` reads it before any code of this project runs.)"""
    (idle_user.home / ".invoke.yaml").write_bytes(YAML)
    assert_error(idle_user.fab("status"), 2, "~/.invoke.yaml, line 3: invalid YAML")
