"""Provides parameters that accept any mapping, for resources and parameters that don't exist.

A misspelled resource or parameter must not hide other problems below it: shapes, templates, references and columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.config.paths import SHAPES
from dbt_stripe_sync.config.suggest import closest
from dbt_stripe_sync.model.params import Param, ParamKind
from dbt_stripe_sync.model.sync import Conversion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def params_for(raw: Any) -> dict[str, Param]:
    """A parameter for each name in a `fields:` block, with the kind that its mapping needs."""
    if not isinstance(raw, dict):
        return {}
    found: dict[str, Param] = {}
    for name, value in raw.items():
        first, *rest = str(name).split(".")
        found[first] = _merged(found.get(first), _below(first, rest, value))
    return found


def param_for(name: str, value: Any) -> Param:
    """A parameter that takes a value."""
    if isinstance(value, list):
        return Param(name=name, kind=ParamKind.LIST, item=item_for(value))
    if isinstance(value, dict) and "model" in value:
        item = Param(name=name, kind=ParamKind.HASH, fields=params_for(value.get("fields")))
        return Param(name=name, kind=ParamKind.LIST, item=item)
    if isinstance(value, dict) and value.get("as") == Conversion.MINOR_UNITS.value:
        return Param(name=name, kind=ParamKind.NUMBER)
    if isinstance(value, dict) and not _has_kind(value):
        return Param(name=name, kind=ParamKind.HASH, fields=params_for(value))
    return _any(name)


def item_for(value: Sequence[Any]) -> Param:
    """A parameter for the entries of a list."""
    entries = [entry for entry in value if isinstance(entry, dict) and not _has_kind(entry)]
    fields = {part: param for entry in entries for part, param in params_for(entry).items()}
    return Param(name="item", kind=ParamKind.HASH, fields=fields) if entries else _any("item")


def _has_kind(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is of a known kind, even if the kind's name is misspelled."""
    return any(closest(str(name), SHAPES) for name in value)


def _below(name: str, steps: list[str], value: Any) -> Param:
    """The parameter at the top of a dotted path."""
    if not steps:
        return param_for(name, value)
    first, *rest = steps
    return Param(name=name, kind=ParamKind.HASH, fields={first: _below(first, rest, value)})


def _merged(one: Param | None, other: Param) -> Param:
    if one is None or one.fields is None or other.fields is None:
        return other
    fields = dict(one.fields)
    for name, param in other.fields.items():
        fields[name] = _merged(fields.get(name), param)
    return Param(name=one.name, kind=ParamKind.HASH, fields=fields)


def _any(name: str) -> Param:
    return Param(name=name, kind=ParamKind.ANY)
