"""Converts an object from Stripe into the form of parameters, to compare it with the parameters of a row."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.payload.values import plain
from dbt_stripe_sync.model.change import Ref
from dbt_stripe_sync.model.objects import value_at
from dbt_stripe_sync.model.params import Param, ParamKind, word_unshown
from dbt_stripe_sync.model.sync import Nulls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.engine.payload.builder import Payload


def as_params(body: Mapping[str, Any], values: Mapping[str, Any], params: Mapping[str, Param] | None) -> dict[str, Any]:
    """The object's values for the parameters that the row has, in the form of parameters."""
    seen: dict[str, Any] = {}
    for name, value in values.items():
        current = _as_value(body.get(name), value, (params or {}).get(name))
        if current is not None:
            seen[name] = current
    return seen


def with_values_to_clear(seen: Mapping[str, Any], body: Mapping[str, Any], payload: Payload) -> dict[str, Any]:
    """The values of an object, with those that a null of the row has to clear although no record has them."""
    result = dict(seen)
    for path, nulls in payload.absent.items():
        value = value_at(body, path)
        value = value.get("id") if isinstance(value, dict) else value
        if nulls is not Nulls.CLEAR or not value or isinstance(value, bool):
            continue
        inner = result
        for name in path[:-1]:
            inner[name] = dict(inner.get(name) or {})
            inner = inner[name]
        inner[path[-1]] = value
    return result


def _as_value(current: Any, value: Any, param: Param | None) -> Any:
    if isinstance(current, dict) and isinstance(value, str | Ref):
        return current.get("id")
    if isinstance(current, dict) and isinstance(value, dict):
        return _as_hash(current, value, param)
    if isinstance(current, str) and isinstance(value, dict):
        return value  # Stripe created another object from it, and returns that object's id
    if isinstance(value, list):
        return _as_list(current, value, param)
    if param is not None and param.kind is ParamKind.NUMBER and isinstance(current, int | float | str):
        # Stripe returns some decimals as numbers, and accepts all of them as text.
        return plain(Decimal(str(current)))
    return current


def _as_hash(current: Mapping[str, Any], value: Mapping[str, Any], param: Param | None) -> dict[str, Any]:
    """A hash, with the parts that Stripe requires in it but doesn't return."""
    if param is not None and param.values is not None:
        return as_params(current, value, dict.fromkeys(value, param.values))
    fields = param.fields if param is not None and param.fields else {}
    words = {name: word_unshown(fields[name]) for name in value if name in fields and current.get(name) is None}
    return as_params({**current, **{name: word for name, word in words.items() if word is not None}}, value, fields)


def _as_list(current: Any, values: list[Any], param: Param | None) -> Any:
    """A list, or the page of it that the object includes, with each item in the form of parameters."""
    items = current.get("data") if isinstance(current, dict) else current
    if not isinstance(items, list) or len(items) != len(values):
        return items
    item_param = param.item if param else None
    return [_as_value(item, value, item_param) for item, value in zip(items, values, strict=True)]
