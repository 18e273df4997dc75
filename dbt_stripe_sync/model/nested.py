"""Nested JSON values, hashes and lists in each other: what is at their ends, found or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def leaves(value: Any) -> Iterator[Any]:
    """Every value in it that is neither a hash nor a list, in its order; the names of hashes are none."""
    if isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def map_leaves(value: Any, change: Callable[[Any], Any], rename: Callable[[Any], Any] | None = None) -> Any:
    """The same shape with each leaf changed, and each name of a hash by `rename`. Tuples become lists."""
    if isinstance(value, dict):
        if rename is None:
            return {name: map_leaves(part, change) for name, part in value.items()}
        return {rename(name): map_leaves(part, change, rename) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [map_leaves(part, change, rename) for part in value]
    return change(value)
