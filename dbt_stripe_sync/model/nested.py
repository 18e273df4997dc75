"""Finds or changes the leaves of nested JSON values: whatever is neither a hash nor a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def leaves(value: Any) -> Iterator[Any]:
    """Yield every leaf in order. The names in hashes aren't leaves."""
    if isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def map_leaves(value: Any, change: Callable[[Any], Any], rename: Callable[[Any], Any] | None = None) -> Any:
    """Return the same structure with each leaf changed, and with the names in hashes renamed. Tuples become lists."""
    if isinstance(value, dict):
        if rename is None:
            return {name: map_leaves(part, change) for name, part in value.items()}
        return {rename(name): map_leaves(part, change, rename) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [map_leaves(part, change, rename) for part in value]
    return change(value)
