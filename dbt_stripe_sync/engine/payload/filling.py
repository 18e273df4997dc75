"""Adds the unmapped parts of a hash as the object has them, so that an update can't lose them.

Stripe doesn't document what happens to the parts of a hash that an update leaves out. Of a customer's `shipping` they
are lost (stripe/stripe-go#179: an address that was sent without its country lost it; stripe/stripe-python#255 and
stripe/stripe-ruby#755: all that it requires has to be sent each time). A hash that is sent completely stays unchanged
in any case. Maps are merged key by key (docs.stripe.com/api/metadata).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.payload.values import plain
from dbt_stripe_sync.model.params import Param, ParamKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.lifecycle import Entries, Lifecycle

_UNKNOWN: Any = object()
_IN_DECIMALS = "_decimal"
_KIND = "type"


def partly_sent(params: Mapping[str, Any], known: Mapping[str, Param], lifecycle: Lifecycle) -> tuple[str, ...]:
    """The parameters of an update that are hashes and lack a part that their object may have."""
    if lifecycle.merges_hashes:
        return ()
    return tuple(name for name, value in params.items() if name in known and _lacks_parts(value, known[name]))


def fill(
    params: Mapping[str, Any], names: frozenset[str], body: Mapping[str, Any], known: Mapping[str, Param]
) -> dict[str, Any]:
    """The same parameters, with `names` completed by the parts that only the object has."""
    return {
        name: _filled(value, body.get(name), known[name]) if name in names else value for name, value in params.items()
    }


def fill_entries(
    entries: Sequence[Any], shown: Sequence[Any], before: Sequence[Any], param: Param, rule: Entries
) -> list[Any]:
    """The entries of a list that is sent completely, each with the parts that its object has and no row has set.

    Parts that a row had set `before` and no longer sets are left out on purpose.
    """
    if param.item is None:
        return list(entries)
    earlier = dict(enumerate(before)) if len(before) == len(shown) else {}
    if len(entries) == len(shown):
        places: Sequence[int | None] = range(len(entries))
    else:
        starts = {entry.get(rule.starts): place for place, entry in enumerate(shown)}
        places = [starts.get(entry.get(rule.starts)) for entry in entries]
    return [
        entry if place is None else _with_object_parts(entry, shown[place], earlier.get(place, {}), param.item, rule)
        for entry, place in zip(entries, places, strict=True)
    ]


def _with_object_parts(value: Any, shown: Any, before: Any, param: Param, rule: Entries) -> Any:
    """A hash, plus the parts that the object has and that no row had set."""
    if not isinstance(value, dict) or not isinstance(shown, dict):
        return value
    before = before if isinstance(before, dict) else {}
    filled = dict(value)
    for name, part in (param.fields or {}).items():
        if name in rule.inner and isinstance(value.get(name), list) and part.item is not None:
            known = _by(rule.inner[name], shown.get(name)), _by(rule.inner[name], before.get(name))
            filled[name] = [_inner(entry, known, rule.inner[name], part.item, rule) for entry in value[name]]
        elif name in value:
            if part.kind in (ParamKind.HASH, ParamKind.MAP):
                filled[name] = _with_object_parts(value[name], shown.get(name), before.get(name), part, rule)
        elif name not in before and name not in rule.own and not _has_other_form(name, value):
            given = _as_param(shown.get(name), part)
            if given is not _UNKNOWN:
                filled[name] = given
    if param.kind is ParamKind.MAP:
        theirs = {name: part for name, part in shown.items() if isinstance(part, str) and name not in before}
        return {**theirs, **filled}
    return filled


def _inner(entry: Any, known: tuple[Mapping[str, Any], Mapping[str, Any]], by: str, param: Param, rule: Entries) -> Any:
    name = entry.get(by) if isinstance(entry, dict) else None
    shown, before = known
    if not isinstance(name, str) or name not in shown:
        return entry
    return _with_object_parts(entry, shown[name], before.get(name), param, rule)


def _by(name: str, entries: Any) -> Mapping[str, Any]:
    """The entries of a list by one of their parts; if that part is an object, by its id."""
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        value = entry.get(name) if isinstance(entry, dict) else None
        found[value.get("id") if isinstance(value, dict) else value] = entry
    return {key: entry for key, entry in found.items() if isinstance(key, str)}


def _lacks_parts(value: Any, param: Param) -> bool:
    if param.kind is not ParamKind.HASH or not isinstance(value, dict):
        return False  # `''` clears it on purpose
    fields = _fillable(value, param)
    return any(
        name not in value or part.kind is ParamKind.MAP or _lacks_parts(value[name], part) for name, part in fields
    )


def _fillable(value: Mapping[str, Any], param: Param) -> list[tuple[str, Param]]:
    """The parts that an update accepts and that don't repeat the value in another form."""
    return [
        (name, part)
        for name, part in (param.fields or {}).items()
        if not part.immutable and not _is_merged(part) and (name in value or not _has_other_form(name, value))
    ]


def _is_merged(param: Param) -> bool:
    """Whether it is a map such as `currency_options`, whose entries each describe one amount."""
    return param.values is not None and param.values.kind is ParamKind.HASH


def _has_other_form(name: str, value: Mapping[str, Any]) -> bool:
    other = name.removesuffix(_IN_DECIMALS) if name.endswith(_IN_DECIMALS) else f"{name}{_IN_DECIMALS}"
    return other in value


def _filled(value: Any, shown: Any, param: Param) -> Any:
    if not isinstance(value, dict) or not isinstance(shown, dict):
        return value
    if param.kind is ParamKind.MAP:
        return {**{name: part for name, part in shown.items() if isinstance(part, str)}, **value}
    if _KIND in value and value[_KIND] != shown.get(_KIND):
        return value  # its type changes, so its old parts no longer apply
    filled = dict(value)
    for name, part in _fillable(value, param):
        theirs = shown.get(name)
        given = _filled(value[name], theirs, part) if name in value else _as_param(theirs, part)
        if given is not _UNKNOWN:
            filled[name] = given
    return filled


def _as_param(shown: Any, param: Param) -> Any:
    """An object's value in the form of the parameter, or `_UNKNOWN` if it can't be converted."""
    if shown is None or shown in ("", [], {}):
        return _UNKNOWN
    if param.kind in (ParamKind.HASH, ParamKind.MAP):
        return _hash_as_param(shown, param) if isinstance(shown, dict) else _UNKNOWN
    if param.kind is ParamKind.LIST:
        return _list_as_param(shown, param)
    if isinstance(shown, dict):
        shown = shown.get("id")  # an object that another field of the request has expanded
    if isinstance(shown, dict | list) or shown is None:
        return _UNKNOWN
    is_number = param.kind is ParamKind.NUMBER or isinstance(shown, float)
    return plain(Decimal(str(shown))) if is_number and not isinstance(shown, bool) else shown


def _hash_as_param(shown: Mapping[str, Any], param: Param) -> Any:
    if param.kind is ParamKind.MAP:
        return dict(shown) if all(isinstance(part, str) for part in shown.values()) else _UNKNOWN
    parts = {name: _as_param(shown.get(name), part) for name, part in (param.fields or {}).items() if part.updatable}
    return {name: part for name, part in parts.items() if part is not _UNKNOWN} or _UNKNOWN


def _list_as_param(shown: Any, param: Param) -> Any:
    entries = shown.get("data") if isinstance(shown, dict) else shown
    if not isinstance(entries, list) or param.item is None:
        return _UNKNOWN
    parts = [_as_param(entry, param.item) for entry in entries]
    return _UNKNOWN if _UNKNOWN in parts else parts
