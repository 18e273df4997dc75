"""Renders a plan as one JSON document, streamed with one change per line, so that line-based tools can read it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.model.plan import DriftedObject
from dbt_stripe_sync.report.json_values import json_field, json_header, json_params, json_problem, json_time
from dbt_stripe_sync.report.owed_text import explain_owed
from dbt_stripe_sync.report.price_moves import find_price_moves, json_price_move
from dbt_stripe_sync.report.redact import hide_keys_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dbt_stripe_sync.model.change import Change, FieldChange, Owed
    from dbt_stripe_sync.model.plan import Plan, SyncCounts

FORMAT = 1


def render_plan(plan: Plan, *, with_values: bool = False) -> Iterator[str]:
    """The lines of a plan, which together are one JSON object.

    Its names are `format`, `plan`, `reads`, `syncs`, `owed`, `problems`, `price_changes`, `changes` and `drifted`. A
    change includes the parameters of its calls, and old and new values, only `with_values`.
    """
    head = {
        "format": FORMAT,
        "plan": json_header(plan.header),
        "reads": plan.reads,
        "syncs": [json_counts(counts) for counts in plan.counts],
        "owed": [json_owed(step, with_values=with_values) for step in plan.owed],
        "problems": [json_problem(problem) for problem in plan.problems],
        "price_changes": [json_price_move(move, with_amounts=with_values) for move in find_price_moves(plan)],
    }
    yield orjson.dumps(hide_keys_in(head)).decode()[:-1] + ',"changes":['
    yield from _entries(json_change(change, with_values=with_values) for change in plan.changes)
    yield '],"drifted":['
    drifted = (entry for entry in plan.refreshes if isinstance(entry, DriftedObject) and entry.is_reported)
    yield from _entries(json_drifted(entry, with_values=with_values) for entry in drifted)
    yield "]}"


def _entries(values: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The entries of a list, one per line, without keys of rows."""
    before = ""
    for value in values:
        # Each entry is held back until the next one is read, because the last one has no comma after it.
        if before:
            yield before + ","
        before = orjson.dumps(hide_keys_in(value)).decode()
    if before:
        yield before


def json_owed(step: Owed, *, with_values: bool = False) -> dict[str, Any]:
    """An owed step."""
    return {
        "sync": step.sync,
        "key": step.key,
        "action": step.action.value,
        "target": step.target,
        "since": json_time(step.since),
        "reason": step.reason,
        "attempts": step.attempts,
        "refused": explain_owed(step, with_values=with_values) or None,
    }


def json_counts(counts: SyncCounts) -> dict[str, Any]:
    """What was found for one sync, in rows and seconds."""
    return {
        "sync": counts.sync,
        "model": counts.model,
        "resource": counts.resource,
        "rows": counts.rows,
        "same": counts.same,
        "rejected": counts.rejected,
        "drifted": counts.drifted,
        "held": counts.held,
        "changes": dict(counts.by_action),
        "calls": counts.calls,
        "reads": counts.reads,
        "read_seconds": round(counts.read_seconds, 3),
        "compare_seconds": round(counts.diff_seconds, 3),
        "notes": [str(note) for note in counts.notes],
    }


def _fields(changed: Iterable[FieldChange], names: tuple[str, str] | None) -> list[dict[str, Any]]:
    """The fields that differ, with the old and new value of each under these names, if there are any."""
    if names is None:
        return [{"path": part.path} for part in changed]
    was, now = names
    return [
        {"path": part.path, was: json_field(part.path, part.before), now: json_field(part.path, part.after)}
        for part in changed
    ]


def json_drifted(entry: DriftedObject, *, with_values: bool) -> dict[str, Any]:
    """One object that others have changed in Stripe: which fields, and both values `with_values`."""
    return {
        "sync": entry.sync,
        "key": entry.key,
        "resource": entry.resource,
        "stripe_id": entry.stripe_id,
        "author": entry.author,
        "fields": _fields(entry.changed, ("ours", "theirs") if with_values else None),
    }


def json_change(change: Change, *, with_values: bool) -> dict[str, Any]:
    """One change: which object, which calls, which parameters differ."""
    return {
        "sync": change.sync,
        "key": change.key,
        "action": change.action.value,
        "resource": change.resource,
        "stripe_id": change.stripe_id,
        "reason": change.reason,
        "found_by": change.found_by,
        "depends_on": list(change.depends_on),
        "fields": _fields(change.changed, ("before", "after") if with_values else None),
        "calls": [
            {"operation": call.operation, "target": json_params(call.target)}
            | ({"params": json_params(call.params)} if with_values else {"params": sorted(call.params)})
            for call in change.calls
        ],
    }
