"""Run a Jupyter server on a shared compute host behind an SSH gateway, and use it from your own browser."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notebooks_over_ssh.collection import namespace

__all__ = ["__version__", "namespace"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The collection imports Fabric, which what runs in the background has no use for.
    if name == "namespace":
        from notebooks_over_ssh.collection import namespace

        return namespace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
