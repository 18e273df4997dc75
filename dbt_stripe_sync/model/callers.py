"""Checks what Python code passes to `Project`; the command line has checks of its own."""

from __future__ import annotations


def check_limit(limit: int | None) -> None:
    """Check how many things a caller asks for. Raises `ValueError` if that is negative."""
    if limit is not None and limit < 0:
        raise ValueError(f"`limit` is {limit}, and can't be negative")
