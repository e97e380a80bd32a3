"""Which Python of the host runs a program."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Environment:
    """The environment that bootstrap.sh enters; with neither a name nor a command, any Python of the host will do.

    The fields are single lines.
    """

    name: str = ""
    """A Conda environment, a path, or `uv` or `poetry` for the environment of a project."""
    directory: str = ""
    """The folder of the project, or one below it."""
    activate: str = ""
    """A shell command that prepares the environment instead."""

    def header(self, marker: str) -> bytes:
        """The lines that bootstrap.sh reads; `marker` begins every reply."""
        return f"{marker}\n{self.name}\n{self.directory}\n{self.activate}\n".encode()
