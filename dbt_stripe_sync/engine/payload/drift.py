"""Detects what others changed in Stripe: compares an object with what was last written to it.

Only the parameters in the record are compared, and only if the object returns them in a comparable form. Fields,
metadata and items that others set aren't drift. Neither is a keyword that Stripe converts (`trial_end: now`).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from dbt_stripe_sync.engine.payload.compare import same
from dbt_stripe_sync.engine.payload.revealing import choice_of
from dbt_stripe_sync.engine.payload.values import plain
from dbt_stripe_sync.model.calls import is_object_id
from dbt_stripe_sync.model.change import Fingerprint
from dbt_stripe_sync.model.nested import map_leaves
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.record import MARK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.lifecycle import ItemList
    from dbt_stripe_sync.model.params import Param, Resource

Path = tuple[str, ...]
_HIDDEN: Any = object()
_GONE: Any = object()
# Stripe returns currencies in lower case, however they were sent (docs.stripe.com/api/prices/object).
_ANY_CASE = frozenset({"currency"})


class DriftedField(Struct, frozen=True, kw_only=True):
    """One parameter that differs from what was last written. `theirs` is None if the object no longer has a value."""

    path: Path
    ours: Any
    theirs: Any


class Drift(Struct, frozen=True, kw_only=True):
    """The parameters that differ, and `seen`: the record's parameters with the object's current values."""

    fields: tuple[DriftedField, ...]
    seen: Mapping[str, Any]


def find_drift(params: Mapping[str, Any], body: Mapping[str, Any], resource: Resource) -> Drift:
    """Compare a record's parameters with its object."""
    lifecycle = resource.lifecycle
    left_alone = {*lifecycle.request_only, *lifecycle.moved_by_stripe}
    walk = _Walk()
    seen: dict[str, Any] = {}
    for name, ours in params.items():
        param = resource.params.get(name)
        if name.startswith(MARK) or param is None or param.in_path or name in left_alone:
            seen[name] = ours
            continue
        theirs = _without_floats(body[name]) if name in body else _HIDDEN
        rule = lifecycle.item_lists.get(name)
        value = walk.items((name,), ours, theirs, param, rule) if rule else walk.value((name,), ours, theirs, param)
        if value is not _GONE:
            seen[name] = value
    return Drift(fields=tuple(walk.fields), seen=seen)


def shows(ours: Any, theirs: Any, param: Param | None = None) -> bool:
    """Whether an object, or a part of one, has the values that were sent for it."""
    walk = _Walk()
    walk.value((), ours, theirs, param)
    return not walk.fields


def is_item(ours: Mapping[str, Any], name: str, item: Mapping[str, Any], rule: ItemList) -> bool:
    """Whether an item of a row, or of a record, is an object's, by the parameter `name` that identifies it."""
    shown = item.get(name if name == "id" else rule.identity_field)
    if name == rule.described_by:
        return isinstance(shown, dict) and shows(ours[name], shown)
    return same(ours[name], _id_of(shown))


