"""The settings in any other project than a checkout: in Invoke's order, beside the settings of other tasks."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fabric import Config as FabricConfig  # type: ignore[import-untyped, unused-ignore]
from invoke.config import Config as InvokeConfig
from invoke.context import Context

from notebooks_over_ssh.config import sources
from notebooks_over_ssh.config.settings import Settings, load
from notebooks_over_ssh.config.sources import find_project
from notebooks_over_ssh.errors import ConfigError

Load = Callable[..., Settings]
BOTH = pytest.mark.parametrize("kind", [InvokeConfig, FabricConfig], ids=["invoke", "fab"])


@pytest.fixture(autouse=True)
def project(clean_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The invoke.yaml, not yet written, of an empty project."""
    for folder in ("etc", "project"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(sources, "SYSTEM_STEM", tmp_path / "etc" / "invoke")
    return tmp_path / "project" / "invoke.yaml"


@pytest.fixture
def load_in(project: Path) -> Load:
    """Loads the settings of a task in the project."""

    def load_in(
        kind: type[InvokeConfig] = InvokeConfig, configured: dict[str, Any] | None = None, **options: Any
    ) -> Settings:
        config = kind(lazy=True, project_location=project.parent, **options)
        config.load_collection(configured or {})
        return load(Context(config))

    return load_in


class TestOrder:
    LAYERS = ("built in", "collection", "system", "user", "project", "variable", "runtime", "command line")

    @BOTH
    @pytest.mark.parametrize("top", range(len(LAYERS)), ids=LAYERS)
    def test_invoke(
        self, load_in: Load, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        kind: type[InvokeConfig], top: int,
    ) -> None:  # fmt: skip
        """The order is Invoke's, with the project's file over the user's own."""
        files = (tmp_path / "etc/invoke.yaml", tmp_path / "home/.invoke.yaml", project)
        for number, file in enumerate(files, 2):
            if top >= number:
                file.write_text(f"timeouts: {{connect: {100 + number}}}\n")
        if top >= 5:
            monkeypatch.setenv("INVOKE_TIMEOUTS_CONNECT", "105")
        (tmp_path / "run.yaml").write_text("timeouts: {connect: 106}\n")
        settings = load_in(
            kind,
            {"timeouts": {"connect": 101}} if top >= 1 else {},
            runtime_path=tmp_path / "run.yaml" if top >= 6 else None,
            overrides={"timeouts": {"connect": 107}} if top >= 7 else {},
        )
        assert settings.timeouts.connect == (10, 101, 102, 103, 104, 105, 106, 107)[top]

    def test_fabric_file(self, load_in: Load, project: Path) -> None:
        """Under `fab` the project's fabric.yaml overrides its invoke.yaml, and `invoke` does not read it."""
        project.write_text("notebook: {environment: a, nice: 11}\n")
        project.with_name("fabric.yaml").write_text("notebook: {environment: b}\n")
        notebook = load_in(FabricConfig).notebook
        assert (notebook.environment, notebook.nice) == ("b", 11)
        assert load_in(InvokeConfig).notebook.environment == "a"

    def test_checkout(self, load_in: Load, project: Path, tmp_path: Path) -> None:
        """A checkout's own file is the collection's: the user's file overrides it."""
        project.write_text("gateway: sandbox\n")
        (tmp_path / "home/.invoke.yaml").write_text("gateway: gate.example\n")
        assert load_in().gateway == "sandbox"
        (project.parent / "notebooks_over_ssh").mkdir()
        (project.parent / "notebooks_over_ssh/__init__.py").touch()
        assert load_in().gateway == "gate.example"

    def test_host(self, load_in: Load, project: Path) -> None:
        """A host in a project's file counts as named explicitly, even the default one."""
        assert load_in().explicit_host is None
        project.write_text("notebook: {host: student.compute}\n")
        assert load_in().explicit_host == "student.compute"

    def test_no_project(self, tmp_path: Path) -> None:
        """Without a project the user's own file counts."""
        (tmp_path / "home/.invoke.yaml").write_text("gateway: gate.example\n")
        assert load(Context(InvokeConfig(lazy=True))).gateway == "gate.example"


class TestOtherTasks:
    SETTINGS = (
        "docs: {builder: html}\nenvironment: production\nusers: [a]\nports: 3\nforward_agent: true\n"
        "timeouts: {command: 60, connect: 7}\nconnect_kwargs: {gss_auth: true, compress: true}\n"
    )

    @pytest.mark.parametrize("file", ["project/invoke.yaml", "project/fabric.yaml", "home/.invoke.yaml"])
    def test_let_through(self, load_in: Load, tmp_path: Path, file: str) -> None:
        """What other tasks of the project are set by is theirs; what both use counts."""
        (tmp_path / file).write_text(self.SETTINGS)
        settings = load_in(FabricConfig, {"deploy": {"host": "a"}})
        assert (settings.timeouts.connect, settings.connect_kwargs) == (7, {"compress": True})

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("notebok: {nice: 12}", "unknown setting notebok in invoke.yaml"),
            ("gatway: gate.example", "unknown setting gatway in invoke.yaml"),
            ("notebook: {enviroment: x}", "unknown setting notebook.enviroment in invoke.yaml"),
            ("notebook: {nice: 5}", "notebook.nice in invoke.yaml must be"),
            ("connect_kwargs: {password: x}", "connect_kwargs.password in invoke.yaml is a secret"),
        ],
    )
    def test_refused(self, load_in: Load, project: Path, text: str, error: str) -> None:
        """What is for these tasks and wrong, or almost spelt like it, is refused by name."""
        project.write_text(text)
        with pytest.raises(ConfigError, match=error):
            load_in()

    def test_collection_is_named(self, load_in: Load) -> None:
        """An error in what the project's tasks.py configures says so."""
        with pytest.raises(ConfigError, match=r"notebook.nice in ns.configure must be"):
            load_in(configured={"notebook": {"nice": 5}})


class TestFindProject:
    def test_upwards(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The nearest invoke.yaml, .yml or .json counts, from the current folder upwards."""
        folder = project.parent / "a" / "b"
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        project.with_suffix(".json").write_text("{}")
        assert find_project() == project.parent
        (folder.parent / "invoke.yml").touch()
        assert find_project() == folder.parent

    def test_none(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No file is no project, and neither is a folder that was deleted."""
        folder = project.parent / "a"
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert find_project() is None
        folder.rmdir()
        assert find_project() is None

    def test_of_another_account(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that somebody else put above the current folder is refused: its gateway may be a command."""
        project.write_text("gateway: sh -c evil\n")
        monkeypatch.chdir(project.parent)
        monkeypatch.setattr(os, "getuid", lambda: project.stat().st_uid + 1)
        if project.stat().st_uid == 0:
            os.chown(project, 12345, -1)
            monkeypatch.setattr(os, "getuid", lambda: 0)
        with pytest.raises(ConfigError, match="belongs to another account") as caught:
            find_project()
        assert caught.value.hint.endswith(f"-f {project}")
