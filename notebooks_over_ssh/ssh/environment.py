"""Which Python of the host runs a program."""

from dataclasses import dataclass
from typing import ClassVar

from notebooks_over_ssh.config.settings import Notebook


@dataclass(frozen=True)
class AnyPython:
    """Any Python of the host will do."""

    scripts: ClassVar = ("any_python.sh", "run_program.sh")
    """What runs a program with it."""

    def header(self, marker: str) -> bytes:
        """The line that any_python.sh reads; `marker` begins every reply."""
        return f"{marker}\n".encode()


@dataclass(frozen=True)
class Environment:
    """The environment that enter_environment.sh enters; with neither a name nor a command, any Python will do.

    The fields are single lines.
    """

    scripts: ClassVar = ("environments.sh", "enter_environment.sh", "run_program.sh")
    """What enters it, and runs a program there."""

    name: str = ""
    """A Conda environment, a path, `uv` or `poetry` for a project's, or `modules` for the Python of the modules."""
    directory: str = ""
    """The folder of the project, or one below it."""
    modules: tuple[str, ...] = ()
    """The modules of Lmod or Environment Modules to load first."""
    activate: str = ""
    """A shell command that prepares the environment instead."""

    def header(self, marker: str) -> bytes:
        """The lines that enter_environment.sh reads; `marker` begins every reply."""
        lines = (marker, self.name, self.directory, " ".join(self.modules), self.activate)
        return "".join(f"{line}\n" for line in lines).encode()


def configured_environment(notebook: Notebook) -> Environment:
    """The environment of the settings."""
    return Environment(
        name=notebook.environment,
        directory=notebook.directory,
        modules=tuple(notebook.modules),
        activate=notebook.activate,
    )
