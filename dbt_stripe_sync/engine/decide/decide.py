"""Decides what a row that differs needs.

Every decision is made here, from data alone.

If `decide` answers `Ask`, it is called again with more observed. It remembers nothing between two calls, and does no
I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import (
    build_change,
    build_record,
    look,
    reject,
    tags_to_write,
    uncleared,
    update_call,
)
from dbt_stripe_sync.engine.decide.choose import Existing, choose, has_ended
from dbt_stripe_sync.engine.decide.complete import BlockedByStatus, complete
from dbt_stripe_sync.engine.decide.drift import is_over, versions, with_ours
from dbt_stripe_sync.engine.decide.foresee import foresee
from dbt_stripe_sync.engine.decide.new import decide_new, transfer_uniques
from dbt_stripe_sync.engine.decide.part import decide_part
from dbt_stripe_sync.engine.decide.remove import decide_removed
from dbt_stripe_sync.engine.decide.replace import Replacement, decide_replaced
from dbt_stripe_sync.engine.decide.retag import old_tag, retag, without_old_tag
from dbt_stripe_sync.engine.decide.revive import (
    object_if_needed,
    out_of_archive,
    revival,
    revival_calls,
    without_lost_values,
    without_revival,
)
from dbt_stripe_sync.engine.decide.rules import (
    Ask,
    Decision,
    Keep,
    Observed,
    ReadWhole,
    Refresh,
    Reject,
    Row,
    Rules,
    Unseen,
)
from dbt_stripe_sync.engine.payload.builder import Payload, refs_in
from dbt_stripe_sync.engine.payload.compare import compare, same
from dbt_stripe_sync.engine.payload.kept import without_kept
from dbt_stripe_sync.engine.payload.shown import as_params, with_values_to_clear
from dbt_stripe_sync.model.change import Action, Change
from dbt_stripe_sync.model.difference import Kind, RowDiff
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import Mode
from dbt_stripe_sync.model.objects import TAG_FIELD
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.record import REBUILT
from dbt_stripe_sync.model.sync import OnDeleted, SyncRef, WhenEnded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENDED = "the object has already ended; `when_ended: restart` and `run --refresh` create a new one"


def decide(rules: Rules, row: Row, observed: Observed) -> Decision:
    """What a row needs, or what has to be observed before that can be decided. Pure: no I/O, no memory."""
    return foresee(rules, row.diff.key, _decide(rules, row, observed))


def _decide(rules: Rules, row: Row, observed: Observed) -> Decision:
    if rules.sync.part_of is not None:
        return decide_part(rules, row.diff, row.payload, observed)
    if row.payload is None:
        # If the object is gone, too, nothing is left to do.
        return Keep() if row.diff.missing else decide_removed(rules, row.diff, observed)
    if row.payload.problems:
        return Reject(problems=row.payload.problems)
    if row.diff.stripe_id is None:
        return _decide_unknown(rules, row.diff, row.payload, observed)
    if row.diff.missing:
        return _decide_deleted(rules, row.diff, row.payload, observed)
    return _decide_recorded(rules, row.diff, row.payload, observed)


def _decide_recorded(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision:
    """Decide on a row with a record whose object exists, as far as we know."""
    known = without_old_tag(diff)
    if is_over(rules, known) and rules.sync.when_ended is WhenEnded.RESTART:
        return _decide_restarted(rules, known, payload, observed)
    found, wanted = versions(rules, known, payload)
    decision = with_ours(rules, known, payload, _decide_known(rules, found, wanted, observed))
    if is_over(rules, known) and isinstance(decision, Refresh):
        decision = replace(decision, note=Note(text=ENDED))
    if observed.body is Unseen.MISSING and isinstance(decision, Change | Refresh):
        return _decide_deleted(rules, diff, payload, observed)
    decision = retag(rules, known, old_tag(rules, diff), decision)
    return _complete(rules, known, payload, decision, observed, known.drifted)


def _complete(
    rules: Rules,
    diff: RowDiff,
    payload: Payload,
    decision: Decision,
    observed: Observed,
    shown: Mapping[str, Any] | None = None,
) -> Decision:
    if not isinstance(decision, Change):
        return decision
    done = complete(rules, diff, decision, observed, shown)
    if done is None:
        return _decide_deleted(rules, diff, payload, observed)
    if not isinstance(done, BlockedByStatus):
        return done
    restarts = bool(rules.lifecycle.ended) and rules.sync.when_ended is WhenEnded.RESTART
    if diff.kind is not Kind.RETURNED and not restarts:
        return done.instead
    # It came back to the model, or its sync asks for a new object.
    renewed = without_kept(diff, rules.layout)
    return _decide_without_record(rules, renewed, rules.builder.build(diff.key, renewed.row), observed)


def _decide_without_record(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision:
    """Decide on a row as if it had no record, because its object can't be restored."""
    new = replace(diff, kind=Kind.NEW, stripe_id=None, params={}, payload_hash=None, adopted=False)
    return decide_new(rules, new, payload, observed)


