"""Reverses the removal of an object whose row is back in its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import look, step_params
from dbt_stripe_sync.engine.payload.compare import same
from dbt_stripe_sync.model.change import PlannedCall
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.lifecycle import ByStatus, Removal, Step
from dbt_stripe_sync.model.objects import object_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.engine.decide.rules import Ask, Observed, Reject, Rules
    from dbt_stripe_sync.engine.payload.builder import Payload
    from dbt_stripe_sync.model.difference import RowDiff


def revival(rules: Rules, diff: RowDiff) -> Mapping[str, Any]:
    """The parameters that reverse the removal in the record."""
    for rule in rules.lifecycle.on_removed.values():
        for step in rule.steps.values() if isinstance(rule, ByStatus) else (rule,):
            if (
                step.revive is not None
                and step.params
                and all(same(diff.params.get(name), value) for name, value in step.params.items())
            ):
                return step.revive
    return {}


def without_revival(payload: Payload, revival: Mapping[str, Any], rules: Rules) -> Payload:
    """The parameters of a new object, for which nothing has to be reversed."""
    return replace(
        payload,
        params={
            name: value for name, value in payload.params.items() if name not in revival or (name,) in rules.mapped
        },
    )


def out_of_archive(rules: Rules, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters that reactivate an adopted archived object, because its row is in the model."""
    step = rules.lifecycle.on_removed.get(Removal.ARCHIVE)
    if not isinstance(step, Step) or not step.revive or not step.params:
        return {}
    return step.revive if all(same(body.get(name), value) for name, value in step.params.items()) else {}


def revivals(rules: Rules) -> list[tuple[ByStatus, Step]]:
    """The removals that are reversed by a method of their own."""
    rules_by_status = [rule for rule in rules.lifecycle.on_removed.values() if isinstance(rule, ByStatus)]
    return [(rule, step) for rule in rules_by_status for step in rule.steps.values() if step.revive_by]


def revival_calls(rules: Rules, diff: RowDiff, body: Mapping[str, Any] | None) -> tuple[PlannedCall, ...]:
    """The call that restores an object, unless its status shows that somebody already did that by hand."""
    if diff.kind is not Kind.RETURNED or body is None:
        return ()
    return tuple(
        PlannedCall(operation=step.revive_by, target=diff.stripe_id, params=step_params(rules, diff, step))
        for rule, step in revivals(rules)
        if step.revive_by and str(object_value(body, rule.status_field)) not in rule.steps
    )


def without_lost_values(rules: Rules, diff: RowDiff, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters in a row's record, without unique values that it wants again: another row may have taken them.

    A value that the row no longer wants stays, so that it is cleared.
    """
    lost = {unique.parameter for unique in rules.lifecycle.uniques if unique.transfer is not None} & wanted.keys()
    if diff.kind is not Kind.RETURNED or not lost:
        return diff.params
    return {name: value for name, value in diff.params.items() if name not in lost}


def object_if_needed(rules: Rules, diff: RowDiff, observed: Observed) -> Mapping[str, Any] | Ask | Reject | None:
    """The object of a returned row if reversing its removal depends on it, or of a record that can't be read."""
    if not (diff.unreadable or (diff.kind is Kind.RETURNED and revivals(rules))):
        return None
    rule = rules.lifecycle.on_removed.get(rules.sync.on_removed)
    return look(rules, diff, observed, diff.stripe_id, rule.expand if isinstance(rule, ByStatus) else ())