class _Walk(Struct):
    """Walks through the record's parameters and the object's, and yields the object's value for each, or `_GONE`."""

    fields: list[DriftedField] = field(default_factory=list)

    def value(self, path: Path, ours: Any, theirs: Any, param: Param | None) -> Any:
        if theirs is _HIDDEN or ours is None:
            return ours
        if isinstance(ours, dict):
            return self._hash(path, ours, theirs, param)
        if isinstance(ours, list):
            return self._list(path, ours, theirs, param)
        theirs = theirs.get("id") if isinstance(theirs, dict) else theirs
        return self._leaf(path, ours, theirs, param)

    def items(self, path: Path, ours: Any, theirs: Any, param: Param, rule: ItemList) -> Any:
        """A list whose items have ids. Items that the sync never set are ignored."""
        shown = _page(theirs)
        if not isinstance(ours, list) or not isinstance(shown, list):
            return ours
        is_page = isinstance(theirs, dict) and theirs.get("has_more") is True
        inner, left = _Walk(), list(shown)
        seen = [inner._item(item, left, param.item, rule, is_page=is_page) for item in ours]
        return self._whole_list(path, ours, [item for item in seen if item is not _GONE], is_same=not inner.fields)

    def _item(self, ours: Any, left: list[Any], param: Param | None, rule: ItemList, *, is_page: bool) -> Any:
        """An item and its version in Stripe, which is taken from those that are left."""
        names = ("id", *rule.identified_by)
        name = next((name for name in names if name in ours), None) if isinstance(ours, dict) else None
        if name is None:
            return ours
        rest = {part: value for part, value in ours.items() if part != name}
        found = [item for item in left if isinstance(item, dict) and is_item(ours, name, item, rule)]
        if found:
            # Several items can have the same description.
            item = next((item for item in found if shows(rest, item, param)), found[0])
            left.remove(item)
            return {name: ours[name], **self._hash((), rest, item, param)}
        if is_page:
            return ours
        self.fields.append(DriftedField(path=(), ours=ours, theirs=None))
        return _GONE

    def _hash(self, path: Path, ours: dict[str, Any], theirs: Any, param: Param | None) -> Any:
        if theirs is None and ours:
            return self._gone(path, ours)
        if not isinstance(theirs, dict):
            return ours
        is_map = param is not None and param.kind is ParamKind.MAP
        fields = (param.fields if param is not None else None) or {}
        seen = {}
        for name, value in ours.items():
            part = (param.values if param is not None and is_map else None) or fields.get(name)
            # Stripe returns every key of a map, but not always every part of a hash.
            found = self.value((*path, name), value, theirs.get(name, None if is_map else _HIDDEN), part)
            if found is not _GONE:
                seen[name] = found
        return seen

    def _list(self, path: Path, ours: list[Any], theirs: Any, param: Param | None) -> Any:
        shown = [] if theirs is None else _page(theirs)
        if not isinstance(shown, list) or not ours:
            return ours
        if not any(isinstance(item, dict) for item in ours):
            shown = [_id_of(item) for item in shown]
            if _is_another_kind(ours, shown):
                return ours
            if all(isinstance(item, str) and is_object_id(item) for item in (*ours, *shown)):
                return ours if sorted(ours) == sorted(shown) else self._whole_list(path, ours, shown, is_same=False)
            return self._whole_list(path, ours, shown, is_same=same(ours, shown))
        if not all(isinstance(item, dict) for item in (*ours, *shown)):
            return ours
        if len(ours) != len(shown):
            names = {name for item in ours for name in item}
            return self._whole_list(path, ours, [_only(item, names) for item in shown], is_same=False)
        inner = _Walk()
        item_param = param.item if param is not None else None
        seen = [inner.value((), item, theirs, item_param) for item, theirs in zip(ours, shown, strict=True)]
        return self._whole_list(path, ours, seen, is_same=not inner.fields)

    def _leaf(self, path: Path, ours: Any, theirs: Any, param: Param | None) -> Any:
        if param is not None:
            ours_or_word = choice_of(ours, param)
            if param.kind is ParamKind.INTEGER and isinstance(ours_or_word, str):
                return ours
            if param.kind is ParamKind.NUMBER:
                theirs = _number(theirs)
        if theirs is None or theirs == "":
            return self._gone(path, ours)
        if isinstance(theirs, dict | list):
            return ours
        if any(same(ours, form) for form in _forms(theirs, any_case=bool(path) and path[-1] in _ANY_CASE)):
            return ours
        if not isinstance(ours, Fingerprint) and _means(ours) in (_means(theirs), None):
            return ours
        if not isinstance(ours, Fingerprint) and isinstance(ours, bool) != isinstance(theirs, bool):
            return ours
        self.fields.append(DriftedField(path=path, ours=ours, theirs=theirs))
        return theirs

    def _gone(self, path: Path, ours: Any) -> Any:
        self.fields.append(DriftedField(path=path, ours=ours, theirs=None))
        return _GONE

    def _whole_list(self, path: Path, ours: list[Any], seen: list[Any], *, is_same: bool) -> Any:
        if is_same:
            return ours
        self.fields.append(DriftedField(path=path, ours=ours, theirs=seen or None))
        return seen or _GONE


def _page(theirs: Any) -> Any:
    return theirs.get("data") if isinstance(theirs, dict) else theirs


def _id_of(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value


def _is_another_kind(ours: list[Any], shown: list[Any]) -> bool:
    """Whether Stripe returns another type than it accepts, such as an object in place of a value."""
    made = [item for item in shown if isinstance(item, str) and is_object_id(item)]
    return bool(made) and not any(isinstance(item, str) and is_object_id(item) for item in ours)


def _only(item: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: _id_of(item[name]) for name in item if name in names and item[name] is not None}


def _number(theirs: Any) -> Any:
    """Stripe returns some decimals as numbers, and accepts all of them as text."""
    if isinstance(theirs, bool) or not isinstance(theirs, int | str):
        return theirs
    try:
        return plain(Decimal(theirs))
    except InvalidOperation:
        return theirs


def _without_floats(theirs: Any) -> Any:
    """The same value with decimals as text, which is how they are sent."""
    return map_leaves(theirs, lambda leaf: plain(Decimal(str(leaf))) if isinstance(leaf, float) else leaf)


def _forms(theirs: Any, *, any_case: bool) -> tuple[Any, ...]:
    if any_case and isinstance(theirs, str):
        return (theirs, theirs.lower(), theirs.upper())
    return (theirs,)


def _means(value: Any) -> str | None:
    """A value in a normal form, so that values that are sent and returned differently can be compared."""
    return value.strip() if isinstance(value, str) else None if value is None else str(value)


# ── three versions of one row ────────────────────────────────────────────────────────────────────────────────────


def merge(base: Any, ours: Any, theirs: Any) -> tuple[Any, bool]:
    """A three-way merge of the row's values and others' changes, and whether both changed the same value.

    `base` is what was last written, `ours` the row's current value, and `theirs` the object's value. If both changed,
    the row wins. None means that the parameter isn't set.
    """
    if same(base, theirs) or same(ours, theirs):
        return ours, False
    if isinstance(base, dict) and isinstance(theirs, dict) and isinstance(ours, dict):
        merged, clashes = {}, False
        for name in dict.fromkeys([*ours, *base]):
            part, clash = merge(base.get(name), ours.get(name), theirs.get(name))
            clashes |= clash
            if part is not None:
                merged[name] = part
        return merged, clashes
    if isinstance(base, list) and isinstance(theirs, list) and isinstance(ours, list) and len(base) == len(ours):
        if len(ours) != len(theirs):
            return (theirs, False) if same(base, ours) else (ours, True)
        parts = [merge(*versions) for versions in zip(base, ours, theirs, strict=True)]
        return [part for part, _ in parts], any(clash for _, clash in parts)
    if same(base, ours):
        return theirs, False
    return ours, True
