"""Renders a decision completely as text, for people to read and compare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rows_to_decide import walk

from dbt_stripe_sync.engine.decide.rules import Ask, Keep, ReadHoldings, Refresh, Reject
from dbt_stripe_sync.model.change import Change, Fingerprint, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rows_to_decide import Differing

    from dbt_stripe_sync.engine.decide.rules import Decision
    from dbt_stripe_sync.model.change import Owed, PlannedCall


def render_case(case: Differing) -> str:
    """Every possible result for a row; answers that lead to the same result are grouped."""
    same: dict[tuple[str, ...], list[str]] = {}
    for path, _, decision in walk(case):
        same.setdefault(tuple(render_decision(decision)), []).append(" > ".join(path) or "at first")
    lines = [f"== {case.sold}: {case.name}"]
    for told, paths in same.items():
        lines += [f"  {' | '.join(paths)}", *(f"    {line}" for line in told)]
    return "\n".join(lines)


def render_decision(decision: Decision) -> list[str]:
    """A decision, line by line."""
    if isinstance(decision, Ask):
        return [_asked(decision)]
    if isinstance(decision, Reject):
        return [f"reject [{p.code}] {p.summary}; {p.where.field or '-'}; hint: {p.hint}" for p in decision.problems]
    if isinstance(decision, Keep):
        return [f"keep{_noted(decision)}"]
    if isinstance(decision, Refresh):
        record = decision.record
        adopted = ", adopted" if record.adopted else ""
        return [f"refresh {record.stripe_id}{adopted}: {_json(record.params)}{_noted(decision)}"]
    return list(_change(decision))


def _asked(decision: Ask) -> str:
    need = decision.need
    values = {name: getattr(need, name) for name in need.__struct_fields__ if name != "body"}
    if isinstance(need, ReadHoldings):
        values["rules"] = [f"{rule.resource}.{rule.parameter}" for rule in need.rules]
    return f"ask {type(need).__name__} {_json({name: value for name, value in values.items() if value})}"


def _noted(decision: Keep | Refresh) -> str:
    return f"; note: {decision.note.text}" if decision.note is not None else ""


def _change(change: Change) -> Iterator[str]:
    marks = [name for name in ("removed", "gone", "ends_first") if getattr(change, name)]
    found = f", found by {change.found_by}" if change.found_by else ""
    yield " ".join([change.action.value, str(change.stripe_id or "-"), *marks]) + found
    if change.reason:
        yield f"  because {change.reason}"
    for call in change.calls:
        yield f"  {_call(call)}"
    for step in change.owes:
        yield f"  {_owed(step)}"
    changed = [f"{part.path}: {_json(part.before)} -> {_json(part.after)}" for part in change.changed]
    if changed:
        yield f"  shows {'; '.join(changed)}"
    yield f"  leaves {_json(change.desired)}"


def _call(call: PlannedCall) -> str:
    where = f" {call.resource}" if call.resource else ""
    return f"{call.operation}{where} {call.target or '-'} {_json(call.params)}"


def _owed(step: Owed) -> str:
    owed = f"owes {step.action.value} {step.resource} {step.target}"
    return f"{owed}: {step.operation} {_json(step.params)} because {step.reason}"


def _json(value: Any) -> str:
    return json.dumps(_plain(value), default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Fingerprint):
        return "(hashed)"
    if isinstance(value, Ref):
        return f"(id of {value.sync} [{value.key}])"
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "items"):
        mapping: Mapping[str, Any] = value
        return {name: _plain(part) for name, part in mapping.items()}
    return value
