"""What dbt says of a model's syncs: the raw `stripe_sync` blocks, wherever in the project they were written.

Model meta in YAML, `+meta` in dbt_project.yml and `config(meta=…)` in SQL all end up in the model's meta; columns may
carry their own share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.errors import Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.engine.types import ModelNode

BLOCK = "stripe_sync"
COLUMN_FIELD = "stripe_field"
_SECRET = re.compile(r"\b(?:sk|rk)_(?:live|test)_\w{8,}|\bwhsec_\w{8,}")
_JINJA = re.compile(r"\{\{|\{%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One sync as it was written, with the fields that columns add to it (parameter to column)."""

    model: ModelNode
    raw: Mapping[str, Any]
    columns: Mapping[str, str]
    where: Location
    is_named: bool


def read_blocks(node: ModelNode, problems: Problems) -> Iterator[Block]:
    """The syncs that a model's meta describes."""
    raw = node.meta.get(BLOCK)
    where = Location(file=node.file, model=node.name, field=f"meta.{BLOCK}")
    _check_secrets(node, problems)
    if raw is None:
        _check_lonely_columns(node, problems)
        return
    if node.raw_meta is not None:
        _check_rendered(node.raw_meta.get(BLOCK), raw, where, problems)
    blocks = raw if isinstance(raw, list) else [raw]
    for index, block in enumerate(blocks):
        at = replace(where, field=f"meta.{BLOCK}[{index}]") if isinstance(raw, list) else where
        if not isinstance(block, dict):
            problems.add(
                "not-a-mapping",
                at,
                f"`{BLOCK}` holds {_kind(block)} where names and values belong",
                "write `resource:`, `key:` and `fields:` below it",
            )
            continue
        name = str(block.get("name") or node.name)
        yield Block(
            model=node,
            raw=block,
            columns=dict(_column_fields(node, name, len(blocks) == 1)),
            where=replace(at, sync=name),
            is_named="name" in block or len(blocks) == 1,
        )


def _column_fields(node: ModelNode, sync: str, only_one: bool) -> Iterator[tuple[str, str]]:  # noqa: FBT001 - a fact
    """`meta: {stripe_field: email}` on a column, or `{stripe_field: {customers: email}}` where a model has several."""
    for column in node.columns.values():
        named = column.meta.get(COLUMN_FIELD)
        if isinstance(named, str) and only_one:
            yield named, column.name
        elif isinstance(named, dict) and sync in named:
            yield str(named[sync]), column.name


def _check_lonely_columns(node: ModelNode, problems: Problems) -> None:
    for column in node.columns.values():
        if COLUMN_FIELD in column.meta:
            problems.add(
                "field-without-sync",
                Location(file=node.file, model=node.name, field=f"columns.{column.name}.meta.{COLUMN_FIELD}"),
                f"column `{column.name}` names a Stripe field, and `{node.name}` has no `{BLOCK}`",
                f"add `{BLOCK}:` with `resource:` and `key:` to the model's meta",
            )


def _check_rendered(before: Any, after: Any, where: Location, problems: Problems) -> None:
    """dbt 2 renders `{{ column }}` in meta to nothing, and says nothing."""
    if isinstance(before, str):
        if _JINJA.search(before) and not (isinstance(after, str) and after.strip()):
            problems.add(
                "rendered-away",
                where,
                "dbt has rendered the `{{ }}` here, and nothing is left of it",
                "write `[[ column ]]`, which dbt leaves alone, or wrap the text in `{% raw %}` and `{% endraw %}`",
            )
    elif isinstance(before, dict):
        for name, part in before.items():
            _check_rendered(part, after.get(name) if isinstance(after, dict) else None, where.at_field(str(name)), problems)
    elif isinstance(before, list):
        for index, part in enumerate(before):
            inner = after[index] if isinstance(after, list) and index < len(after) else None
            _check_rendered(part, inner, where.at_field(str(index)), problems)


def _check_secrets(node: ModelNode, problems: Problems) -> None:
    for place, value in (("meta", node.meta), *((f"columns.{c.name}.meta", c.meta) for c in node.columns.values())):
        for path in _secret_paths(value):
            problems.add(
                "secret-in-meta",
                Location(file=node.file, model=node.name, field=".".join((place, *path))),
                "a Stripe secret stands in the project's YAML",
                "roll the key at https://dashboard.stripe.com/apikeys now, and pass the new one as STRIPE_API_KEY",
            )


def _secret_paths(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, str):
        if _SECRET.search(value):
            yield ()
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from ((str(name), *rest) for rest in _secret_paths(part))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from ((str(index), *rest) for rest in _secret_paths(part))


def _kind(value: Any) -> str:
    return "nothing" if value is None else "a list" if isinstance(value, list) else f"`{type(value).__name__}`"
