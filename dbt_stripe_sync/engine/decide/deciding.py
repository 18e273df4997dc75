"""One row that differs, as the change that it needs: which calls, with which parameters, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.decide.changes import (
    Decision,
    Existing,
    Rules,
    build_change,
    build_record,
    create_calls,
    is_tagged,
    leaves,
    row_tag,
    step_params,
    update_call,
)
from dbt_stripe_sync.engine.decide.replacing import decide_replaced
from dbt_stripe_sync.engine.decide.retagging import old_tag, retag, untold
from dbt_stripe_sync.engine.payload.builder import Payload, refs_in
from dbt_stripe_sync.engine.payload.compare import compare, same
from dbt_stripe_sync.engine.payload.shown import as_params
from dbt_stripe_sync.engine.payload.windows import check_windows
from dbt_stripe_sync.engine.plan.references import TAG_FIELD, object_value
from dbt_stripe_sync.engine.stage.diff import Kind, RowDiff
from dbt_stripe_sync.model.change import Action, FieldChange, PlannedCall
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import ByStatus, Mode, Removal, Step
from dbt_stripe_sync.model.record import REBUILT
from dbt_stripe_sync.model.tag import TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACTIONS = {
    Removal.DELETE: Action.DELETE,
    Removal.ARCHIVE: Action.ARCHIVE,
    Removal.DEACTIVATE: Action.ARCHIVE,
    Removal.CANCEL: Action.CANCEL,
    Removal.CANCEL_AT_PERIOD_END: Action.CANCEL,
    Removal.VOID: Action.VOID,
}


def decide_present(
    rules: Rules,
    diff: RowDiff,
    payload: Payload,
    existing: Existing | None,
    body: Mapping[str, Any] | None = None,
) -> Decision:
    """What a row of the model needs.

    `body` is the object of one that came back, where `needs_body_back`, and of one whose record can't be compared.
    """
    if payload.problems:
        return Decision(problems=payload.problems)
    if diff.stripe_id is not None:
        known = untold(diff)
        return retag(rules, known, old_tag(rules, diff), _decide_known(rules, known, payload, body))
    if existing is not None:
        return _decide_adopted(rules, diff, payload, existing)
    return _decide_new(rules, diff, payload)


def decide_removed(rules: Rules, diff: RowDiff, body: Mapping[str, Any] | None) -> Decision:
    """What the object of a row that left the model needs. `body` is the object, where the rule asks for its status."""
    rule = rules.lifecycle.on_removed.get(rules.sync.on_removed)
    if rule is None:
        return Decision()
    if isinstance(rule, ByStatus):
        status = str(object_value(body or {}, rule.status_field))
        # One that was deleted by hand has no status: any call then says that it is gone, and the row is done with.
        step = rule.steps.get(status) if body else next(iter(rule.steps.values()))
        if step is None:
            return Decision(kept=f"{rule.otherwise} (its status is `{status}`)")
    else:
        step = rule
    # What no update does leaves the tag as it is, and the record says so on.
    known = untold(diff) if step.operation == "update" else diff
    ours = {} if diff.payload_hash == REBUILT else known.params
    change = replace(
        build_change(rules, diff, _ACTIONS[rules.sync.on_removed], {**ours, **({} if step.gone else step.params)}),
        stripe_id=diff.stripe_id,
        calls=(PlannedCall(operation=step.operation, target=diff.stripe_id, params=step_params(rules, diff, step)),),
        reason="the row left the model",
        removed=True,
        gone=step.gone,
    )
    decision = Decision(change=change)
    return decision if known is diff else retag(rules, known, old_tag(rules, diff), decision)


def decide_ignored(rules: Rules, diff: RowDiff) -> Decision:
    """What the object of a row that left the model needs where it stays as it is: the new name of its sync."""
    known = untold(diff)
    kept = Decision(record=build_record(rules, known, known.params))
    return retag(rules, known, old_tag(rules, diff), kept) if known is not diff else Decision()


def needs_body(rules: Rules) -> bool:
    """Whether a removal depends on the object as it is in Stripe now."""
    return isinstance(rules.lifecycle.on_removed.get(rules.sync.on_removed), ByStatus)


def needs_body_back(rules: Rules) -> bool:
    """Whether what undoes a removal depends on the object as it is in Stripe now."""
    return bool(_revivals(rules))


def _decide_new(rules: Rules, diff: RowDiff, payload: Payload) -> Decision:
    if rules.sync.mode is Mode.UPDATE:
        return Decision(kept="no object of this row was found, and the sync's mode is `update`")
    missing = [
        name
        for name, param in rules.resource.params.items()
        if param.creatable and param.required and name not in payload.params
    ]
    if missing:
        return Decision(problems=tuple(_missing(rules, diff, name) for name in missing))
    outside = tuple(check_windows(payload.params, rules.lifecycle.windows, rules.now, rules.sync.where, diff.key))
    if outside:
        return Decision(problems=outside)
    calls = create_calls(rules, diff.key, payload.params)
    change = replace(
        build_change(rules, diff, Action.CREATE, payload.params),
        calls=calls,
        changed=tuple(FieldChange(path=path, before=None, after=after) for path, after in leaves(payload.params)),
    )
    return Decision(change=change)


def _decide_known(rules: Rules, diff: RowDiff, payload: Payload, body: Mapping[str, Any] | None) -> Decision:
    desired = _as_told_apart(rules, diff, payload.params)
    is_same = same(diff.params, desired) and not any(refs_in(desired))
    if rules.sync.mode is Mode.INSERT and not (is_same and diff.kind is not Kind.RETURNED):
        return Decision(kept="its row has changed since it was written, and the sync's mode is `insert`")
    if diff.kind is Kind.RETURNED:
        desired = {**_revival(rules, diff), **desired}
    if diff.payload_hash == REBUILT or diff.unreadable:
        shown = body if diff.unreadable else diff.params
        existing = Existing(body={**(shown or {}), "id": diff.stripe_id}, by=TAG_FIELD)
        return _decide_adopted(rules, diff, replace(payload, params=desired), existing)
    if diff.kind is not Kind.RETURNED and is_same:
        return Decision(record=build_record(rules, diff, desired))
    comparison = compare(diff.params, replace(payload, params=desired), rules.resource, rules.mapped)
    if comparison.uncleared:
        return Decision(problems=tuple(_uncleared(rules, diff, path) for path in comparison.uncleared))
    if comparison.immutable:
        return decide_replaced(rules, diff, payload, comparison)
    calls = _revival_calls(rules, diff, body)
    if comparison.update:
        calls += (update_call(rules, str(diff.stripe_id), comparison.update, comparison.desired),)
    if not calls:
        return Decision(record=build_record(rules, diff, comparison.desired))
    reason = "the row is back in the model" if diff.kind is Kind.RETURNED else None
    change = replace(
        build_change(rules, diff, Action.UPDATE, comparison.desired),
        stripe_id=diff.stripe_id,
        calls=calls,
        changed=tuple(comparison.changed),
        reason=reason,
    )
    return Decision(change=change)


def _as_told_apart(rules: Rules, diff: RowDiff, params: dict[str, Any]) -> dict[str, Any]:
    """What a row asks for, under the identifier that its object has: another one comes of a new name of its sync."""
    name = rules.lifecycle.key_as
    is_ours = name is not None and (name,) not in rules.mapped and name in diff.params
    return {**params, name: diff.params[name]} if is_ours and name is not None else params


def _decide_adopted(rules: Rules, diff: RowDiff, payload: Payload, existing: Existing) -> Decision:
    body = existing.body
    stripe_id = str(body["id"])
    known = replace(diff, stripe_id=stripe_id, adopted=True)
    if rules.sync.mode is Mode.INSERT and existing.by != TAG_FIELD:
        return Decision(kept=f"its object exists already, found by {existing.by}, and the sync's mode is `insert`")
    payload = replace(payload, params={**_out_of_archive(rules, body), **payload.params})
    seen = as_params(body, payload.params, rules.resource.params)
    if existing.by == TAG_FIELD:
        # We made it ourselves: what Stripe does not show of it is as it was sent.
        seen = {**{name: value for name, value in payload.params.items() if name not in body}, **seen}
    comparison = compare(seen, payload, rules.resource, rules.mapped)
    comparison.immutable = [name for name in comparison.immutable if body.get(name) is not None]
    if comparison.immutable:
        found_by = None if existing.by == TAG_FIELD else existing.by
        return decide_replaced(rules, known, payload, comparison, found_by)
    tagged = same(object_value(body, TAG_FIELD), row_tag(rules, diff.key))
    if not comparison.update and (tagged or not is_tagged(rules)):
        return Decision(record=build_record(rules, known, payload.params))
    update = dict(comparison.update)
    if is_tagged(rules) and not tagged:
        update["metadata"] = {**update.get("metadata", {}), TAG: row_tag(rules, diff.key)}
    change = replace(
        build_change(rules, known, Action.ADOPT, payload.params),
        stripe_id=stripe_id,
        calls=(update_call(rules, stripe_id, update, payload.params),),
        changed=tuple(comparison.changed),
        found_by="our tag" if existing.by == TAG_FIELD else existing.by,
    )
    return Decision(change=change)


def _revival(rules: Rules, diff: RowDiff) -> Mapping[str, Any]:
    """What undoes the removal that the record shows."""
    for rule in rules.lifecycle.on_removed.values():
        for step in rule.steps.values() if isinstance(rule, ByStatus) else (rule,):
            if (
                step.revive is not None
                and step.params
                and all(same(diff.params.get(name), value) for name, value in step.params.items())
            ):
                return step.revive
    return {}


def _out_of_archive(rules: Rules, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What puts an archived object that is adopted back into use: its row is in the model."""
    step = rules.lifecycle.on_removed.get(Removal.ARCHIVE)
    if not isinstance(step, Step) or not step.revive or not step.params:
        return {}
    return step.revive if all(same(body.get(name), value) for name, value in step.params.items()) else {}


