"""Decides on a row whose object was changed in Stripe: which value wins, and what the plan reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import build_record
from dbt_stripe_sync.engine.decide.rules import Ask, Decision, Keep, Refresh, Reject, Row, Rules
from dbt_stripe_sync.engine.payload.compare import compare, same
from dbt_stripe_sync.engine.payload.drift import Drift, DriftedField, find_drift, merge
from dbt_stripe_sync.model.change import Change, FieldChange, Fingerprint
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import Mode
from dbt_stripe_sync.model.plan import DriftedObject
from dbt_stripe_sync.model.sync import OnDrift, WhenEnded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dbt_stripe_sync.engine.payload.builder import Payload
    from dbt_stripe_sync.engine.payload.drift import Path
    from dbt_stripe_sync.model.difference import RowDiff

# The code of the problem of a drifted object.
DRIFTED = "drifted"


def is_over(rules: Rules, diff: RowDiff) -> bool:
    """Whether the object was read back and has ended."""
    return diff.drifted is not None and diff.drifted.get("status") in rules.lifecycle.ended


def versions(rules: Rules, diff: RowDiff, payload: Payload) -> tuple[RowDiff, Payload]:
    """The versions to compare if an object has drifted: the row, the object, and what the object should have.

    `overwrite` restores all values of the row. Otherwise Stripe's value stays if the row's hasn't changed since it was
    last written.
    """
    drift = _drift(rules, diff)
    if drift is None:
        return diff, payload
    seen = replace(diff, params=drift.seen)
    if _overwrites(rules):
        return seen, payload
    merged, _ = merge(dict(diff.params), payload.params, dict(drift.seen))
    return seen, replace(payload, params=merged)


def with_ours(rules: Rules, diff: RowDiff, payload: Payload, decision: Decision) -> Decision:
    """The decision on `versions`, with a record that keeps the row's values. It is held back if both sides changed."""
    drift = _drift(rules, diff)
    if drift is None or _overwrites(rules) or not isinstance(decision, Change | Refresh):
        return decision
    _, clashes = merge(dict(diff.params), payload.params, dict(drift.seen))
    if clashes and rules.sync.on_drift is OnDrift.REPORT:
        return Keep()
    ours = compare(diff.params, payload, rules.resource, rules.mapped).desired
    if isinstance(decision, Change):
        return replace(decision, desired=ours)
    known = replace(diff, stripe_id=decision.record.stripe_id)
    return replace(decision, record=build_record(rules, known, ours))


def drifted_fields(rules: Rules, diff: RowDiff, payload: Payload | None) -> tuple[DriftedField, ...]:
    """The fields of an object that differ from what we wrote. `ours` is what the row asks for now."""
    drift = _drift(rules, diff)
    if drift is None or payload is None:
        return ()
    found = []
    for part in drift.fields:
        asked = _at(payload.params, part.path)
        if not same(asked, part.theirs):
            ours = asked if isinstance(part.ours, Fingerprint | dict | list) and asked is not None else part.ours
            found.append(replace(part, ours=ours))
    return tuple(found)


def drifted_object(rules: Rules, row: Row, decision: Decision) -> DriftedObject | None:
    """What the plan stores about a row whose object was read back and has drifted or ended."""
    diff, sync = row.diff, rules.sync
    if row.payload is None or diff.drift is None or isinstance(decision, Reject | Ask):
        return None
    fields = drifted_fields(rules, diff, row.payload)
    restarts = is_over(rules, diff) and sync.when_ended is WhenEnded.RESTART
    if not fields and not restarts:
        return None
    keeps = sync.on_drift is OnDrift.KEEP or (sync.on_drift is OnDrift.OVERWRITE and not _overwrites(rules))
    return DriftedObject(
        sync=sync.name,
        key=diff.key,
        resource=rules.resource.name,
        stripe_id=str(diff.stripe_id),
        digest=diff.drift,
        changed=tuple(FieldChange(path=".".join(f.path), before=f.ours, after=f.theirs) for f in fields),
        author=diff.drift_author,
        is_reported=bool(fields) and (sync.on_drift is OnDrift.REPORT or (keeps and not diff.is_drift_known)),
    )


def drift_problem(rules: Rules, drifted: DriftedObject, decision: Decision) -> Problem:
    """The problem of an object that has drifted: the names of its fields, without their values."""
    names = list(dict.fromkeys(part.path for part in drifted.changed))
    listed = ", ".join(f"`{name}`" for name in names)
    by = f" ({drifted.author})" if drifted.author is not None else ""
    waits = "" if not isinstance(decision, Keep) else "; the row's own change waits"
    return Problem(
        code=DRIFTED,
        summary=f"{listed} {'was' if len(names) == 1 else 'were'} changed in Stripe{by}{waits}",
        where=rules.sync.where.at_field("fields", names[0]).at_key(drifted.key),
        hint="undo the change in Stripe, or set `on_drift: overwrite` on the sync to write the row's values again,"
        " or `keep` to leave them",
    )


def _drift(rules: Rules, diff: RowDiff) -> Drift | None:
    if diff.drifted is None or diff.missing or is_over(rules, diff):
        return None
    drift = find_drift(diff.params, diff.drifted, rules.resource)
    return drift if drift.fields else None


def _overwrites(rules: Rules) -> bool:
    return rules.sync.on_drift is OnDrift.OVERWRITE and rules.sync.mode is not Mode.INSERT


def _at(params: Mapping[str, Any], path: Path) -> Any:
    value: Any = params
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
