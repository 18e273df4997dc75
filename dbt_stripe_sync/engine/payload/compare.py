"""Compares the parameters that were last written with those that a row has now, and finds what to send."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from dbt_stripe_sync.model.change import FieldChange, Fingerprint
from dbt_stripe_sync.model.codec import canonical
from dbt_stripe_sync.model.params import ParamKind, without_immutable
from dbt_stripe_sync.model.record import MARK
from dbt_stripe_sync.model.sync import Nulls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.payload.builder import Payload
    from dbt_stripe_sync.model.lifecycle import ItemList, Lifecycle
    from dbt_stripe_sync.model.params import Param, Resource

_ABSENT: Any = object()


class Comparison(Struct):
    """The result of comparing a row's parameters with its record.

    `update` is what to send, `desired` what the record has afterwards. `immutable` has the dotted paths of changed
    parameters that an update can't change; in hashes and lists, the path of the part (`fixed_amount.amount`). `update`
    contains none of them. `uncleared` are mapped parameters that are null now and that Stripe can't clear.
    """

    update: dict[str, Any] = field(default_factory=dict)
    desired: dict[str, Any] = field(default_factory=dict)
    changed: list[FieldChange] = field(default_factory=list)
    immutable: list[str] = field(default_factory=list)
    uncleared: list[tuple[str, ...]] = field(default_factory=list)


def payload_hash(params: Mapping[str, Any]) -> str:
    """A digest of some parameters. Parameters with the same meaning have the same digest."""
    return sha256(canonical(params).encode()).hexdigest()


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same to Stripe. `one` may contain fingerprints, as values from a record do."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if isinstance(one, Fingerprint):
        return one == other or (one.matches is not None and one.matches(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(part, other[name]) for name, part in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other or (type(one) is type(other) and canonical(one) == canonical(other))


def compare(
    before: Mapping[str, Any], payload: Payload, resource: Resource, mapped: frozenset[tuple[str, ...]]
) -> Comparison:
    """Compare the top-level parameters one by one.

    Only parameters that differ are sent, and a hash is sent with everything that an update accepts. A parameter that is
    no longer mapped stays unchanged in Stripe, and is removed from the record.
    """
    result = Comparison()
    walk = _Walk(payload=payload, lifecycle=resource.lifecycle, mapped=mapped, result=result)
    for name in dict.fromkeys([*payload.params, *before]):
        old, new = before.get(name), payload.params.get(name)
        if name.startswith(MARK):
            result.desired[name] = old
            continue
        param = resource.params.get(name)
        if param is None:
            continue
        sent, kept = walk.step((name,), old, new, param)
        if kept is not _ABSENT:
            result.desired[name] = kept
        if sent is not _ABSENT:
            result.update[name] = sent
    return result


class _Walk(Struct):
    payload: Payload
    lifecycle: Lifecycle
    mapped: frozenset[tuple[str, ...]]
    result: Comparison

    def step(self, path: tuple[str, ...], old: Any, new: Any, param: Param) -> tuple[Any, Any]:
        """What to send for this parameter, and what the record has afterwards; `_ABSENT` if there is nothing."""
        sent, kept = self._difference(path, old, new, param)
        if sent is not _ABSENT and (param.immutable or self._was_set_once(path, old)):
            self.result.immutable.append(".".join(path))
            return _ABSENT, kept
        return sent, kept

    def _was_set_once(self, path: tuple[str, ...], old: Any) -> bool:
        first = self.lifecycle.set_once_from(path) if self.lifecycle.set_once else ()
        return bool(first) and old is not None and not same(old, first[0])

    def _difference(self, path: tuple[str, ...], old: Any, new: Any, param: Param) -> tuple[Any, Any]:
        if param.kind is ParamKind.MAP and isinstance(new or old, dict) and isinstance(new or {}, dict):
            return self._map(path, old or {}, new or {}, param)
        if new is None:
            if param.kind is ParamKind.HASH and not param.clearable and isinstance(old, dict) and self._is_ours(path):
                sent, kept = self._hash(path, old, {}, param)  # its parts may be clearable
                return sent, kept or _ABSENT
            return self._cleared(path, old, param)
        if same(old, new):
            return _ABSENT, new
        if param.kind is ParamKind.HASH and isinstance(new, dict):
            return self._hash(path, old if isinstance(old, dict) else {}, new, param)
        if param.kind is ParamKind.LIST and param.partly_immutable and isinstance(new, list):
            return self._items(path, old, new, param)
        self.result.changed.append(FieldChange(path=".".join(path), before=old, after=new))
        return new, new

    def _hash(
        self, path: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any], param: Param
    ) -> tuple[Any, Any]:
        """A hash is sent completely, with empty text for the parts to clear, so nothing depends on Stripe's merging.

        Parts that only creation accepts are left out: an update rejects them even if they haven't changed.
        """
        sent: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        differs = False
        for name in dict.fromkeys([*new, *old]):
            field_param = (param.fields or {}).get(name)
            if field_param is None:
                continue
            part, stays = self.step((*path, name), old.get(name), new.get(name), field_param)
            differs = differs or part is not _ABSENT
            if stays is not _ABSENT:
                kept[name] = stays
            if part is not _ABSENT:
                sent[name] = part
            elif stays is not _ABSENT and (unchanged := without_immutable(stays, field_param)) is not None:
                sent[name] = unchanged
        return (sent if differs else _ABSENT), kept

    def _items(self, path: tuple[str, ...], old: Any, new: list[Any], param: Param) -> tuple[Any, Any]:
        """A list whose items are updated by their ids, because some parts of an item are immutable.

        Items can't be added or removed.
        """
        rule = self.lifecycle.item_lists.get(path[0]) if len(path) == 1 else None
        identity_field = rule.identity_field if rule else None
        pairs = _paired(old, new, identity_field)
        if pairs and all(same(before, after) for before, after in pairs):
            return _ABSENT, new
        self.result.changed.append(FieldChange(path=".".join(path), before=old, after=new))
        if pairs is None:
            self.result.immutable.append(".".join(path))
            return _ABSENT, new
        # Without a rule, item ids are unknown, so no part of an item can be changed.
        found = (_fixed(before, after, param, all_of_it=rule is None) for before, after in pairs)
        fixed = dict.fromkeys(name for names in found for name in names)
        self.result.immutable += [".".join((*path, *name)) for name in fixed]
        return (_ABSENT if fixed else [_item(after, param, rule) for after in new]), new

    def _map(
        self, path: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any], param: Param
    ) -> tuple[Any, Any]:
        """Stripe merges a map key by key, so only the keys that differ are sent."""
        values = param.values
        # docs.stripe.com/api/prices/update: `''` clears `currency_options` as a whole, but not a single key.
        if values is not None and values.kind is ParamKind.HASH:
            if not new:
                return self._cleared(path, old or None, param)
        else:
            values = None
        sent: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        for name in dict.fromkeys([*new, *old]):
            before, after = old.get(name), new.get(name)
            if after is None:
                part, stays = self._cleared((*path, name), before, values or param, is_key=values is None)
            elif same(before, after):
                part, stays = _ABSENT, after
            else:
                self.result.changed.append(FieldChange(path=".".join((*path, name)), before=before, after=after))
                part, stays = self._entry((*path, name), before, after, values), after
            if part is not _ABSENT:
                sent[name] = part
            if stays is not _ABSENT:
                kept[name] = stays
        return (sent or _ABSENT), (kept or _ABSENT)

    def _entry(self, path: tuple[str, ...], before: Any, after: Any, param: Param | None) -> Any:
        """What to send for an entry of a map that differs: the whole entry except immutable parts."""
        if param is None or not isinstance(before, dict) or not isinstance(after, dict):
            return after
        fixed = {name for name, part in param.inner.items() if part.immutable}
        fixed |= {name for name in after if self._was_set_once((*path, name), before.get(name))}
        self.result.immutable += [
            ".".join((*path, name)) for name in after if name in fixed and not same(before.get(name), after[name])
        ]
        return {name: value for name, value in after.items() if name not in fixed} or _ABSENT

    def _cleared(self, path: tuple[str, ...], old: Any, param: Param, *, is_key: bool = False) -> tuple[Any, Any]:
        if old is None or not self._is_ours(path):
            return _ABSENT, _ABSENT
        nulls = self._nulls_of(path)
        if nulls is Nulls.IGNORE:
            return _ABSENT, old
        if not is_key and not param.clearable and not self._may_empty(path, nulls, param):
            self.result.uncleared.append(path)
            return _ABSENT, old
        self.result.changed.append(FieldChange(path=".".join(path), before=old, after=None))
        return "", _ABSENT

    @staticmethod
    def _may_empty(path: tuple[str, ...], nulls: Nulls, param: Param) -> bool:
        # A text inside a hash is cleared when the whole hash is sent; a top-level text only if the user asks for it.
        is_sent_whole = len(path) > 1 and not param.immutable
        return param.kind is ParamKind.STRING and (is_sent_whole or nulls is Nulls.CLEAR)

    def _is_ours(self, path: tuple[str, ...]) -> bool:
        return any(path[: len(mapped)] == mapped or mapped[: len(path)] == path for mapped in self.mapped)

    def _nulls_of(self, path: tuple[str, ...]) -> Nulls:
        for mapped, nulls in self.payload.absent.items():
            if path[: len(mapped)] == mapped or mapped[: len(path)] == path:
                return nulls
        return Nulls.DEFAULT


def _paired(old: Any, new: Sequence[Any], identity_field: str | None) -> list[tuple[Any, Any]] | None:
    """Each item with its previous version, matched by identity field or else by position.

    None if one was added or removed.
    """
    if not isinstance(old, list) or len(old) != len(new) or not all(isinstance(item, dict) for item in (*old, *new)):
        return None
    left = list(old)
    pairs = []
    for item in new:
        value = item.get(identity_field) if identity_field else None
        found = next((was for was in left if value is not None and same(was.get(identity_field), value)), None)
        if found is None:
            return list(zip(old, new, strict=True))
        left.remove(found)
        pairs.append((found, item))
    return pairs


def _fixed(
    before: Mapping[str, Any], after: Mapping[str, Any], param: Param, *, all_of_it: bool
) -> Iterator[tuple[str, ...]]:
    """The parts of an item that differ and that an update can't change."""
    for name, part in param.inner.items():
        old, new = before.get(name), after.get(name)
        if same(old, new):
            continue
        if part.immutable or all_of_it:
            yield (name,)
        elif part.partly_immutable and isinstance(old, dict) and isinstance(new, dict):
            yield from ((name, *path) for path in _fixed(old, new, part, all_of_it=False))


def _item(item: Mapping[str, Any], param: Param, rule: ItemList | None) -> dict[str, Any]:
    """An item for an update, with the fields that its id is found by."""
    sent = {} if param.item is None else without_immutable(dict(item), param.item) or {}
    finders = rule.identified_by if rule else ()
    return {name: sent.get(name, value) for name, value in item.items() if name in sent or name in finders}
