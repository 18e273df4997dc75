"""Renders small tables and trees for the read-only commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from rich.cells import cell_len, set_cell_size

from dbt_stripe_sync.model.change import Fingerprint
from dbt_stripe_sync.model.nested import has_leaf
from dbt_stripe_sync.report.lines import cut, plain
from dbt_stripe_sync.report.redact import NOT_KEPT, hide_keys_in, hide_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.record import Record

GAP = "  "
NARROWEST = 8


def render_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, width: int) -> Iterator[str]:
    """Rows under their column names; the last column is cut at the width of the terminal."""
    texts = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max([cell_len(name), *(cell_len(text[i]) for text in texts)]) for i, name in enumerate(columns)]
    used = sum(widths[:-1]) + len(GAP) * (len(columns) - 1)
    widths[-1] = max(NARROWEST, min(widths[-1], width - used))
    for line in [list(columns), *texts]:
        cells = [set_cell_size(text, size) for text, size in zip(line, widths, strict=True)]
        cells[-1] = cut(line[-1], widths[-1])
        yield GAP.join(cells).rstrip()


def render_params(title: str, params: Mapping[str, Any]) -> Iterator[str]:
    """Parameters as an indented tree, in the order in which they are sent."""
    yield plain(title)
    yield from _tree(hide_secrets(dict(params)), "  ")


def render_record(record: Record) -> Iterator[str]:
    """A record of the state with every parameter that the sync has set."""
    status = "removed from the model" if record.removed else "in the model"
    yield plain(f"{record.sync} [{record.key}] -> {record.resource} {record.stripe_id} ({status})")
    yield from _tree(hide_secrets(dict(record.params)), "  ")
    if has_leaf(record.params, Fingerprint):
        yield "  (no values are stored: `store_values` is false, and a salted hash stands for each)"


def render_record_json(record: Record) -> str:
    """The same as a JSON line; a value that is not stored is null."""
    shown = {
        "sync": record.sync,
        "key": record.key,
        "resource": record.resource,
        "stripe_id": record.stripe_id,
        "removed": record.removed,
        "params": hide_keys_in(hide_secrets(dict(record.params))),
    }
    return orjson.dumps(shown, default=_text).decode()


def render_preview_json(key: str, params: Mapping[str, Any], problems: Iterable[Problem]) -> str:
    """One row of `show` as a JSON line."""
    found = [{"code": problem.code, "summary": problem.summary} for problem in problems]
    shown = hide_keys_in({"key": key, "params": hide_secrets(dict(params)), "problems": found})
    return orjson.dumps(shown, default=_text).decode()


FIELD_MARKS = {"required": "required", "immutable": "immutable", "set_once": "set once", "clearable": "clearable"}


def render_fields(rows: Sequence[Mapping[str, Any]], *, as_json: bool, width: int) -> Iterator[str]:
    """Parameters of a resource, one per line: name, type, what a sync can do with it, and its description below."""
    if as_json:
        yield from (orjson.dumps(row).decode() for row in rows)
        return
    longest = max((cell_len(str(row["name"])) for row in rows), default=0)
    for row in rows:
        marks = ", ".join(mark for name, mark in FIELD_MARKS.items() if row.get(name))
        kind = f"{row['type']}{f' ({marks})' if marks else ''}"
        yield plain(cut(f"{set_cell_size(str(row['name']), longest)}{GAP}{kind}", width))
        if row.get("immutable_parts"):
            yield cut(f"{' ' * longest}{GAP}immutable in it: {', '.join(row['immutable_parts'])}", width)
        if row.get("values"):
            yield cut(f"{' ' * longest}{GAP}one of {', '.join(row['values'])}", width)
        if row.get("description"):
            yield cut(f"{' ' * longest}{GAP}{row['description']}", width)


def render_resources(rows: Sequence[Mapping[str, Any]], *, as_json: bool, width: int) -> Iterator[str]:
    """All resources, one per line."""
    if as_json:
        yield from (orjson.dumps(row).decode() for row in rows)
    else:
        yield from render_table(("resource", "modes", "match", "on_removed"), rows, width=width)


def _tree(value: Any, indent: str) -> Iterator[str]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in pairs:
        label = f"{indent}{_cell(name)}:" if isinstance(value, dict) else f"{indent}-"
        if isinstance(part, dict | list) and part:
            yield label
            yield from _tree(part, f"{indent}  ")
        else:
            yield f"{label} {_cell(part)}"


def _cell(value: Any) -> str:
    """A value that is safe for a terminal. Every cell of these tables and trees goes through here."""
    return plain(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, Fingerprint):
        return NOT_KEPT
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    if hasattr(value, "sync") and hasattr(value, "key"):
        return f"<id of {value.sync} [{value.key}]>"
    return str(value)