def _decide_deleted(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision:
    """Decide on a row whose object was deleted in Stripe."""
    if rules.sync.on_deleted is OnDeleted.RECREATE:
        change = _decide_without_record(rules, diff, payload, observed)
        reason = f"{diff.stripe_id} was deleted in Stripe, and `on_deleted: recreate` creates a new one"
        return replace(change, reason=reason) if isinstance(change, Change) else change
    if rules.sync.on_deleted is OnDeleted.FORGET:
        return Keep(note=Note(text="the object was deleted in Stripe, and `on_deleted: forget` leaves it deleted"))
    return reject(
        Problem(
            code="object-deleted",
            summary=f"{diff.stripe_id} was deleted in Stripe",
            where=rules.sync.where.at_key(diff.key),
            hint="set `on_deleted: recreate` on the sync to create a new one, or `forget` to leave it deleted",
        )
    )


def _decide_restarted(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision:
    """Decide on a row whose object has ended, and whose sync then asks for a new one."""
    renewed = without_kept(diff, rules.layout)
    if renewed is not diff:
        payload = rules.builder.build(diff.key, renewed.row)
    change = _decide_without_record(rules, renewed, payload, observed)
    reason = f"{diff.stripe_id} has ended in Stripe, and `when_ended: restart` creates a new one"
    return replace(change, reason=reason) if isinstance(change, Change) else change


def _decide_ended(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision | None:
    """A new object for a row whose own object has ended and can't become what it asks for, if the sync restarts it."""
    if rules.sync.when_ended is not WhenEnded.RESTART or not rules.lifecycle.ended:
        return None
    seen = look(rules, diff, observed, diff.stripe_id)
    if isinstance(seen, Ask | Reject):
        return seen
    return _decide_restarted(rules, diff, payload, observed) if has_ended(rules, seen) else None


def _decide_unknown(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision:
    """Decide on a row without a record: Stripe may already have its object."""
    existing = choose(rules, diff, payload.params, observed)
    if isinstance(existing, Ask | Reject):
        return existing
    if existing is None:
        return decide_new(rules, diff, payload, observed)
    if has_ended(rules, existing.body):
        known = replace(diff, stripe_id=str(existing.body["id"]), adopted=True)
        return Refresh(record=build_record(rules, known, payload.params), note=Note(text=ENDED))
    decision = _adopt(rules, diff, payload, existing, observed)
    return _complete(rules, diff, payload, decision, observed, existing.body)


def _adopt(rules: Rules, diff: RowDiff, payload: Payload, existing: Existing, observed: Observed) -> Decision:
    """Compare a row with an existing object, if it isn't known with which parameters it was created."""
    if rules.sync.mode is Mode.INSERT and existing.by != TAG_FIELD:
        note = f"the object exists already, found by {existing.by}, and the sync's mode is `insert`"
        return Keep(note=Note(text=note))
    hidden = tuple(
        name for name in rules.lifecycle.shown_if_asked if name in payload.params and name not in existing.body
    )
    if hidden:
        seen = look(rules, diff, observed, str(existing.body["id"]), (*rules.lifecycle.fixed_expand, *hidden))
        if isinstance(seen, Ask | Reject):
            return seen
        if seen:
            # What Stripe omits although it was asked for isn't set.
            existing = Existing(body={**dict.fromkeys(hidden), **seen}, by=existing.by)
    decision = _decide_adopted(rules, diff, payload, existing, observed)
    return decide_replaced(rules, decision, observed) if isinstance(decision, Replacement) else decision


def _decide_known(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision:
    desired = _with_own_identifier(rules, diff, payload.params)
    is_same = same(diff.params, desired) and not any(refs_in(desired))
    if rules.sync.mode is Mode.INSERT and not (is_same and diff.kind is not Kind.RETURNED):
        note = Note(text="the row has changed since it was written, and the sync's mode is `insert`")
        return Keep(note=note, is_unwritten=True)
    body = object_if_needed(rules, diff, observed)
    if isinstance(body, Ask | Reject):
        return body
    if diff.kind is Kind.RETURNED:
        desired = {**revival(rules, diff), **desired}
    if diff.payload_hash == REBUILT or diff.unreadable:
        shown = body if diff.unreadable else diff.params
        existing = Existing(body={**(shown or {}), "id": diff.stripe_id}, by=TAG_FIELD)
        return _adopt(rules, diff, replace(payload, params=desired), existing, observed)
    if diff.kind is not Kind.RETURNED and is_same:
        return Refresh(record=build_record(rules, diff, desired))
    return _decide_changed(rules, diff, replace(payload, params=desired), body, observed)


def _decide_changed(
    rules: Rules, diff: RowDiff, payload: Payload, body: Mapping[str, Any] | None, observed: Observed
) -> Decision:
    """Decide on a row that asks for other parameters than its record has, or that came back."""
    comparison = compare(without_lost_values(rules, diff, payload.params), payload, rules.resource, rules.mapped)
    if comparison.uncleared:
        return reject(*(uncleared(rules, diff, path) for path in comparison.uncleared))
    if comparison.immutable:
        as_new = without_revival(payload, revival(rules, diff), rules)
        moved = _decide_part_of_replaced(rules, diff, as_new, comparison.immutable, observed)
        if moved is not None:
            return moved
        restarted = _decide_ended(rules, diff, as_new, observed)
        if restarted is not None:
            return restarted
        return decide_replaced(rules, Replacement(diff=diff, payload=as_new, comparison=comparison), observed)
    transfer = transfer_uniques(rules, diff, comparison.update, observed)
    if isinstance(transfer, Ask):
        return transfer
    calls = revival_calls(rules, diff, body)
    if comparison.update:
        update = {**comparison.update, **transfer}
        calls += (update_call(rules, str(diff.stripe_id), update, comparison.desired),)
    if not calls:
        return Refresh(record=build_record(rules, diff, comparison.desired))
    reason = "the row is back in the model" if diff.kind is Kind.RETURNED else None
    return replace(
        build_change(rules, diff, Action.UPDATE, comparison.desired),
        stripe_id=diff.stripe_id,
        calls=calls,
        changed=tuple(comparison.changed),
        reason=reason,
        before=diff.params if len(calls) > 1 else {},
    )


def _decide_part_of_replaced(
    rules: Rules, diff: RowDiff, payload: Payload, immutable: Sequence[str], observed: Observed
) -> Decision | None:
    """A new object for a row whose object is part of another one that was replaced: it ends together with that one."""
    whole = rules.lifecycle.part_of
    is_ours = any(mapping.path == (whole,) and isinstance(mapping.value, SyncRef) for mapping in rules.sync.fields)
    if whole is None or whole not in immutable or not is_ours:
        return None
    former = str(diff.params.get(whole))
    if observed.whole_is_left is None:
        return Ask(need=ReadWhole(stripe_id=former))
    if not observed.whole_is_left:
        return None
    change = _decide_without_record(rules, diff, payload, observed)
    reason = f"the {whole} that it was part of ({former}) was replaced"
    return replace(change, reason=reason) if isinstance(change, Change) else change


def _with_own_identifier(rules: Rules, diff: RowDiff, params: dict[str, Any]) -> dict[str, Any]:
    """The row's parameters, with the identifier that its object has. A different one comes from a renamed sync."""
    name = rules.lifecycle.key_as
    is_ours = name is not None and (name,) not in rules.mapped and name in diff.params
    return {**params, name: diff.params[name]} if is_ours and name is not None else params


def _decide_adopted(
    rules: Rules, diff: RowDiff, payload: Payload, existing: Existing, observed: Observed
) -> Decision | Replacement:
    body = existing.body
    stripe_id = str(body["id"])
    known = replace(diff, stripe_id=stripe_id, adopted=True)
    back_in_use = out_of_archive(rules, body)
    payload = replace(payload, params={**back_in_use, **payload.params})
    seen = as_params(body, payload.params, rules.resource.params)
    if existing.by == TAG_FIELD:
        # The sync created it: values that Stripe doesn't return are as they were sent. A unique value is always
        # returned, unless another object has taken it over.
        uniques = {unique.parameter for unique in rules.lifecycle.uniques}
        unseen = {name: value for name, value in payload.params.items() if name not in body and name not in uniques}
        seen = {**unseen, **seen}
        seen = with_values_to_clear(seen, body, payload)
    comparison = compare(seen, payload, rules.resource, rules.mapped)
    # Values that the object doesn't return may already be right, unless they were asked for.
    asked = body.keys() & set(rules.lifecycle.shown_if_asked)
    comparison.immutable = [
        path for path in comparison.immutable if path.partition(".")[0] in asked or _shows(body, path)
    ]
    if comparison.immutable:
        found_by = None if existing.by == TAG_FIELD else existing.by
        as_new = without_revival(payload, back_in_use, rules)
        return Replacement(diff=known, payload=as_new, comparison=comparison, found_by=found_by)
    tags = tags_to_write(rules, diff.key, body)
    if not comparison.update and not tags:
        return Refresh(record=build_record(rules, known, payload.params))
    transfer = transfer_uniques(rules, known, comparison.update, observed)
    if isinstance(transfer, Ask):
        return transfer
    update = {**comparison.update, **transfer}
    if tags:
        update["metadata"] = {**update.get("metadata", {}), **tags}
    return replace(
        build_change(rules, known, Action.ADOPT, payload.params),
        stripe_id=stripe_id,
        calls=(update_call(rules, stripe_id, update, payload.params),),
        changed=tuple(comparison.changed),
        found_by="its tag" if existing.by == TAG_FIELD else existing.by,
    )


def _shows(body: Mapping[str, Any], path: str) -> bool:
    """Whether an object returns a parameter, by the parameter's dotted path; a list counts as a whole."""
    value: Any = body
    for step in path.split("."):
        if isinstance(value, list) or (isinstance(value, dict) and value.get("object") == "list"):
            return True
        value = value.get(step) if isinstance(value, dict) else None
    return value is not None
