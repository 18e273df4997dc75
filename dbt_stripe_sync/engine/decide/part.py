"""Decides on the separate step of a sync: parameters that are set on an object after another sync has created it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import build_change, build_record, look, reject, uncleared, update_call
from dbt_stripe_sync.engine.decide.complete import filled, partly_updated
from dbt_stripe_sync.engine.decide.drift import versions, with_ours
from dbt_stripe_sync.engine.decide.rules import Ask, Decision, Keep, Observed, Refresh, Reject, Rules
from dbt_stripe_sync.engine.payload.builder import Payload, object_of, refs_in
from dbt_stripe_sync.engine.payload.compare import compare, same
from dbt_stripe_sync.engine.payload.shown import as_params
from dbt_stripe_sync.model.change import Action, Change, NewFields, PlannedCall, Ref, change_id
from dbt_stripe_sync.model.plan import Note

if TYPE_CHECKING:
    from dbt_stripe_sync.model.difference import RowDiff


def decide_part(rules: Rules, diff: RowDiff, payload: Payload | None, observed: Observed) -> Decision:
    """Set the row's values on the object of the main sync, once that exists."""
    if payload is None:
        return Keep()
    if payload.problems:
        return Reject(problems=payload.problems)
    target = object_of(rules.sync, rules.layout, diff.row)
    if target is None:
        return Keep(note=Note(text=f"waits for the object of `{rules.sync.part_of}`"))
    if isinstance(target, Ref):
        return _set(rules, diff, payload, target)
    known = replace(diff, stripe_id=target)
    if diff.stripe_id == target and diff.missing:
        return Keep()  # the main sync decides what happens if its object was deleted
    if diff.stripe_id == target and not diff.unreadable:
        found, wanted = versions(rules, known, payload)
        if same(found.params, wanted.params) and not any(refs_in(wanted.params)):
            decision: Decision = Refresh(record=build_record(rules, known, wanted.params))
        else:
            decision = update_part(rules, found, wanted)
        return completed(rules, known, with_ours(rules, known, payload, decision), observed)
    seen = look(rules, known, observed, target)
    if isinstance(seen, Ask | Reject):
        return seen
    shown = as_params(seen, payload.params, rules.resource.params)
    return completed(rules, known, update_part(rules, replace(known, params=shown), payload), observed)


def completed(rules: Rules, diff: RowDiff, decision: Decision, observed: Observed) -> Decision:
    """The same change, with the parts of its hashes that it doesn't set.

    If the object is gone, the main sync handles that.
    """
    if not isinstance(decision, Change) or not partly_updated(rules, decision):
        return decision
    seen = look(rules, diff, observed, decision.stripe_id)
    if isinstance(seen, Ask | Reject):
        return seen
    return filled(rules, decision, seen) if seen else Keep()


def _set(rules: Rules, diff: RowDiff, payload: Payload, target: Ref) -> Decision:
    """Set parameters on an object that this plan creates."""
    if not payload.params:
        return Keep()
    change = build_change(rules, diff, Action.UPDATE, payload.params)
    return replace(
        change,
        calls=(PlannedCall(operation="update", target=target, params=payload.params),),
        changed=NewFields(payload.params),
        depends_on=(*change.depends_on, change_id(target.sync, target.key)),
    )


def update_part(rules: Rules, diff: RowDiff, payload: Payload) -> Decision:
    """The update that changes an object from a part's last written values to its current ones."""
    comparison = compare(diff.params, payload, rules.resource, rules.mapped)
    if comparison.uncleared:
        return reject(*(uncleared(rules, diff, path) for path in comparison.uncleared))
    if not comparison.update:
        return Refresh(record=build_record(rules, diff, comparison.desired))
    return replace(
        build_change(rules, diff, Action.UPDATE, comparison.desired),
        stripe_id=diff.stripe_id,
        calls=(update_call(rules, str(diff.stripe_id), comparison.update, comparison.desired),),
        changed=tuple(comparison.changed),
    )
