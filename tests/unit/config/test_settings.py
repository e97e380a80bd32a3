"""The settings: precedence, validation and its messages, under `fab` and `invoke` alike."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fabric import Config as FabricConfig  # type: ignore[import-untyped, unused-ignore]
from fabric import Connection
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from invoke.config import Config as InvokeConfig
from invoke.context import Context

from notebooks_over_ssh.config import cli, settings, sources
from notebooks_over_ssh.config.destination import parse_user
from notebooks_over_ssh.config.settings import Destination, Notebook, load, parse_destination
from notebooks_over_ssh.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]

MakeContext = Callable[..., Context]


@pytest.fixture(autouse=True)
def home(clean_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder and a checkout without settings, and no environment variable that is a setting."""
    monkeypatch.setattr(sources, "SYSTEM_STEM", tmp_path / "etc" / "invoke")
    monkeypatch.setattr(sys, "argv", ["fab"])
    (checkout() / "notebooks_over_ssh").mkdir(parents=True)
    (checkout() / "notebooks_over_ssh" / "__init__.py").touch()
    return clean_home


def checkout() -> Path:
    return Path.home().with_name("checkout")


@pytest.fixture
def project() -> Path:
    return checkout() / "invoke.yaml"


@pytest.fixture(params=["invoke", "fab", "fab -H"])
def make_context(request: pytest.FixtureRequest) -> MakeContext:
    """Make the context of a task under each of the programs, from a Config that read its own files."""

    def make(runtime: Path | None = None, overrides: dict[str, Any] | None = None) -> Context:
        kind = InvokeConfig if request.param == "invoke" else FabricConfig
        config = kind(
            overrides=overrides or {},
            runtime_path=runtime,
            project_location=checkout(),
        )
        config.load_project()
        config.load_runtime()
        if request.param == "fab -H":
            context: Context = Connection("ashbury", config=config)
            return context
        return Context(config)

    return make


