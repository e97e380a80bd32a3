"""Where these tasks are in the collection of the program that runs them."""

import inspect

from invoke.collection import Collection
from invoke.executor import Executor


def collection_path() -> str | None:
    """What the program puts before the names of these tasks: `jupyter.` in a project that added them as `jupyter`.

    Empty where they are at the top; None where the program does not have them, but one of its own tasks calls them.
    """
    # Invoke tells a task neither the name by which it was called nor the collection that it is in.
    frame = inspect.currentframe()
    while frame is not None:
        executor = frame.f_locals.get("self")
        if isinstance(executor, Executor):
            return _find(executor.collection, "")
        frame = frame.f_back
    return ""


def _find(collection: Collection, path: str) -> str | None:
    if any(task.body.__module__ == "notebooks_over_ssh.collection" for task in collection.tasks.values()):
        return path
    below = (_find(inner, f"{path}{name}.") for name, inner in collection.collections.items())
    return next((inner_path for inner_path in below if inner_path is not None), None)
