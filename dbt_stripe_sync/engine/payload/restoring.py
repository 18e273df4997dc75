"""Restores parameters to their values before a change, from the fields that the change recorded."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.change import NotStored
from dbt_stripe_sync.model.nested import has_leaf
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sql import ID_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.change import FieldChange
    from dbt_stripe_sync.model.params import Param

Path = tuple[str, ...]


def before_change(
    params: Mapping[str, Any], changed: Iterable[FieldChange], known: Mapping[str, Param]
) -> dict[str, Any]:
    """The parameters with the old value of every changed field."""
    restored: dict[str, Any] = deepcopy(dict(params))
    for part in changed:
        _put(restored, path_of_field(part.path, known), part.before)
    return restored


def path_of_field(dotted: str, known: Mapping[str, Param]) -> Path:
    """Split a dotted path into its parts. Everything after a map's name is one key, even if it contains dots."""
    steps: list[str] = []
    rest = dotted
    while rest:
        name, _, rest = rest.partition(".")
        steps.append(name)
        param = known.get(name)
        if param is None or not rest:
            continue
        if param.kind is ParamKind.MAP:
            return (*steps, rest)
        known = param.fields or {}
    return tuple(steps)


def has_unstored(changed: Iterable[FieldChange]) -> bool:
    """Whether the state knows that there was a value but doesn't store the value itself."""
    return any(has_leaf(part.before, NotStored) for part in changed)


def refs_before(refs: str | None, changed: Iterable[FieldChange]) -> str | None:
    """The ids that a row referred to before the change."""
    if refs is None:
        return None
    former = {after: before for part in changed for after, before in _replaced(part.before, part.after)}
    return ID_SEPARATOR.join(former.get(ref, ref) for ref in refs.split(ID_SEPARATOR))


def _put(params: dict[str, Any], path: Sequence[str], value: Any) -> None:
    name, rest = path[0], path[1:]
    if rest:
        inner = params.get(name)
        inner = params[name] = inner if isinstance(inner, dict) else {}
        _put(inner, rest, value)
        if not inner:
            del params[name]
    elif value is None:
        params.pop(name, None)
    else:
        params[name] = value


def _replaced(before: Any, after: Any) -> Iterator[tuple[str, str]]:
    if isinstance(before, str) and isinstance(after, str):
        yield after, before
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() & after.keys():
            yield from _replaced(before[name], after[name])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from _replaced(one, other)
