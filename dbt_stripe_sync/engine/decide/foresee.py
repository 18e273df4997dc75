"""Rejects changes that Stripe would reject by its documented rules, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.decide.rules import Decision, Reject, Rules
from dbt_stripe_sync.engine.payload.foresee import problem_of
from dbt_stripe_sync.model.change import Action, Change
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import CREATE, finishes_asked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.model.lifecycle import Finish
    from dbt_stripe_sync.model.sync import Sync


def foresee(rules: Rules, key: str, decision: Decision) -> Decision:
    """The same decision, or a rejection if one of its calls breaks a rule.

    The row's values were checked when its payload was built. This checks times, and what only applies to updates.
    """
    if not isinstance(decision, Change) or decision.removed:
        return decision
    problems = tuple(dict.fromkeys(_problems(rules, key, decision)))
    return Reject(problems=problems) if problems else decision


def _problems(rules: Rules, key: str, change: Change) -> Iterator[Problem]:
    now = int(rules.now.timestamp())
    for call in change.calls:
        is_new = call.operation == CREATE
        # The values of a new object are the row's values, which were already checked.
        checked = is_new and change.action is Action.CREATE
        known = {} if is_new else change.desired
        for violation in rules.resource.broken_rules(
            call.operation, call.params, now=now, known=known, skips_limits=checked
        ):
            yield problem_of(violation, rules.sync.where.at_key(key))
        if call.creates:
            for finish in finishes_asked(rules.lifecycle.finishes, rules.sync.options):
                yield from check_finish(rules.sync, key, finish, call.params)


def check_finish(sync: Sync, key: str, finish: Finish, params: Mapping[str, Any]) -> Iterator[Problem]:
    """A problem if an object lacks something that it needs to be finalized."""
    names = finish.lacking(params)
    if names:
        yield Problem(
            code="stripe-rule",
            summary=f"`{names[0]}` is needed before `{finish.name}`, and this row has none",
            where=sync.where.at_field("fields", names[0]).at_key(key),
            hint=f"give the row one, or leave it out of this sync; see {finish.needs_source}",
        )
