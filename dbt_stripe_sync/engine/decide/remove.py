"""Decides what happens to the object of a row that left the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import (
    ACTIONS,
    build_change,
    build_record,
    look,
    reject,
    reject_unanswered,
    step_params,
)
from dbt_stripe_sync.engine.decide.retag import old_tag, retag, without_old_tag
from dbt_stripe_sync.engine.decide.rules import (
    Ask,
    Decision,
    Keep,
    Observed,
    ReadHoldings,
    Refresh,
    Reject,
    Rules,
    Unseen,
)
from dbt_stripe_sync.model.change import PlannedCall
from dbt_stripe_sync.model.counting import with_article
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import ByStatus, Removal, Step
from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.record import REBUILT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.engine.decide.rules import Holding
    from dbt_stripe_sync.model.difference import RowDiff


def decide_removed(rules: Rules, diff: RowDiff, observed: Observed) -> Decision:
    """Decide what the object of a row that left the model needs."""
    if rules.sync.on_removed is Removal.IGNORE:
        return _decide_ignored(rules, diff)
    rule = rules.lifecycle.on_removed.get(rules.sync.on_removed)
    if rule is None:
        return Keep()
    step = _step(rules, rule, diff, observed) if isinstance(rule, ByStatus) else rule
    if not isinstance(step, Step):
        return step
    waits = _why_it_stays(rules, diff, step, observed) or _why_it_waits(rules, diff, step, observed)
    if waits is not None:
        return waits
    # An object that can't be updated keeps its old tag, and so does its record.
    known = without_old_tag(diff) if step.operation == "update" else diff
    left = {**known.params, **({} if step.gone else step.params)}
    change = replace(
        build_change(rules, diff, ACTIONS[rules.sync.on_removed], left),
        stripe_id=diff.stripe_id,
        calls=(PlannedCall(operation=step.operation, target=diff.stripe_id, params=step_params(rules, diff, step)),),
        reason="the row left the model",
        removed=True,
        gone=step.gone,
        rebuilt=diff.payload_hash == REBUILT,
    )
    return change if known is diff else retag(rules, known, old_tag(rules, diff), change)


def _decide_ignored(rules: Rules, diff: RowDiff) -> Decision:
    """The object stays unchanged: no change, or only the new name of its sync."""
    known = without_old_tag(diff)
    kept = Refresh(record=build_record(rules, known, known.params))
    return retag(rules, known, old_tag(rules, diff), kept) if known is not diff else Keep()


def _step(rules: Rules, rule: ByStatus, diff: RowDiff, observed: Observed) -> Step | Ask | Reject | Keep:
    """The step for the object's status."""
    body = look(rules, diff, observed, diff.stripe_id, rule.expand)
    if isinstance(body, Ask | Reject):
        return body
    status = str(object_value(body, rule.status_field))
    # An object that was deleted by hand has no status. Any call then reports that it is gone, and the row is done.
    step = rule.steps.get(status) if body else next(iter(rule.steps.values()))
    return step or Keep(note=Note(text=f"{rule.otherwise} (its status is `{status}`)"))


def _why_it_stays(rules: Rules, diff: RowDiff, step: Step, observed: Observed) -> Ask | Reject | None:
    """The objects that belong to an object, so that Stripe refuses to delete it."""
    kept_by = rules.lifecycle.kept_by
    if step.operation != "delete" or not kept_by:
        return None
    if observed.holdings is None:
        return Ask(need=ReadHoldings(stripe_id=str(diff.stripe_id), rules=kept_by))
    if isinstance(observed.holdings, Unseen):
        return reject_unanswered(rules, diff.key)
    return reject(_keeps(rules, diff, observed.holdings)) if observed.holdings else None


def _keeps(rules: Rules, diff: RowDiff, holdings: Sequence[Holding]) -> Problem:
    first, name = holdings[0], rules.resource.name
    more = f" and {len(holdings) - 1:,} more" if len(holdings) > 1 else ""
    return Problem(
        code="stripe-rule",
        summary=f"{diff.stripe_id} can't be deleted: Stripe keeps {with_article(name)} with "
        f"{with_article(first.resource)}, and it has {first.stripe_id}{more}",
        where=rules.sync.where.at_field("on_removed").at_key(diff.key),
        hint=f"set `on_removed: archive`; see docs.stripe.com/api/{name}s/delete",
    )


def _why_it_waits(rules: Rules, diff: RowDiff, step: Step, observed: Observed) -> Ask | Reject | Keep | None:
    """What a permanent removal would also end: objects that others created, and those that end later by themselves."""
    if not step.gone or not rules.lifecycle.ends_with_it:
        return None
    if observed.holdings is None:
        return Ask(need=ReadHoldings(stripe_id=str(diff.stripe_id), rules=rules.lifecycle.ends_with_it))
    if isinstance(observed.holdings, Unseen):
        return reject_unanswered(rules, diff.key)
    foreign = [holding for holding in observed.holdings if not holding.ours]
    if foreign:
        return reject(*(_would_end(rules, diff, holding) for holding in foreign))
    leaving = next((holding for holding in observed.holdings if holding.leaving), None)
    if leaving is None:
        return None
    return Keep(
        note=Note(text=f"waits until its {leaving.resource} has ended, because the removal would end it immediately")
    )


def _would_end(rules: Rules, diff: RowDiff, holding: Holding) -> Problem:
    return Problem(
        code="ends-with-it",
        summary=f"{holding.stripe_id}, which no sync writes, is {with_article(holding.resource)} of this "
        f"{rules.resource.name} and would end with it",
        where=rules.sync.where.at_field("on_removed").at_key(diff.key),
        hint=f"end the {holding.resource} in Stripe first, or set `on_removed: ignore`",
    )
