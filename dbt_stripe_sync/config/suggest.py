"""Formats hints: the name that was probably meant, and lists of names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_LISTED = 12
# One letter of four that is different, or one of eight that is missing (difflib's ratio).
ALMOST = 0.75


def listed(names: Iterable[str], most: int = MOST_LISTED) -> str:
    """Names in backticks, shortened if there are many."""
    known = list(names)
    text = ", ".join(f"`{name}`" for name in known[:most])
    return f"{text} … ({len(known) - most:,} more)" if len(known) > most else text


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name that was almost certainly meant: it differs by a swapped, missing or extra letter."""
    close = get_close_matches(name, list(names), n=1, cutoff=ALMOST)
    return close[0] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The beginning of a hint, "did you mean `name`? ", if one of the names is close; otherwise an empty text."""
    known = list(names)
    close = get_close_matches(name, known, n=1)
    if not close:
        close = [other for other in known if other.lower() == name.lower()]
    return f"did you mean `{close[0]}`? " if close else ""
