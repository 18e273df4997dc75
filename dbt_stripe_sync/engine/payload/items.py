"""Updates lists whose items have ids in Stripe. An item that is sent without its id would be added, not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.engine.payload.drift import is_item
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sync import ChildRows, ItemsOwned, ListOf, Nulls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.lifecycle import ItemList
    from dbt_stripe_sync.model.params import Param, Resource
    from dbt_stripe_sync.model.sync import FieldMapping, Sync


class Emptying(Struct, frozen=True, kw_only=True):
    """Describes what an item may lose.

    - `fields` are what the sync maps in items, and `before` what earlier rows set there.
    - `ours` has the mapped paths inside an item, or None if whole items come from a column.
    - `all_ours` says that every item of the object belongs to the row.
    - `is_known` is false if no record has the items that the row added. Then no item is removed, and only the items in
      `reusable` are replaced.
    """

    fields: Mapping[str, Param]
    ours: frozenset[tuple[str, ...]] | None
    before: Sequence[Mapping[str, Any]]
    all_ours: bool = False
    is_known: bool = True
    reusable: frozenset[str] = frozenset()

    def may_remove(self, shown: Mapping[str, Any], rule: ItemList) -> bool:
        """Whether the row itself added an item of the object that it no longer asks for."""
        return self.all_ours or any(_same(old, shown, rule) or old.get("id") == shown["id"] for old in self.before)

    def may_reuse(self, shown: Mapping[str, Any], rule: ItemList) -> bool:
        """Whether an item that the row doesn't ask for can be turned into one that it does ask for."""
        return self.may_remove(shown, rule) if self.is_known else _identity(shown, rule) in self.reusable

    def of(self, item: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
        """What to send with an item to clear values that its row no longer has, but nothing that others set."""
        lost: dict[str, Any] = {}
        for name, param in self.fields.items():
            once = [old[name] for old in self.before if old.get(name) is not None]
            there = shown.get(name)
            if not once or not there:
                continue
            if param.kind is ParamKind.MAP and isinstance(there, dict):
                stays = item.get(name) or {}
                keys = {key for old in once if isinstance(old, dict) for key in old}
                gone = {key: "" for key in sorted(keys & there.keys()) if key not in stays and self._is_ours(name, key)}
                if gone:
                    lost[name] = {**stays, **gone}
            elif param.clearable and name not in item and self._is_ours(name):
                lost[name] = ""
        return lost

    def _is_ours(self, *path: str) -> bool:
        return self.ours is None or any(path[: len(mapped)] == mapped for mapped in self.ours)


def emptying_of(sync: Sync, resource: Resource, name: str, before: Mapping[str, Any]) -> Emptying:
    """What the items of the list `name` may lose, as `sync` maps them and as the record `before` has them."""
    param = resource.params[name]
    fields = (param.item.fields if param.item is not None else None) or {}
    listed = before.get(name)
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    all_ours = sync.items_owned is ItemsOwned.ALL
    return Emptying(
        fields=fields,
        ours=_mapped(sync, name),
        before=items,
        all_ours=all_ours,
        is_known=all_ours or isinstance(listed, list),
    )


def _mapped(sync: Sync, name: str) -> frozenset[tuple[str, ...]] | None:
    """The paths inside an item that a null clears; None for all of them."""
    mapping = next((field for field in sync.fields if field.path == (name,)), None)
    if mapping is None or mapping.nulls is Nulls.IGNORE:
        return frozenset()
    inner = list(_inner(mapping))
    return frozenset(field.path for field in inner if field.nulls is not Nulls.IGNORE) if inner else None


def _inner(mapping: FieldMapping) -> Iterator[FieldMapping]:
    if isinstance(mapping.value, ChildRows):
        yield from mapping.value.fields
    elif isinstance(mapping.value, ListOf):
        for item in mapping.value.items:
            if isinstance(item, tuple):
                yield from item


def match_items(
    wanted: Sequence[Mapping[str, Any]],
    existing: Sequence[Mapping[str, Any]],
    rule: ItemList,
    emptying: Emptying,
) -> list[dict[str, Any]]:
    """The items to send so that an object gets the wanted items and loses the previous ones.

    Items with the same identity field, or with what it is described by, keep their id. Of the rest, a removed item is
    turned into an added one, so a replaced price moves its item instead of ending it. The others are added, or marked
    as removed. An item that the row never had, such as an add-on that somebody put on the subscription, stays
    unchanged.
    """
    shown = {str(item["id"]): item for item in existing}
    ids, left = pair_items(wanted, existing, rule)
    left = {id_: item for id_, item in left.items() if emptying.may_reuse(item, rule)}
    made = []
    for wish, found in zip(wanted, ids, strict=True):
        id_, item = found, wish
        if found is not None and "id" not in wish:
            # Values that an item already has aren't sent again: Stripe may treat an archived price as a new choice of
            # it, and creates another price from a description.
            item = {name: value for name, value in wish.items() if name not in rule.identified_by}
        if id_ is None and "id" not in item and left:
            id_ = next(iter(left))
            del left[id_]
        made.append({"id": id_, **item, **emptying.of(wish, shown.get(id_, {}))} if id_ is not None else dict(item))
    return made + [{"id": id_, **rule.gone} for id_ in left if emptying.is_known]


def pair_items(
    wanted: Sequence[Mapping[str, Any]], existing: Sequence[Mapping[str, Any]], rule: ItemList
) -> tuple[list[str | None], dict[str, Mapping[str, Any]]]:
    """The id of each wanted item, or None for a new one; and the items that match none of them."""
    left = {str(item["id"]): item for item in existing}
    ids: list[str | None] = []
    for item in wanted:
        named = item.get("id")
        found = named if named in left else next((i for i, old in left.items() if _same(item, old, rule)), None)
        ids.append(found)
        left.pop(str(found), None)
    return ids, left


def identities(items: Iterable[Mapping[str, Any]], rule: ItemList) -> tuple[str, ...]:
    """The values that identify the items of an object."""
    return tuple(str(_identity(item, rule)) for item in items)


def _same(ours: Mapping[str, Any], existing: Mapping[str, Any], rule: ItemList) -> bool:
    """Whether an item of a row, or of a record, is an existing one."""
    name = next((name for name in rule.identified_by if ours.get(name) is not None), None)
    return name is not None and is_item(ours, name, existing, rule)


def _identity(existing: Mapping[str, Any], rule: ItemList) -> Any:
    shown = existing.get(rule.identity_field)
    return shown.get("id") if isinstance(shown, dict) else shown
