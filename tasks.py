"""Hands the collection of fabfile/ to `invoke`, so that both programs have the same tasks."""

from fabfile import namespace

__all__ = ["namespace"]
