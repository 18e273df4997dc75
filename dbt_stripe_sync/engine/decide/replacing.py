"""A new object in the place of one that can't be changed, and the end of the old one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.decide.changes import (
    Decision,
    Rules,
    build_change,
    create_calls,
    immutable_problem,
    is_tagged,
    row_tag,
    step_params,
)
from dbt_stripe_sync.engine.plan.references import object_value
from dbt_stripe_sync.model.change import Action, PlannedCall
from dbt_stripe_sync.model.lifecycle import REPLACE, ByStatus, Reject, Replace, Step
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.engine.payload.builder import Payload
    from dbt_stripe_sync.engine.payload.compare import Comparison
    from dbt_stripe_sync.engine.stage.diff import RowDiff
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.sync import Sync


def may_replace(sync: Sync, lifecycle: Lifecycle) -> bool:
    """Whether a changed row of a sync may get another object."""
    return not isinstance(_rule_of(sync, lifecycle), Reject)


def _rule_of(sync: Sync, lifecycle: Lifecycle) -> Replace | Reject:
    """What becomes of an object whose row changes what Stripe can't change."""
    if sync.options.get(REPLACE) is True and lifecycle.replace_if_asked is not None:
        return lifecycle.replace_if_asked
    return lifecycle.when_immutable_changes


def decide_replaced(
    rules: Rules, diff: RowDiff, payload: Payload, comparison: Comparison, found_by: str | None = None
) -> Decision:
    """Let a new object take over where the lifecycle has a way, or reject the row with the reason.

    `found_by` says how the old one was found, where it is not the row's yet.
    """
    rule = _rule_of(rules.sync, rules.lifecycle)
    names = ", ".join(f"`{name}`" for name in comparison.immutable)
    reason = rule.reason if isinstance(rule, Reject) else _cannot_share(rule, payload, comparison)
    if isinstance(rule, Reject) or reason:
        may_ask = isinstance(rule, Reject) and rules.lifecycle.replace_if_asked is not None
        hint = "; `options: {replace: true}` lets a new one take its place" if may_ask else ""
        return Decision(problems=(immutable_problem(rules, diff, comparison.immutable, str(reason), hint),))
    then = rules.lifecycle.on_removed[rule.then]
    params = {**payload.params, **{k: v for k, v in rule.carry_over.items() if _carries(k, payload.params)}}
    change = replace(
        build_change(rules, diff, Action.REPLACE, payload.params),
        stripe_id=diff.stripe_id,
        calls=create_calls(rules, diff.key, params),
        changed=tuple(comparison.changed),
        reason=f"{names} can't be changed, so a new object takes over"
        + (f" from the one that was found by `{found_by}`" if found_by else ""),
    )
    if isinstance(then, ByStatus):
        return Decision(change=change, ends=then)
    given_up = tuple(name for name in rule.gives_up if name in diff.params and name not in payload.params)
    return Decision(change=replace(change, calls=(*change.calls, _end_call(rules, diff, then, given_up))))


def end_replaced(rules: Rules, diff: RowDiff, decision: Decision, body: Mapping[str, Any]) -> Decision:
    """Add the call that ends a replaced object as its status allows, or reject the row where nothing may end it."""
    change, rule = decision.change, decision.ends
    if change is None or rule is None:
        return decision
    step = rule.steps.get(str(object_value(body, rule.status_field)))
    if step is None:
        names = list(dict.fromkeys(part.path.partition(".")[0] for part in change.changed))
        fixed = [name for name in names if rules.resource.params[name].immutable]
        return Decision(problems=(immutable_problem(rules, diff, fixed, rule.otherwise, ""),))
    return Decision(change=replace(change, calls=(*change.calls, _end_call(rules, diff, step))))


def _end_call(rules: Rules, diff: RowDiff, step: Step, gives_up: tuple[str, ...] = ()) -> PlannedCall:
    """The call that ends a replaced object. One that stays to be seen gives our tag up to the new one."""
    is_seen = step.operation == "update" and is_tagged(rules)
    tag = {"metadata": {TAG: "", FORMER_TAG: row_tag(rules, diff.key)}} if is_seen else {}
    params = {**step_params(rules, diff, step), **dict.fromkeys(gives_up, ""), **tag}
    return PlannedCall(operation=step.operation, target=diff.stripe_id, params=params)


def _cannot_share(rule: Replace, payload: Payload, comparison: Comparison) -> str | None:
    """Why a new object can't take over: it would need what the old one still has."""
    shared = [name for name in rule.unless_mapped if name in payload.params and name not in comparison.immutable]
    return f"a new one can't have the same `{shared[0]}` beside it" if shared else None


def _carries(name: str, params: Mapping[str, Any]) -> bool:
    """Whether something is there to be carried over: `transfer_lookup_key` needs a `lookup_key`."""
    return not name.startswith("transfer_") or name.removeprefix("transfer_") in params
