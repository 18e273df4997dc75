"""A change that Stripe would refuse by its own documented rules, rejected before anything of it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.decide.rules import Decision, Reject, Rules
from dbt_stripe_sync.engine.payload.foresee import problem_of
from dbt_stripe_sync.model.change import Change
from dbt_stripe_sync.model.lifecycle import CREATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.model.errors import Problem


def foresee(rules: Rules, key: str, decision: Decision) -> Decision:
    """The same decision, or a rejection where a call of it breaks a rule.

    The row's values were looked at when its payload was built; here come the times, and what an update alone needs.
    """
    if not isinstance(decision, Change) or decision.removed:
        return decision
    problems = tuple(dict.fromkeys(_problems(rules, key, decision)))
    return Reject(problems=problems) if problems else decision


def _problems(rules: Rules, key: str, change: Change) -> Iterator[Problem]:
    now = int(rules.now.timestamp())
    for call in change.calls:
        known = {} if call.operation == CREATE else change.desired
        for violation in rules.resource.broken_rules(call.operation, call.params, now=now, known=known):
            yield problem_of(violation, rules.sync.where.at_key(key))
