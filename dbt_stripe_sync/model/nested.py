"""Finds or changes the leaves of nested JSON values: whatever is neither a hash nor a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


# `isinstance` with a tuple is faster than with a union, and a run walks every changed row several times.
_NESTED = (dict, list, tuple)


def leaves(value: Any) -> Sequence[Any]:
    """Every leaf in order. The names in hashes aren't leaves."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, _NESTED):
        return (value,)
    found: list[Any] = []
    for part in value:
        if isinstance(part, _NESTED):
            found += leaves(part)
        else:
            found.append(part)
    return found


def has_leaf(value: Any, kind: type) -> bool:
    """Whether one of its leaves is of a class."""
    return any(isinstance(leaf, kind) for leaf in leaves(value))


def map_leaves(value: Any, change: Callable[[Any], Any], rename: Callable[[Any], Any] | None = None) -> Any:
    """Return the same structure with each leaf changed, and with the names in hashes renamed. Tuples become lists."""
    if isinstance(value, dict):
        if rename is None:
            return {name: map_leaves(part, change) for name, part in value.items()}
        return {rename(name): map_leaves(part, change, rename) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [map_leaves(part, change, rename) for part in value]
    return change(value)
