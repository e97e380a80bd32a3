"""Messages name a task as it is called in the collection of the program that runs."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.config import Config
from invoke.executor import Executor
from invoke.tasks import Task

from notebooks_over_ssh import namespace
from notebooks_over_ssh.tasks.collection_path import collection_path
from notebooks_over_ssh.util import command_hint


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Collection], str]:
    """Runs the task `own` in a collection; returns how a message in it names `stop`."""
    monkeypatch.setattr(sys, "argv", ["invoke", "own"])
    monkeypatch.setattr(command_hint, "_collection_path", "")

    def run(collection: Collection) -> str:
        commands: list[str] = []

        def own(c: Any) -> None:
            command_hint.set_collection(collection_path())
            commands.append(command_hint.command("stop"))

        collection.add_task(Task(own))
        Executor(collection, Config(lazy=True)).execute("own")
        return commands[0]

    return run


def nested(*names: str) -> Collection:
    """A collection with the tasks at the end of the names."""
    collection = Collection()
    if names:
        inner = nested(*names[1:]) if names[1:] else namespace
        collection.add_collection(inner, name=names[0])
    return collection


@pytest.mark.parametrize(
    ("names", "command"), [(["jupyter"], "jupyter.stop"), (["hosts", "my_jupyter"], "hosts.my-jupyter.stop")]
)
def test_below(run: Callable[[Collection], str], names: list[str], command: str) -> None:
    """The names of the collections that the tasks are in stand before the task's own."""
    assert run(nested(*names)) == f"`invoke {command}`"


def test_at_the_top(run: Callable[[Collection], str]) -> None:
    """Tasks at the top have no other name."""
    assert run(Collection(namespace["stop"], other=Collection(namespace["up"]))) == "`invoke stop`"


def test_not_there(run: Callable[[Collection], str]) -> None:
    """A program without the tasks, whose own task calls them, names the package's program."""
    assert run(nested()) == f"`{sys.executable} -m notebooks_over_ssh stop`"


def test_without_a_program() -> None:
    """A task that is called without a program has no collection."""
    assert collection_path() == ""
