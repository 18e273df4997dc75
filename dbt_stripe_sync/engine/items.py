"""Lists whose items Stripe knows by id: an item without one would be added, not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.stripe_api.lifecycle import ItemList


def match_items(
    wanted: Sequence[Mapping[str, Any]], existing: Sequence[Mapping[str, Any]], rule: ItemList
) -> list[dict[str, Any]]:
    """The items to send so that an object ends up with those that are wanted, and no others.

    Items that agree in what tells them apart keep their id. Of the rest, one that leaves makes room for one that comes:
    so a price that was replaced moves its item instead of ending it. What is left over is added, or marked as removed.
    """
    left = {str(item["id"]): item for item in existing}
    ids: list[str | None] = []
    for item in wanted:
        named = item.get("id")
        found = (
            named
            if named in left
            else next((i for i, old in left.items() if _same(item, old, rule.told_apart_by)), None)
        )
        ids.append(found)
        left.pop(str(found), None)
    made = []
    for item, found in zip(wanted, ids, strict=True):
        id_ = found
        if id_ is None and "id" not in item and left:
            id_ = next(iter(left))
            del left[id_]
        made.append({"id": id_, **item} if id_ is not None else dict(item))
    return made + [{"id": id_, **rule.gone} for id_ in left]


def _same(wanted: Mapping[str, Any], existing: Mapping[str, Any], name: str) -> bool:
    shown = existing.get(name)
    return wanted.get(name) is not None and wanted[name] == (shown.get("id") if isinstance(shown, dict) else shown)
