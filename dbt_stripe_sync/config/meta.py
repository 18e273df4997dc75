"""Reads the raw `stripe_sync` blocks of a model, wherever in the project they were written.

Model meta in YAML, `+meta` in dbt_project.yml and `config(meta=…)` in SQL all become the model's meta; columns may have
their own part.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.config.leaks import find_secrets
from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.errors import Location, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.nodes import ModelNode

BLOCK = "stripe_sync"
COLUMN_FIELD = "stripe_field"
# One or two of eleven letters that are swapped, missing or extra (difflib's ratio).
ALMOST = 0.85
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class Block(Struct, frozen=True, kw_only=True):
    """One sync as it was written, with the fields that columns add to it: pairs of column and parameter."""

    model: ModelNode
    raw: Mapping[str, Any]
    columns: tuple[tuple[str, str], ...]
    where: Location
    is_named: bool


def read_blocks(node: ModelNode, problems: Problems) -> Iterator[Block]:
    """The syncs that a model's meta describes."""
    raw = node.meta.get(BLOCK)
    where = Location(file=node.file, model=node.label, field=f"meta.{BLOCK}")
    _check_secrets(node, problems)
    if raw is None:
        _check_spelling(node, problems)
        _check_lonely_columns(node, problems)
        return
    if node.raw_meta is not None:
        _check_rendered(node.raw_meta.get(BLOCK), raw, where, problems)
    blocks = raw if isinstance(raw, list) else [raw]
    _check_columns(node, [str(b.get("name") or node.name) for b in blocks if isinstance(b, dict)], problems)
    for index, block in enumerate(blocks):
        at = replace(where, field=f"meta.{BLOCK}[{index}]") if isinstance(raw, list) else where
        if not isinstance(block, dict):
            problems.add(
                "not-a-mapping",
                at,
                f"`{BLOCK}` holds {_kind(block)}, but a YAML mapping is expected",
                "write `resource:`, `key:` and `fields:` below it",
            )
            continue
        name = str(block.get("name") or node.name)
        yield Block(
            model=node,
            raw=block,
            columns=tuple(_column_fields(node, name, only_one=len(blocks) == 1)),
            where=replace(at, sync=name),
            is_named="name" in block or len(blocks) == 1,
        )


def _column_fields(node: ModelNode, sync: str, *, only_one: bool) -> Iterator[tuple[str, str]]:
    """The fields that columns add to the syncs of their model.

    A column has `meta: {stripe_field: email}`, or `{stripe_sync: {customers: email}}` if its model has several syncs.
    """
    for column, named in _mapped_columns(node):
        if isinstance(named, str) and only_one:
            yield column, named
        elif isinstance(named, dict) and sync in named:
            yield column, str(named[sync])


def _mapped_columns(node: ModelNode) -> Iterator[tuple[str, Any]]:
    for column in node.columns.values():
        for word in (COLUMN_FIELD, BLOCK):
            if word in column.meta:
                yield column.name, column.meta[word]


def _check_columns(node: ModelNode, syncs: Sequence[str], problems: Problems) -> None:
    """Check that a column's field belongs to a sync of its model.

    If the model has several syncs, the column has to name one.
    """
    for column, named in _mapped_columns(node):
        where = Location(file=node.file, model=node.label, field=f"columns.{column}.meta")
        if isinstance(named, str):
            if len(syncs) > 1:
                problems.add(
                    "ambiguous-column-sync",
                    where,
                    f"column `{column}` names a Stripe field, and `{node.label}` has several syncs",
                    f"write `{BLOCK}: {{{syncs[0]}: {named}}}` in the column's meta",
                )
        elif isinstance(named, dict):
            for sync in named:
                if sync not in syncs:
                    problems.add(
                        "unknown-sync",
                        where,
                        f"column `{column}` names a field of the sync `{sync}`, which `{node.label}` lacks",
                        f"{did_you_mean(str(sync), syncs)}it has {listed(syncs)}",
                    )
        else:
            problems.add(
                "not-a-mapping",
                where,
                f"column `{column}` doesn't name a Stripe field",
                f"write `{COLUMN_FIELD}: email`",
            )


def _check_spelling(node: ModelNode, problems: Problems) -> None:
    """Warn about a misspelled `stripe_sync`, which would be ignored silently."""
    for name in get_close_matches(BLOCK, node.meta, cutoff=ALMOST):
        problems.add(
            "misspelled-block",
            Location(file=node.file, model=node.label, field=f"meta.{name}"),
            f"the model's meta has `{name}`, which dbt-stripe-sync doesn't know",
            f"did you mean `{BLOCK}`?",
            severity=Severity.WARNING,
        )


def _check_lonely_columns(node: ModelNode, problems: Problems) -> None:
    for column, _ in _mapped_columns(node):
        problems.add(
            "field-without-sync",
            Location(file=node.file, model=node.label, field=f"columns.{column}.meta"),
            f"column `{column}` names a Stripe field, and `{node.label}` has no `{BLOCK}`",
            f"add `{BLOCK}:` with `resource:` and `key:` to the model's meta",
        )


def _check_rendered(before: Any, after: Any, where: Location, problems: Problems) -> None:
    """Find expressions that dbt 2 has silently rendered to nothing: `{{ column }}` in meta."""
    if isinstance(before, str):
        if _is_rendered_away(before, after):
            problems.add(
                "rendered-away",
                where,
                "dbt has rendered the `{{ }}` here to nothing",
                "write `[[ column ]]`, which dbt leaves alone, or wrap the text in `{% raw %}` and `{% endraw %}`",
            )
            problems.settle(where)
    elif isinstance(before, dict):
        for name, part in before.items():
            _check_rendered(
                part, after.get(name) if isinstance(after, dict) else None, where.at_field(str(name)), problems
            )
    elif isinstance(before, list):
        for index, part in enumerate(before):
            inner = after[index] if isinstance(after, list) and index < len(after) else None
            _check_rendered(part, inner, where.at_field(str(index)), problems)


def _is_rendered_away(before: str, after: Any) -> bool:
    """Whether every Jinja expression of a text was rendered to nothing, and only the text around them is left."""
    if not _JINJA.search(before):
        return False
    return str(after if after is not None else "").split() == _JINJA.sub(" ", before).split()


def _check_secrets(node: ModelNode, problems: Problems) -> None:
    for place, value in (("meta", node.meta), *((f"columns.{c.name}.meta", c.meta) for c in node.columns.values())):
        for path in find_secrets(value):
            problems.add(
                "secret-in-meta",
                Location(file=node.file, model=node.label, field=".".join((place, *path))),
                "the project's YAML contains a Stripe secret",
                "roll the key at https://dashboard.stripe.com/apikeys now, and pass the new one as STRIPE_API_KEY",
            )


def _kind(value: Any) -> str:
    return "nothing" if value is None else "a list" if isinstance(value, list) else f"`{type(value).__name__}`"