def load_error(text: str, *, name: str = ".invoke.yaml") -> ConfigError:
    """The error of `load` for a home folder whose configuration file has `text`."""
    (Path.home() / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(Context(InvokeConfig(lazy=True, project_location=checkout())))
    return caught.value


def bare(folder: Path | None = None, **flags: Any) -> settings.Settings:
    return load(Context(InvokeConfig(lazy=True, project_location=folder or checkout())), **flags)


class TestDefaults:
    def test_defaults(self) -> None:
        """Without any file, the settings are those of the guide."""
        loaded = bare()
        assert loaded.gateway == "sandbox"
        assert loaded.notebook == Notebook()
        assert (loaded.notebook.host, loaded.notebook.environment) == ("student.compute", "mlp")
        assert (loaded.notebook.directory, loaded.notebook.nice) == ("~/mlpractical", 19)
        assert (loaded.user, loaded.port, loaded.explicit_host) == (None, None, None)
        assert (loaded.timeouts.connect, loaded.connect_kwargs) == (10, {})

    def test_project_file_equals_defaults(self) -> None:
        """The project's invoke.yaml contains only the default values."""
        assert bare(ROOT) == bare()

    def test_first_setting_is_the_gateway(self) -> None:
        """The one line to change comes before every other setting."""
        lines = (ROOT / "invoke.yaml").read_text(encoding="utf-8").splitlines()
        assert next(line for line in lines if line and not line.startswith("#")) == "gateway: sandbox"


class TestPrecedence:
    LAYERS = ("built in", "project", "user", "variable", "runtime", "command line")

    @pytest.mark.parametrize("top", range(len(LAYERS)), ids=LAYERS)
    def test_layers(
        self, make_context: MakeContext, project: Path, home: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, top: int,
    ) -> None:  # fmt: skip
        """Defaults < project < ~/.invoke.yaml < variables < -f < command line, for each kind of context."""
        runtime = tmp_path / "run.yaml"
        if top >= 1:
            project.write_text("timeouts: {connect: 101}\nnotebook: {nice: 11}\n", encoding="utf-8")
        if top >= 2:
            text = "timeouts: {connect: 102}\nnotebook: {nice: 12}\n"
            (home / ".invoke.yaml").write_text(text, encoding="utf-8")
        if top >= 3:
            monkeypatch.setenv("INVOKE_TIMEOUTS_CONNECT", "103")
            monkeypatch.setenv("INVOKE_NOTEBOOK_NICE", "13")
        if top >= 4:
            runtime.write_text("timeouts: {connect: 104}\nnotebook: {nice: 14}\n", encoding="utf-8")
        overrides = {"timeouts": {"connect": 105}} if top >= 5 else {}
        flags = {"nice": "15"} if top >= 5 else {}
        loaded = load(make_context(runtime if top >= 4 else None, overrides), **flags)
        assert loaded.timeouts.connect == (10, 101, 102, 103, 104, 105)[top]
        assert loaded.notebook.nice == (19, 11, 12, 13, 14, 15)[top]

    def test_layers_are_merged(self, make_context: MakeContext, project: Path, home: Path) -> None:
        """A layer without a setting leaves its value as it is, one level down as well."""
        project.write_text(
            "connect_kwargs: {compress: true}\nnotebook: {environment: a, nice: 11}\n", encoding="utf-8"
        )
        (home / ".invoke.yaml").write_text(
            "connect_kwargs: {allow_agent: false}\nnotebook: {nice: 12}\n", encoding="utf-8"
        )
        loaded = load(
            make_context(overrides={"connect_kwargs": {"compress": False}, "sudo": {}, "tasks": {}})
        )
        assert (loaded.notebook.environment, loaded.notebook.nice) == ("a", 12)
        assert loaded.connect_kwargs == {"compress": False, "allow_agent": False}

    def test_null_unsets(self, project: Path, home: Path) -> None:
        """A null in the user's file unsets what the project's file sets."""
        project.write_text("gateway: g\nuser: u\nnotebook: {local_port: 9000}\n", encoding="utf-8")
        (home / ".invoke.yaml").write_text(
            "gateway: null\nuser:\nnotebook: {local_port: null}\n", encoding="utf-8"
        )
        loaded = bare()
        assert (loaded.gateway, loaded.user, loaded.notebook.local_port) == (None, None, None)

    def test_files_of_fabric_do_not_count(self, make_context: MakeContext, home: Path) -> None:
        """Files that only `fab` would read are read under neither program."""
        (home / ".fabric.yaml").write_text("user: mallory\nport: 7\n", encoding="utf-8")
        loaded = load(make_context())
        assert (loaded.user, loaded.port) == (None, None)

    def test_first_suffix_wins(self, home: Path) -> None:
        """Of ~/.invoke.yaml, .yml and .json the first is read, as Invoke does."""
        (home / ".invoke.json").write_text('{"notebook": {"nice": 13}}', encoding="utf-8")
        assert bare().notebook.nice == 13
        (home / ".invoke.yml").write_text("notebook: {nice: 12}", encoding="utf-8")
        assert bare().notebook.nice == 12
        (home / ".invoke.yaml").write_text("notebook: {nice: 11}", encoding="utf-8")
        assert bare().notebook.nice == 11

    @pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "notebook:\n", "\ufeffnotebook:\n"])
    def test_empty_file(self, home: Path, text: str) -> None:
        """An empty file or section sets nothing."""
        (home / ".invoke.yaml").write_text(text, encoding="utf-8")
        assert bare().notebook == Notebook()

    def test_no_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A home that is no folder has no configuration file."""
        monkeypatch.setenv("HOME", "/dev/null")
        assert bare().notebook == Notebook()


class TestVariables:
    @pytest.mark.parametrize(
        ("variable", "text", "value"),
        [
            ("NOTEBOOK_HOST", "ashbury", lambda s: s.notebook.host == "ashbury"),
            ("NOTEBOOK_OPEN_BROWSER", "No", lambda s: s.notebook.open_browser is False),
            ("NOTEBOOK_OPEN_BROWSER", "1", lambda s: s.notebook.open_browser is True),
            ("NOTEBOOK_LOCAL_PORT", "9000", lambda s: s.notebook.local_port == 9000),
            ("NOTEBOOK_LOCAL_PORT", "", lambda s: s.notebook.local_port is None),
            ("NOTEBOOK_APPLICATION", "lab", lambda s: s.notebook.application == "lab"),
            ("NOTEBOOK_ENVIRONMENT", "none", lambda s: s.notebook.environment == "none"),
            ("NOTEBOOK_ENVIRONMENT", "3", lambda s: s.notebook.environment == "3"),
            ("NOTEBOOK_DIRECTORY", "~/a b'c $d é", lambda s: s.notebook.directory == "~/a b'c $d é"),
            ("GATEWAY", "me@gate:2222", lambda s: s.gateway == "me@gate:2222"),
            ("GATEWAY", "none", lambda s: s.gateway is None),
            ("USER", "s1234567", lambda s: s.user == "s1234567"),
            ("PORT", "2222", lambda s: s.port == 2222),
            ("TIMEOUTS_CONNECT", "3", lambda s: s.timeouts.connect == 3),
            ("SSH_KEYRING", "yes", lambda s: s.ssh.keyring),
            ("CONNECT_KWARGS_COMPRESS", "true", lambda s: s.connect_kwargs == {"compress": True}),
            ("CONNECT_KWARGS_KEY_FILENAME", "/a", lambda s: s.connect_kwargs == {"key_filename": ["/a"]}),
            (
                "CONNECT_KWARGS_KEY_FILENAME",
                "[/a, /b c]",
                lambda s: s.connect_kwargs == {"key_filename": ["/a", "/b c"]},
            ),
            (
                "CONNECT_KWARGS_DISABLED_ALGORITHMS",
                "{keys: [ssh-rsa]}",
                lambda s: s.connect_kwargs == {"disabled_algorithms": {"keys": ["ssh-rsa"]}},
            ),
        ],
    )
    def test_each_type(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: Callable[[Any], bool]
    ) -> None:
        """A variable is parsed as its setting's type."""
        monkeypatch.setenv(f"INVOKE_{variable}", text)
        assert value(bare())

    @pytest.mark.parametrize(
        "variable", ["RUN_ECHO", "DEBUG", "SUDO_USER", "TASKS_DEDUPE", "RUNTIME_CONFIG", "MY_OTHER_PROJECT"]
    )
    def test_unrelated_variables(self, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        """Variables of Invoke or of another project are ignored."""
        before = bare()
        monkeypatch.setenv(f"INVOKE_{variable}", "whatever")
        assert bare() == before

    @pytest.mark.parametrize(
        ("variable", "text", "message", "hint"),
        [
            (
                "NOTEBOOK_ENVIROMENT", "x", "unknown variable INVOKE_NOTEBOOK_ENVIROMENT",
                "did you mean INVOKE_NOTEBOOK_ENVIRONMENT?",
            ),
            ("GATEWY", "x", "unknown variable INVOKE_GATEWY", "did you mean INVOKE_GATEWAY?"),
            ("NOTEBOOK_QQQQQQ", "x", "unknown variable INVOKE_NOTEBOOK_QQQQQQ", "unset it"),
            (
                "NOTEBOOK_NICE", "5", "INVOKE_NOTEBOOK_NICE must be a whole number from 10 to 19, not 5",
                "the nearest allowed value is 10",
            ),
            (
                "NOTEBOOK_NICE", "ten",
                "INVOKE_NOTEBOOK_NICE must be a whole number from 10 to 19, not 'ten'",
                "write a whole number from 10 to 19",
            ),
            (
                "NOTEBOOK_NICE", "\u0661\u0665",
                "INVOKE_NOTEBOOK_NICE must be a whole number from 10 to 19, not '\u0661\u0665'",
                "write a whole number from 10 to 19",
            ),
            (
                "NOTEBOOK_OPEN_BROWSER", "maybe",
                "INVOKE_NOTEBOOK_OPEN_BROWSER must be true or false, not 'maybe'", "write true or false",
            ),
            (
                "NOTEBOOK_DIRECTORY", "",
                "INVOKE_NOTEBOOK_DIRECTORY must be a non-empty string, not ''", "write a non-empty string",
            ),
            (
                "CONNECT_KWARGS_PASSWORD", "hunter2",
                "INVOKE_CONNECT_KWARGS_PASSWORD is a secret in the environment",
                "unset it: you are prompted when it is needed",
            ),
            (
                "FORWARD_AGENT", "true", "INVOKE_FORWARD_AGENT is not supported",
                "log in from the host with a key of its own",
            ),
        ],
    )  # fmt: skip
    def test_refused(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, message: str, hint: str
    ) -> None:
        """An unknown variable is refused, with the closest known one."""
        monkeypatch.setenv(f"INVOKE_{variable}", text)
        with pytest.raises(ConfigError) as caught:
            bare()
        assert (str(caught.value), caught.value.hint) == (message, hint)

    def test_not_utf8(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A value that is not UTF-8 is refused."""
        monkeypatch.setitem(os.environ, "INVOKE_NOTEBOOK_DIRECTORY", "caf\udce9")
        with pytest.raises(
            ConfigError, match="INVOKE_NOTEBOOK_DIRECTORY must be one line without control characters"
        ):
            bare()


class TestInvalidFiles:
    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ("notebook: {enviroment: x}", "unknown setting notebook.enviroment in ~/.invoke.yaml",
             "did you mean notebook.environment?"),
            ("notebok: {host: x}", "unknown setting notebok in ~/.invoke.yaml", "did you mean notebook?"),
            ("nice: 19", "unknown setting nice in ~/.invoke.yaml", "did you mean notebook.nice?"),
            ("notebook: {gateway: x}", "unknown setting notebook.gateway in ~/.invoke.yaml",
             "did you mean gateway?"),
            ("notebook: {port: 8888}", "unknown setting notebook.port in ~/.invoke.yaml",
             "did you mean notebook.local_port?"),
            ("connect_kwargs: {key_file: x}", "unknown setting connect_kwargs.key_file in ~/.invoke.yaml",
             "did you mean connect_kwargs.key_filename?"),
            ("notebook: {1: 2}", "unknown setting notebook.1 in ~/.invoke.yaml",
             f"the settings in notebook are {', '.join(Notebook.__struct_fields__)}"),
            ("notebook: {nice: 25}",
             "notebook.nice in ~/.invoke.yaml must be a whole number from 10 to 19, not 25",
             "the nearest allowed value is 19"),
            ("notebook: {nice: 1e1}",
             "notebook.nice in ~/.invoke.yaml must be a whole number from 10 to 19, not '1e1'",
             "write a whole number from 10 to 19"),
            ("notebook: {nice: 19.0}",
             "notebook.nice in ~/.invoke.yaml must be a whole number from 10 to 19, not 19.0",
             "write a whole number from 10 to 19"),
            ("notebook: {nice: '19'}",
             "notebook.nice in ~/.invoke.yaml must be a whole number from 10 to 19, not '19'",
             "write the number without quotes"),
            ("notebook: {nice: yes}",
             "notebook.nice in ~/.invoke.yaml must be a whole number from 10 to 19, not true",
             "write a whole number from 10 to 19"),
            ("notebook: {nice: }",
             "notebook.nice in ~/.invoke.yaml must be a whole number from 10 to 19, not null",
             "write a whole number from 10 to 19"),
            ("notebook: {open_browser: 1}",
             "notebook.open_browser in ~/.invoke.yaml must be true or false, not 1",
             "write true or false"),
            ("notebook: {environment: 3.10}", "notebook.environment in ~/.invoke.yaml must be a string, not 3.1",
             "put the value in quotes"),
            ("notebook: {environment: 2026-01-01}",
             "notebook.environment in ~/.invoke.yaml must be a string, not 2026-01-01",
             "put the value in quotes"),
            ("notebook: {environment: }", "notebook.environment in ~/.invoke.yaml must be a string, not null",
             "give it a value, or remove the line"),
            ("notebook: {application: labs}",
             "notebook.application in ~/.invoke.yaml must be lab, notebook or server, not 'labs'",
             "did you mean lab?"),
            ("notebook: {application: qqq}",
             "notebook.application in ~/.invoke.yaml must be lab, notebook or server, not 'qqq'",
             "write lab, notebook or server"),
            ("notebook: 3", "notebook in ~/.invoke.yaml must be a mapping of names to values, not a single value",
             "write its settings below it, indented, such as notebook.host"),
            ("run: 3", "run in ~/.invoke.yaml must be a mapping of names to values, not 3",
             "write a mapping of names to values"),
            ("connect_kwargs: {key_filename: {a: b}}",
             "connect_kwargs.key_filename in ~/.invoke.yaml must be a string or a list of strings, not {'a': 'b'}",
             "write a string or a list of strings"),
            ("gateway: false",
             "gateway in ~/.invoke.yaml must be a string, not false", "put the value in quotes"),
            ("gateway: -oProxyCommand=x",
             "gateway in ~/.invoke.yaml must be a host, as in user@host:port, not '-oProxyCommand=x'",
             "a host name has letters, digits, dots and dashes only, as in student.compute"),
            ("notebook: {host: a/b}",
             "notebook.host in ~/.invoke.yaml must be a host, as in user@host:port, not 'a/b'",
             "a host name has letters, digits, dots and dashes only, as in student.compute"),
            ("port: 65536", "port in ~/.invoke.yaml must be a whole number from 1 to 65535, not 65536",
             "the nearest allowed value is 65535"),
            ("user: 1234567", "user in ~/.invoke.yaml must be a string, not 1234567", "put the value in quotes"),
            ("connect_kwargs: {password: hunter2}",
             "connect_kwargs.password in ~/.invoke.yaml is a secret in a configuration file",
             "remove the line: you are prompted when it is needed"),
            ("connect_kwargs: {passphrase: hunter2}",
             "connect_kwargs.passphrase in ~/.invoke.yaml is a secret in a configuration file",
             "remove the line: you are prompted when it is needed"),
            ("forward_agent: true", "forward_agent in ~/.invoke.yaml is not supported",
             "log in from the host with a key of its own"),
            ("inline_ssh_env: false", "inline_ssh_env in ~/.invoke.yaml is not supported",
             "set environment variables with notebook.activate"),
            ("timeouts: {command: 60}", "timeouts.command in ~/.invoke.yaml is not supported",
             "use timeouts.connect, notebook.start_timeout_s or notebook.stop_timeout_s"),
            ("connect_kwargs: {banner_timeout: 5}", "connect_kwargs.banner_timeout in ~/.invoke.yaml is not supported",
             "use timeouts.connect"),
            ("a: 1\nnotebook: {}\na: 2", "a is set twice in ~/.invoke.yaml, line 3", "keep one of the two"),
            ("notebook:\n  nice: 12\n  'nice': 13", "nice is set twice in ~/.invoke.yaml, line 3",
             "keep one of the two"),
            ("- a\n- b", "~/.invoke.yaml must be a mapping of names to values, not a list",
             "write one setting per line, such as gateway: sandbox"),
            ("gateway sandbox", "~/.invoke.yaml must be a mapping of names to values, not a single value",
             "write one setting per line, such as gateway: sandbox"),
        ],
    )  # fmt: skip
    def test_messages(self, text: str, message: str, hint: str) -> None:
        """The error names the setting and its file, and the hint the one thing to do."""
        problem = load_error(text)
        assert (str(problem), problem.hint) == (message, hint)
        assert problem.exit_code == 2

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("gateway: sandbox\nnotebook:\n\thost: a\n", 3),
            ("notebook: {host: 'a\n", 2),
            ("a: b: c\n", 1),
            ("notebook: !!python/object/apply:os.system ['touch owned']\n", 1),
            ("notebook: !mine {}\n", 1),
            ("a: 1\n---\nb: 2\n", 2),
            ("notebook:\n  host: a\x07\n", 2),
            ("? [a]\n: b\n", 1),
        ],
    )
    def test_malformed_yaml(
        self, text: str, line: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A file that is not plain YAML is refused with its line, and its tags are not executed."""
        monkeypatch.chdir(tmp_path)
        assert str(load_error(text)).startswith(f"~/.invoke.yaml, line {line}: invalid YAML: ")
        assert not (tmp_path / "owned").exists()

    def test_malformed_json(self) -> None:
        """Errors in JSON have lines too, and duplicate keys are refused."""
        problem = load_error('{"notebook":\n {"nice": 12,}}', name=".invoke.json")
        assert str(problem).startswith("~/.invoke.json, line 2: invalid JSON: ")
        problem = load_error('{"notebook": {"nice": 12, "nice": 13}}', name=".invoke.json")
        assert str(problem) == "nice is set twice in ~/.invoke.json"

    @pytest.mark.parametrize("text", ["[" * 800, "a: 2026-99-99", "&a [*a]", "gateway: &a [*a]"])
    def test_hostile_yaml(self, text: str) -> None:
        """Unbounded nesting, recursive references and impossible dates are refused."""
        assert "~/.invoke.yaml" in str(load_error(text))

    def test_not_utf8(self, home: Path) -> None:
        """A file in another encoding is refused with the position of the first invalid byte."""
        (home / ".invoke.yaml").write_bytes("user: andré".encode("latin-1"))
        with pytest.raises(ConfigError, match="~/.invoke.yaml is not UTF-8: byte 10 is 0xe9"):
            bare()

    def test_not_a_file(self, home: Path) -> None:
        """A folder in place of the file is refused, not skipped."""
        (home / ".invoke.yaml").mkdir()
        with pytest.raises(ConfigError, match="~/.invoke.yaml cannot be read: "):
            bare()

    def test_each_layer_is_named(self, make_context: MakeContext, project: Path, tmp_path: Path) -> None:
        """The error names the file with the invalid value, not the one whose value would win."""
        runtime = tmp_path / "run.yaml"
        runtime.write_text("notebook: {nice: 12}", encoding="utf-8")
        project.write_text("notebook: {nice: 25}", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"notebook.nice in invoke.yaml must be"):
            load(make_context(runtime))
        project.write_text("notebook: {nice: 12}", encoding="utf-8")
        runtime.write_text("notebook: {nice: 25}", encoding="utf-8")
        with pytest.raises(ConfigError, match=f"notebook.nice in {runtime} must be"):
            load(make_context(runtime))
        with pytest.raises(ConfigError, match=r"connect_kwargs.timeout in the command line must be"):
            load(make_context(overrides={"connect_kwargs": {"timeout": 4000}}))

    def test_missing_runtime_file(self, make_context: MakeContext, tmp_path: Path) -> None:
        """A file given with -f must exist; Invoke by itself ignores a missing one."""
        with pytest.raises(ConfigError, match="there is no configuration file .*none.yaml"):
            load(make_context(tmp_path / "none.yaml"))

    def test_modules(self) -> None:
        """A name that is no module is refused in a file, and so is `environment: modules` without any."""
        assert "'a;b'" in str(load_error("notebook: {modules: [python/3, 'a;b']}"))
        problem = load_error("notebook: {environment: modules}")
        assert "notebook.modules has none" in str(problem)
        (Path.home() / ".invoke.yaml").write_text("notebook: {environment: modules, modules: [python/3]}")
        assert bare().notebook.modules == ["python/3"]

    @pytest.mark.parametrize("key", ["environment", "directory", "activate", "host"])
    @pytest.mark.parametrize("bad", ["\n", "\0", "\x1b", "\x7f", "\x85", "\u2028"])
    def test_control_characters(self, key: str, bad: str) -> None:
        """No text contains a line end or another control character, not even at its end."""
        problem = load_error(json.dumps({"notebook": {key: f"a{bad}"}}), name=".invoke.json")
        assert str(problem).startswith(
            f"notebook.{key} in ~/.invoke.json must be one line without control characters"
        )

    @pytest.mark.parametrize("key", ["environment", "directory", "activate"])
    @given(text=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1))
    @hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_other_characters(self, key: str, text: str) -> None:
        """Spaces, quotes, dollars and all scripts pass unchanged, since they are quoted where used."""
        (Path.home() / ".invoke.json").write_text(json.dumps({"notebook": {key: text}}), encoding="utf-8")
        assert getattr(bare().notebook, key) == text


class TestCommandLine:
    def test_overrides_of_fabric(self, make_context: MakeContext, home: Path) -> None:
        """-i and -t win over the files."""
        (home / ".invoke.yaml").write_text(
            "connect_kwargs: {key_filename: ~/k, compress: true}\ntimeouts: {connect: 7}\n", encoding="utf-8"
        )
        assert load(make_context()).connect_kwargs["key_filename"] == [str(home / "k")]
        loaded = load(
            make_context(
                overrides={
                    "authentication": {"identities": [Path("/x")]},
                    "connect_kwargs": {
                        "key_filename": ["/x"],
                        "timeout": 3,
                    },
                }
            )
        )
        assert loaded.connect_kwargs == {
            "key_filename": ["/x"],
            "compress": True,
        }
        assert loaded.timeouts.connect == 3

    def test_no_password_in_a_repr(self, make_context: MakeContext) -> None:
        """The repr of the settings, as in a log or a traceback, contains no secret."""
        loaded = load(
            make_context(overrides={"connect_kwargs": {"key_filename": "/k"}, "sudo": {"password": "p2"}})
        )
        assert "p2" not in repr(loaded)

    @pytest.mark.parametrize(
        ("overrides", "path"),
        [
            ({"timeouts": {"command": 60}}, "timeouts.command"),
            ({"connect_kwargs": {"banner_timeout": 60}}, "connect_kwargs.banner_timeout"),
        ],
    )
    def test_flags_without_effect(
        self, make_context: MakeContext, overrides: dict[str, Any], path: str
    ) -> None:
        """-T, which would have no effect, is refused by name."""
        with pytest.raises(ConfigError, match=f"{path} in the command line is not supported"):
            load(make_context(overrides=overrides))

    def test_prompted_secrets(self, make_context: MakeContext) -> None:
        """The answers at Fabric's prompts are in no setting and no repr: Paramiko would offer them to every hop."""
        context = make_context(overrides={"connect_kwargs": {"password": "hunter2", "passphrase": "hunter3"}})
        assert load(context).connect_kwargs == {}
        secrets = cli.prompted_secrets(context.config)
        assert (secrets.password, secrets.passphrase) == ("hunter2", "hunter3")
        assert "hunter" not in repr(secrets)
        assert cli.prompted_secrets(make_context().config) == cli.PromptedSecrets()

    def test_ssh_config_path(self, tmp_path: Path) -> None:
        """-S counts; the same setting from Fabric's own file does not."""
        path = tmp_path / "ssh_config"
        path.touch()
        config = FabricConfig(runtime_ssh_path=str(path))
        assert load(Context(config)).ssh_config_path == str(path)
        (Path.home() / ".fabric.yaml").write_text(f"ssh_config_path: {path}", encoding="utf-8")
        assert load(Context(FabricConfig())).ssh_config_path is None

    def test_flags(self) -> None:
        """A task's flag wins, is validated like a setting and named by its flag; None counts as not given."""
        loaded = bare(local_port="9000", open_browser=False, on_exit=None)
        assert (loaded.notebook.local_port, loaded.notebook.open_browser) == (9000, False)
        for wrong, in_message in (("abc", "'abc'"), ("80", "80"), ("8888.0", "'8888.0'"), (99, "99")):
            with pytest.raises(ConfigError) as caught:
                bare(local_port=wrong)
            words = f"--local-port must be a whole number from 1024 to 65535, not {in_message}"
            assert str(caught.value) == words
        with pytest.raises(TypeError):
            bare(colour="red")


class TestHost:
    def test_flag(self) -> None:
        """--host is returned as written, and destination() fills in what it omits."""
        assert bare(host="me@ashbury:2222").explicit_host == "me@ashbury:2222"
        assert bare(host="me@ashbury:2222").destination() == Destination("ashbury", "me", 2222)
        assert bare().destination() == Destination("student.compute")
        assert bare().destination("x") == Destination("x")
        with pytest.raises(ConfigError, match="--host must be a host"):
            bare(host="")

    @pytest.mark.parametrize(
        "text", ["ashbury", "me@ashbury", "ashbury:22", "{user}@ashbury:22", "[::1]:2222", "::1", "a@b@c"]
    )
    def test_option(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """-H is returned as written, although a Connection keeps only parts of it."""
        text = text.format(user=FabricConfig().user)
        for argv in (["-H", text], ["-H", f"other,{text}"], [f"-H{text}"], [f"--hosts={text}"]):
            monkeypatch.setattr(sys, "argv", ["fab", *argv, "up"])
            assert load(Connection(text, config=FabricConfig())).explicit_host == text

    def test_option_without_a_command_line(self) -> None:
        """Without a command line, the values of a Connection are found by comparison with its defaults."""
        for text in ("ashbury", "me@ashbury:2222", "ashbury:2222"):
            assert load(Connection(text, config=FabricConfig())).explicit_host == text

    def test_both(self) -> None:
        """--host and -H may both be given if they agree."""
        c = Connection("ashbury", config=FabricConfig())
        assert load(c, host="ashbury").explicit_host == "ashbury"
        with pytest.raises(ConfigError, match="-H ashbury and --host other differ"):
            load(c, host="other")

    def test_option_is_checked(self) -> None:
        """A -H that a Connection would accept is refused if it is no valid destination."""
        with pytest.raises(ConfigError, match="-H must be a host"):
            load(Connection("a b;c", config=FabricConfig()))

    @pytest.mark.parametrize("gateway", ["ssh -W %h:%p gate", "gate", "me@gate:22", "me@[::1]:22", "sandbox"])
    def test_gateways(self, home: Path, gateway: str) -> None:
        """A gateway is a destination, the sandbox or a command, and is returned as written."""
        (home / ".invoke.json").write_text(json.dumps({"gateway": gateway}), encoding="utf-8")
        assert bare().gateway == gateway


class TestDestinations:
    @pytest.mark.parametrize(
        ("text", "destination"),
        [
            ("student.compute", Destination("student.compute")),
            ("student.compute.", Destination("student.compute.")),
            ("me@host", Destination("host", "me")),
            ("me@realm@host:1", Destination("host", "me@realm", 1)),
            ("host:65535", Destination("host", None, 65535)),
            ("10.0.0.1:22", Destination("10.0.0.1", None, 22)),
            ("2001:db8::1", Destination("2001:db8::1")),
            ("[2001:db8::1]", Destination("2001:db8::1")),
            ("andré@[::1]:22", Destination("::1", "andré", 22)),
            ("a_b-c", Destination("a_b-c")),
        ],
    )
    def test_valid(self, text: str, destination: Destination) -> None:
        """Names, addresses, users and ports are parsed, and formatted again."""
        assert parse_destination(text, "it") == destination
        assert parse_destination(str(destination), "it") == destination

    @pytest.mark.parametrize(
        "text",
        [
            "", " ", "-oProxyCommand=id", "host ", "a b", "a\tb", "a\nb", "host\n", "h'x", 'h"x', "a/b",
            "$(id)", "`id`", "a;b", "a|b", "%h", "*", "a..b", ".a", "a-", "-a", "host:", "host:ssh", "host:0",
            "host:65536",
            "host:22\n", "host:+22", "host:2 2", "host:\u0662\u0662", "@host", "me@", "-l@host", "a b@host",
            "a$b@host", "a\n@host", "a\\@host", "[::1", "::1]", "[::1]x", "[host]:22", "[]:22", "1:2:3",
            "fe80::1%eth0", "a" * 64, ".".join(["a" * 50] * 6), "h\u00f6st", "h\u2024st", "a\0b", "http://h",
            "host:22:22", "host\ud800",
        ],
    )  # fmt: skip
    def test_invalid(self, text: str) -> None:
        """A destination that a shell, OpenSSH or a reader could misinterpret is refused by name."""
        with pytest.raises(ConfigError) as caught:
            parse_destination(text, "--host")
        assert str(caught.value).startswith("--host ")
        assert caught.value.hint

    def test_punycode(self) -> None:
        """An internationalized name is refused with its punycode form."""
        with pytest.raises(ConfigError) as caught:
            parse_destination("m\u00fcnchen.example", "--host")
        assert "xn--" in caught.value.hint
        assert parse_destination("xn--mnchen-3ya.example", "--host").host == "xn--mnchen-3ya.example"

    @given(st.text(st.sampled_from("ab1.-_:[]@ $'\"\\/;\n\t\0%é٢"), max_size=12) | st.text(max_size=12))
    @example("a@-b")
    @hypothesis_settings(max_examples=200)
    def test_random_text(self, text: str) -> None:
        """Whatever is accepted has a harmless host, user and port, and formats to the same text."""
        try:
            destination = parse_destination(text, "it")
        except ConfigError:
            return
        allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")
        assert destination.host and set(destination.host) <= allowed and destination.host[0] not in "-."
        if destination.user is not None:
            assert parse_user(destination.user, "it") == destination.user and destination.user.isprintable()
            assert not destination.user.startswith("-") and not set(destination.user) & set(" '\"`$;&|<>()\\")
        assert destination.port is None or 1 <= destination.port <= 65535
        assert parse_destination(str(destination), "it") == destination
