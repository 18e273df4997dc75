"""Extracts the values of a Stripe object that a sync can write, by the path of their parameter.

The catalog says which values can be set. Values that Stripe returns in another form than it accepts are converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.params import Param, ParamKind, word_unshown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Path = tuple[str, ...]
# docs.stripe.com/api/prices/create: either an amount or its decimal form may be given; objects have both.
DECIMAL = "_decimal"
# docs.stripe.com/api/prices/object: the options include the currency of the object itself.
_WITH_OWN_CURRENCY = "currency_options"


def read_values(body: Mapping[str, Any], params: Mapping[str, Param]) -> dict[Path, Any]:
    """The values of an object, one for each column: hashes by their parts, lists and maps of hashes as a whole."""
    return dict(_leaves(_settable_fields(body, params), params, ()))


def find_unsettable(body: Mapping[str, Any], params: Mapping[str, Param]) -> Iterator[str]:
    """The dotted paths of values that a sync can't write although they belong to a parameter."""
    for name, param in params.items():
        value = body.get(name)
        if value in (None, "", [], {}):
            continue
        if not param.creatable:
            yield name
        elif param.kind is ParamKind.HASH and param.fields and isinstance(value, dict):
            yield from (f"{name}.{part}" for part, held in value.items() if held and part not in param.fields)


def _leaves(values: Mapping[str, Any], params: Mapping[str, Param], prefix: Path) -> Iterator[tuple[Path, Any]]:
    for name, value in values.items():
        param, path = params[name], (*prefix, name)
        if param.kind is ParamKind.HASH and param.fields and isinstance(value, dict):
            yield from _leaves(value, param.fields, path)
        elif _is_plain_map(param) and isinstance(value, dict):
            yield from (((*path, key), text) for key, text in value.items())
        else:
            yield path, value


def _is_plain_map(param: Param) -> bool:
    return param.kind is ParamKind.MAP and param.values is not None and param.values.kind is not ParamKind.HASH


def _settable_fields(body: Mapping[str, Any], params: Mapping[str, Param]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, param in params.items():
        if param.creatable and not param.in_path and (value := _settable(_shown(body, name, param), param)) is not None:
            found[name] = value
    for name in [name for name in found if name.endswith(DECIMAL)]:
        if name.removesuffix(DECIMAL) in found:
            del found[name]
    if isinstance(options := found.get(_WITH_OWN_CURRENCY), dict):
        options.pop(str(body.get("currency")), None)
        if not options:
            del found[_WITH_OWN_CURRENCY]
    return found


def _shown(body: Mapping[str, Any], name: str, param: Param) -> Any:
    """An object's value, or the keyword that Stripe uses where it returns null, as for the last tier."""
    value = body.get(name)
    return word_unshown(param) if value is None else value


def _settable(value: Any, param: Param) -> Any:
    """A value in the form that a create call accepts, or None."""
    if value is None or value == "":
        return None
    if param.kind is ParamKind.HASH and param.fields:
        return _settable_fields(value, param.fields) or None if isinstance(value, dict) else None
    if param.kind is ParamKind.LIST and param.item is not None:
        items = value.get("data") if isinstance(value, dict) else value
        return [taken for item in items or () if (taken := _settable(item, param.item)) is not None] or None
    if param.kind is ParamKind.MAP and isinstance(value, dict):
        taken = {key: part if param.values is None else _settable(part, param.values) for key, part in value.items()}
        return {key: part for key, part in taken.items() if part is not None} or None
    if isinstance(value, dict) and "id" in value:
        return value["id"]  # an object that was expanded
    return value
