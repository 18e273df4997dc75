"""Rejects rows that change what their object's status has fixed, before Stripe would reject the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import build_record, immutable_problem, reject
from dbt_stripe_sync.engine.decide.rules import Decision, Keep, Refresh, Rules
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.tag import TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.foreseen import Fixed


def keep_fixed(rules: Rules, diff: RowDiff, change: Change, body: Mapping[str, Any]) -> Decision | None:
    """What a row needs instead of `change`, if the status of its object has fixed something that `change` updates."""
    rule = next((rule for rule in rules.lifecycle.fixed if _status(rule, body) in rule.statuses), None)
    if rule is None:
        return None
    fixed = {name: value for name, value in _sent(rules, change).items() if rule.holds(name)}
    if not fixed:
        return None
    spared = {name for name, value in fixed.items() if _is_spared(name, value, body, change)}
    if spared == fixed.keys():
        return _without(rules, diff, change, spared)
    names = [name for name in fixed if name not in spared]
    reason = f"{rule.reason} (its status is `{_status(rule, body)}`)"
    if diff.only_refs:
        # The row itself hasn't changed: what it refers to was replaced, and an object that has ended need not follow.
        listed = ", ".join(f"`{name}`" for name in names)
        return Keep(note=Note(text=f"{listed} refers to a replaced object and stays unchanged: {reason}"))
    problem = immutable_problem(rules, diff, names, reason, "")
    if rule.until is not None:
        problem = replace(problem, hint=f"the next run after {rule.until} sends it")
    return reject(problem)


def may_be_fixed(rules: Rules, change: Change) -> bool:
    """Whether a change updates something that the object's status may have fixed."""
    if change.removed:
        return False
    return any(rule.holds(name) for rule in rules.lifecycle.fixed for name in _sent(rules, change))


def _status(rule: Fixed, body: Mapping[str, Any]) -> str:
    return str(object_value(body, rule.status_field))


def _sent(rules: Rules, change: Change) -> dict[str, Any]:
    """What a change updates on an existing object, without parameters that apply to a single request."""
    updates = [call.params for call in change.calls if call.operation == "update" and call.target is not None]
    request_only = rules.lifecycle.request_only
    return {name: value for params in updates for name, value in params.items() if name not in request_only}


def _is_spared(name: str, value: Any, body: Mapping[str, Any], change: Change) -> bool:
    """Whether a change can omit it: our tag, or a value that an adopted object doesn't return and may already have."""
    is_tag = name == "metadata" and isinstance(value, dict) and value.keys() == {TAG}
    return is_tag or (change.action is Action.ADOPT and name not in body)


def _without(rules: Rules, diff: RowDiff, change: Change, names: set[str]) -> Decision:
    left = replace(
        change,
        calls=tuple(
            replace(call, params={name: value for name, value in call.params.items() if name not in names})
            for call in change.calls
        ),
        changed=tuple(part for part in change.changed if part.path.partition(".")[0] not in names),
    )
    if _sent(rules, left):
        return left
    known = replace(diff, stripe_id=change.stripe_id, adopted=diff.adopted or change.action is Action.ADOPT)
    return Refresh(record=build_record(rules, known, change.desired))
