"""Handles rows that keep referring to a replaced object, and what they refer to once they can't."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.engine.payload.layout import keeps, newest_column
from dbt_stripe_sync.model.sql import ID_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.engine.payload.layout import Layout, Part
    from dbt_stripe_sync.model.difference import RowDiff


def without_kept(diff: RowDiff, layout: Layout) -> RowDiff:
    """The same row with references to the newest objects, because a new object can't refer to a replaced one."""
    newest: dict[str, str] = {}

    def renewed(part: Part, row: Mapping[str, Any]) -> dict[str, Any]:
        names = [name for reference, name in part.references.items() if keeps(reference) and row[name] is not None]
        newest.update({row[name]: row[newest_column(name)] or "" for name in names})
        return {**row, **{name: row[newest_column(name)] for name in names}}

    row = renewed(layout.row, diff.row)
    for child in layout.children:
        row[child.name] = [renewed(child, item) for item in row[child.name] or ()]
    refs = diff.refs and ID_SEPARATOR.join(newest.get(part, part) for part in diff.refs.split(ID_SEPARATOR))
    return replace(diff, row=row, refs=refs)
