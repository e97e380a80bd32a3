"""A site's file sets what is in the allow-list, below the source that names it."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from invoke.context import Context

from notebooks_over_ssh.config import sources
from notebooks_over_ssh.config.job import sbatch_options
from notebooks_over_ssh.config.settings import Settings, load
from notebooks_over_ssh.config.site import ALLOWED, MAX_FILE_BYTES
from notebooks_over_ssh.errors import ConfigError

PIN = "SHA256:" + "a" * 43
SITE = f"""\
# the School of Engineering
gateway: ssh.eng.example
port: 2222
notebook: {{host: pool.eng, environment: torch, modules: [cuda/12], directory: ~/work, application: lab, nice: 15}}
ssh:
  host_keys:
    ssh.eng.example: [{PIN}]
"""
CLUSTER = """\
notebook:
  host: login.eng
  launcher: slurm
  node_access: sshd
  job: {partition: gpu, account: eng, qos: normal, time: "1:00:00", cpus: 4, memory: 8G, gpus: 1, gres: "nic:1"}
"""


@pytest.fixture(autouse=True)
def home(clean_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, no file of the machine, and no option of a program."""
    monkeypatch.setattr(sources, "SYSTEM_STEM", tmp_path / "etc" / "invoke")
    monkeypatch.setattr(sys, "argv", ["fab"])
    return clean_home


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The site's file."""
    path = tmp_path / "eng.yaml"
    path.write_text(SITE)
    return path


def load_settings(overrides: dict[str, Any] | None = None, **flags: Any) -> Settings:
    return load(Context(Config(lazy=True, overrides=overrides or {})), **flags)


def load_error(file: Path, content: str | bytes) -> ConfigError:
    """The error for a site's file with this content."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load_settings(site=str(file))
    return caught.value


class TestSettings:
    def test_all(self, file: Path) -> None:
        """Each setting of the allow-list counts, and every other one keeps its default."""
        loaded = load_settings(site=str(file))
        default = load_settings()
        notebook = loaded.notebook
        assert (loaded.gateway, loaded.port, loaded.user) == ("ssh.eng.example", 2222, None)
        assert (notebook.host, notebook.environment, notebook.directory) == ("pool.eng", "torch", "~/work")
        assert (notebook.modules, notebook.application, notebook.nice) == (["cuda/12"], "lab", 15)
        assert loaded.ssh.host_keys == {"ssh.eng.example": [PIN]}
        assert loaded.explicit_host == "pool.eng"
        assert (loaded.connect_kwargs, loaded.timeouts) == (default.connect_kwargs, default.timeouts)
        names = ("notebook.job.", "notebook.launcher", "notebook.node_access")
        cluster = {name for name in ALLOWED if name.startswith(names)}
        assert loaded.site and set(loaded.site.settings) == set(ALLOWED) - cluster

    def test_cluster(self, file: Path) -> None:
        """A site may say that its hosts are a cluster's, and what a job asks for there."""
        file.write_text(CLUSTER)
        notebook = load_settings(None, site=str(file), **{"job.gpus": "2"}).notebook
        assert (notebook.launcher, notebook.job.partition, notebook.job.time) == ("slurm", "gpu", "1:00:00")
        assert notebook.node_access == "sshd"
        assert load_settings(site=str(file)).notebook.job.gpus == 1
        assert sbatch_options(notebook.job)[-2:] == ["--gpus=2", "--gres=nic:1"]

    def test_none(self) -> None:
        """Without a named site there is none."""
        assert load_settings().site is None

    @pytest.mark.parametrize(
        ("text", "setting"),
        [
            ("user: me", "user"),
            ("notebook: {activate: 'module load x'}", "notebook.activate"),
            ("notebook: {arguments: [--debug]}", "notebook.arguments"),
            ("notebook: {job: {sbatch_arguments: [--mail-type=ALL]}}", "notebook.job.sbatch_arguments"),
            ("notebook: {site: other}", "notebook.site"),
            ("notebook: {sites: {a: /a.yaml}}", "notebook.sites"),
            ("notebook: {trust: true}", "notebook.trust"),
            ("notebook: {plain: true}", "notebook.plain"),
            ("notebook: {local_port: 8888}", "notebook.local_port"),
            ("notebook: {open: a.ipynb}", "notebook.open"),
            ("ssh_config_path: /tmp/config", "ssh_config_path"),
            ("load_ssh_configs: false", "load_ssh_configs"),
            ("connect_kwargs: {key_filename: /tmp/key}", "connect_kwargs.key_filename"),
            ("connect_kwargs: {disabled_algorithms: {kex: [a]}}", "connect_kwargs.disabled_algorithms"),
            ("ssh: {keyring: true}", "ssh.keyring"),
            ("ssh: {password_for_next_hop: true}", "ssh.password_for_next_hop"),
            ("run: {shell: /tmp/sh}", "run"),
        ],
    )
    def test_not_allowed(self, file: Path, text: str, setting: str) -> None:
        """A setting outside of the allow-list is refused by name, whatever its value."""
        assert f"{file} sets {setting}, which a site may not" in str(load_error(file, text))

    def test_allow_list(self) -> None:
        """The allow-list has no command, no local path and no secret."""
        local = {"notebook.activate", "notebook.arguments", "ssh_config_path", "connect_kwargs.key_filename"}
        assert not local & set(ALLOWED)
        assert set(ALLOWED) < set(sources.KNOWN_SETTINGS)

    @pytest.mark.parametrize(
        ("content", "error"),
        [
            ("gateway: ssh -W %h:%p a\nnotebook: {host: a}", "has a command as its gateway"),
            ("gateway: a;b\nnotebook: {host: a}", "gateway in"),
            ("gateway: a", "has no notebook.host"),
            ("notebook: {host: a, nice: 5}", "notebook.nice in"),
            ("notebook: {host: a, job: {time: 1h}}", "notebook.job.time in"),
            ("notebook: {host: a, enviroment: b}", "unknown setting notebook.enviroment"),
            ("notebook: {host: a, environment: 'b  c'}", "notebook.environment in"),
            ("notebook: {host: a, modules: [b, 'c  d']}", "notebook.modules in"),
            ("notebook: {host: a, directory: 'b\u202ec'}", "characters that cannot be shown"),
            (f"notebook: {{host: a}}\nssh: {{host_keys: {{'a\u200b': [{PIN}]}}}}", "cannot be shown"),
            ("connect_kwargs: {password: x}", "is a secret in a configuration file"),
            ("- a", "must be a mapping"),
            ("", "has no notebook.host"),
            (b"gateway: \xff", "is not UTF-8"),
            (b"#" * (MAX_FILE_BYTES + 1), f"more than {MAX_FILE_BYTES} bytes"),
        ],
    )
    def test_wrong(self, file: Path, content: str | bytes, error: str) -> None:
        """A wrong file is refused, with its path."""
        problem = load_error(file, content)
        assert error in str(problem) and str(file) in str(problem) and problem.hint

    def test_not_regular(self, tmp_path: Path) -> None:
        """A FIFO, a folder and a missing file are refused by name, without waiting for a writer."""
        os.mkfifo(tmp_path / "fifo.yaml")
        (tmp_path / "folder.yaml").mkdir()
        for name in ("fifo.yaml", "folder.yaml", "missing.yaml", "site.toml"):
            with pytest.raises(ConfigError, match=f"{name} (cannot be read|is not a YAML)"):
                load_settings(site=str(tmp_path / name))