def _revivals(rules: Rules) -> list[tuple[ByStatus, Step]]:
    """The removals that a method of its own undoes."""
    rules_by_status = [rule for rule in rules.lifecycle.on_removed.values() if isinstance(rule, ByStatus)]
    return [(rule, step) for rule in rules_by_status for step in rule.steps.values() if step.revive_by]


def _revival_calls(rules: Rules, diff: RowDiff, body: Mapping[str, Any] | None) -> tuple[PlannedCall, ...]:
    """The call that brings an object back, unless somebody has done so by hand: then it has a status to leave again."""
    if diff.kind is not Kind.RETURNED or body is None:
        return ()
    return tuple(
        PlannedCall(operation=step.revive_by, target=diff.stripe_id, params=step_params(rules, diff, step))
        for rule, step in _revivals(rules)
        if step.revive_by and str(object_value(body, rule.status_field)) not in rule.steps
    )


def _missing(rules: Rules, diff: RowDiff, name: str) -> Problem:
    return Problem(
        code="missing-parameter",
        summary=f"`{name}` is null, and Stripe requires it to create a {rules.resource.name}",
        where=rules.sync.where.at_field("fields", name).at_key(diff.key),
        hint="make the column not null, or filter the row out of the model",
    )


def _uncleared(rules: Rules, diff: RowDiff, path: tuple[str, ...]) -> Problem:
    dotted = ".".join(path)
    return Problem(
        code="not-clearable",
        summary=f"`{dotted}` is null now, and Stripe can't empty it",
        where=rules.sync.where.at_field("fields", dotted).at_key(diff.key),
        hint="add `nulls: ignore` to the field to leave it as it is",
    )
