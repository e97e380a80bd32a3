"""Hands the collection to `invoke`, so that both programs have the same tasks."""

from notebooks_over_ssh.collection import namespace

__all__ = ["namespace"]