class TestPrecedence:
    @pytest.mark.parametrize("source", ["user", "variable", "runtime", "flag"])
    def test_below_what_names_it(
        self, home: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        """The site's settings override those of earlier sources, and not those of the source that names it."""
        runtime = tmp_path / "run.yaml"
        site_setting = f"site: {file}, " if source == "user" else ""
        (home / ".invoke.yaml").write_text(f"notebook: {{{site_setting}nice: 11, environment: own}}\n")
        flags: dict[str, Any] = {"application": "server"}
        config = Config(lazy=True)
        if source == "variable":
            monkeypatch.setenv("INVOKE_NOTEBOOK_SITE", str(file))
            monkeypatch.setenv("INVOKE_NOTEBOOK_NICE", "12")
        if source == "runtime":
            runtime.write_text(f"notebook: {{site: {file}, nice: 13}}\n")
            config = Config(lazy=True, runtime_path=runtime)
        if source == "flag":
            flags |= {"site": str(file)}
        loaded = load(Context(config), **flags)
        assert loaded.gateway == "ssh.eng.example"
        assert loaded.notebook.application == "server"
        assert loaded.notebook.nice == {"user": 11, "variable": 12, "runtime": 13, "flag": 15}[source]
        assert loaded.notebook.environment == ("own" if source == "user" else "torch")

    @pytest.mark.parametrize("site_setting", ["site: {file}", ""], ids=["in the file", "by the flag"])
    def test_host_keys_of_both(self, home: Path, file: Path, site_setting: str) -> None:
        """The user's pins count beside the site's, and in place of them for the same name, even with the flag."""
        other = "SHA256:" + "b" * 43
        (home / ".invoke.yaml").write_text(
            f"notebook: {{{site_setting.format(file=file)}}}\n"
            f"ssh: {{host_keys: {{pool.eng: [{other}], ssh.eng.example: [{other}]}}}}\n"
        )
        loaded = load_settings() if site_setting else load_settings(site=str(file))
        assert loaded.ssh.host_keys == {"ssh.eng.example": [other], "pool.eng": [other]}
        (home / ".invoke.yaml").write_text(f"ssh: {{host_keys: {{pool.eng: [{other}]}}}}\n")
        assert load_settings(site=str(file)).ssh.host_keys == {"ssh.eng.example": [PIN], "pool.eng": [other]}

    def test_last_name_counts(self, home: Path, file: Path, tmp_path: Path) -> None:
        """Only the last source that names a site counts; `none` there is no site."""
        other = tmp_path / "other.yaml"
        other.write_text("notebook: {host: other}\n")
        (home / ".invoke.yaml").write_text(f"notebook: {{site: {file}}}\n")
        loaded = load_settings(site=str(other))
        assert (loaded.gateway, loaded.notebook.host) == ("sandbox", "other")
        assert load_settings(site="none").site is None


class TestNames:
    def test_several(self, home: Path, file: Path, tmp_path: Path) -> None:
        """Sites are picked by name in the settings, or with the flag."""
        (home / "other.yaml").write_text("notebook: {host: other}\n")
        (home / ".invoke.yaml").write_text(
            f"notebook:\n  site: eng\n  sites: {{eng: {file}, other: ~/other.yaml}}\n"
        )
        assert load_settings().notebook.host == "pool.eng"
        assert load_settings(site="other").notebook.host == "other"
        with pytest.raises(ConfigError, match="there is no site law") as caught:
            load_settings(site="law")
        assert "the sites there are eng, other" in caught.value.hint

    def test_relative_path(self, home: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path is one of the current folder for the flag, and refused in a file."""
        monkeypatch.chdir(file.parent)
        loaded = load_settings(site="eng.yaml")
        assert loaded.site and loaded.site.path == str(file)
        for text in ("{site: eng.yaml}", "{site: eng, sites: {eng: eng.yaml}}"):
            (home / ".invoke.yaml").write_text(f"notebook: {text}\n")
            with pytest.raises(ConfigError, match="must be absolute"):
                load_settings()
