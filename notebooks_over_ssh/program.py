"""The program `notebooks`: Invoke's command line with this collection, and the options of `fab` that name a host."""

import os
from typing import Any

from invoke.config import Config
from invoke.parser.argument import Argument
from invoke.program import Program

from notebooks_over_ssh import __version__
from notebooks_over_ssh.collection import namespace
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.tasks.command_line import complete_hosts, suggestions
from notebooks_over_ssh.util.bytecode import cache_bytecode

# What Invoke's other options change, the tasks do not use.
INVOKE_OPTIONS = {
    *("complete", "config", "debug", "dry", "help", "list", "list-depth", "list-format"),
    *("print-completion-script", "version", "write-pyc"),
}


class Notebooks(Program):
    """Invoke's program with this collection in place of a tasks.py.

    It reads no settings itself: config/settings.py does, and never runs a file that is written in Python.
    """

    def core_args(self) -> list[Argument]:
        """The options before the task: Invoke's, and those that `fab` has besides."""
        return [
            *(argument for argument in super().core_args() if argument.name in INVOKE_OPTIONS),
            Argument(names=("hosts", "H"), help="The host, as user@host:port."),
            Argument(names=("identity", "i"), kind=list, help="A private key file. Repeatable."),
            Argument(
                names=("prompt-for-login-password",),
                kind=bool,
                help="Prompt for the host's password at the start.",
            ),
            Argument(
                names=("prompt-for-passphrase",),
                kind=bool,
                help="Prompt for the passphrase of the key files at the start.",
            ),
            Argument(names=("ssh-config", "S"), help="The OpenSSH client configuration to use."),
            Argument(names=("connect-timeout", "t"), kind=int, help="How long a hop may take, in seconds."),
        ]

    def create_config(self) -> None:
        """Make the configuration for the parser."""
        self.config = Config(lazy=True)

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options before the task."""
        super().parse_core(argv)
        cache_bytecode()

    def parse_tasks(self) -> None:
        """Parse the tasks and their flags. Raises ConfigError with the nearest name for an unknown one."""
        with suggestions(self):
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        """List the tasks, print help or complete a word. Raises ConfigError for a command after `--`."""
        complete_hosts(self)
        with suggestions(self):
            super().parse_cleanup()
        from notebooks_over_ssh.config.cli import refuse_remainder  # slow, and not needed by `--list`

        refuse_remainder(self.argv)

    def update_config(self, merge: bool = True) -> None:
        """Make the configuration for the tasks, as `fab` makes it of the same options."""
        import fabric

        from notebooks_over_ssh.config.sources import find_project

        class Config(fabric.Config):  # type: ignore[misc, unused-ignore]  # Fabric has no types
            file_prefix = "invoke"

        connect_kwargs = {
            "key_filename": self.args["identity"].value,
            "timeout": self.args["connect-timeout"].value,
            "password": self._prompt("login-password", "password of the host"),
            "passphrase": self._prompt("passphrase", "passphrase of the key files"),
        }
        overrides: dict[str, dict[str, Any]] = {
            "connect_kwargs": {name: value for name, value in connect_kwargs.items() if value}
        }
        if self.args["dry"].value:
            overrides["run"] = {"dry": True}
        config = Config(
            # The tasks read ~/.ssh/config themselves, through `ssh -G`.
            defaults=Config.global_defaults() | {"load_ssh_configs": False},
            overrides=overrides,
            runtime_path=self.args["config"].value or os.environ.get("INVOKE_RUNTIME_CONFIG"),
            runtime_ssh_path=self.args["ssh-config"].value,
            project_location=find_project(),
            lazy=True,
        )
        config.load_ssh_config()
        self.config = config

    def _prompt(self, option: str, name: str) -> str | None:
        if not self.args[f"prompt-for-{option}"].value:
            return None
        from notebooks_over_ssh.terminal import TerminalPrompter, is_interactive

        answer = TerminalPrompter(is_interactive()).ask_secret(f"{name}:")
        if answer is None:
            raise ConfigError(
                f"there is no terminal for --prompt-for-{option}",
                hint="run it in a terminal, or set up a key",
            )
        return answer

    def execute(self) -> None:
        """Run the tasks, with a Connection to each -H as their context."""
        from fabric import Executor

        self.executor_class = Executor
        super().execute()


program = Notebooks(
    name="notebooks",
    binary="notebooks",
    binary_names=["notebooks"],
    version=__version__,
    namespace=namespace,
)
