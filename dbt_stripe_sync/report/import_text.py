"""Describes what `import` wrote and left out, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.counting import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.model.imported import Imported, LeftOut


def render_import(imported: Imported, *, is_trial: bool) -> Iterator[str]:
    """The files, then what they don't contain and why."""
    written = "would write" if is_trial else "wrote"
    if imported.properties is None:
        yield f"{imported.account} has nothing to import."
    for seed in imported.seeds:
        yield f"{written} {seed.file}: {counted(seed.rows, 'row')}, {counted(seed.columns, 'column')}"
    if imported.properties is not None:
        yield f"{written} {imported.properties}: the column types and the syncs"
    if imported.left_out:
        yield ""
        yield "Left out:"
        yield from (f"  {_left_out_text(left)}" for left in imported.left_out)
    if imported.properties is not None and not is_trial:
        names = " ".join(seed.name for seed in imported.seeds)
        yield ""
        yield f"Next: `dbt build --select {names}`, then `dbt-stripe-sync plan`."
        yield "It adopts each object and changes none of its fields."


def build_json(imported: Imported, *, is_trial: bool) -> dict[str, Any]:
    """The same as a JSON document."""
    return {
        "account": imported.account,
        "written": not is_trial and imported.properties is not None,
        "properties": None if imported.properties is None else str(imported.properties),
        "seeds": [
            {
                "name": seed.name,
                "resource": seed.resource,
                "file": str(seed.file),
                "rows": seed.rows,
                "columns": seed.columns,
            }
            for seed in imported.seeds
        ],
        "left_out": [
            {"kind": left.kind, "field": left.field, "reason": left.reason, "count": left.count, "ids": list(left.ids)}
            for left in imported.left_out
        ],
    }


def _left_out_text(left: LeftOut) -> str:
    what = counted(left.count, left.kind.removesuffix("s"))
    if left.field is not None:
        what = f"`{left.field}` of {what}"
    others = ", …" if left.count > len(left.ids) else ""
    return f"{what} ({', '.join(left.ids)}{others}): {left.reason}"
