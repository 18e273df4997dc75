"""Decides how to reverse what a run did to a row's object, or why that isn't possible.

It mostly asks `decide`, with the values from before the run. An update becomes the update back. A created object is
removed, as if its row had left the model. An archived object returns, as if its row had come back. Only a replacement
has its own rule, since another new object wouldn't reverse it.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import build_change, is_tagged, look, row_tag, update_call
from dbt_stripe_sync.engine.decide.decide import decide
from dbt_stripe_sync.engine.decide.part import completed, update_part
from dbt_stripe_sync.engine.decide.replace import Replacement, end_call, holders_to_move, owed_end, rule_of
from dbt_stripe_sync.engine.decide.revive import revival
from dbt_stripe_sync.engine.decide.rules import Ask, Decision, Keep, Observed, Refresh, Reject, Row, Rules
from dbt_stripe_sync.engine.payload.builder import Payload
from dbt_stripe_sync.engine.payload.compare import Comparison, same
from dbt_stripe_sync.engine.payload.drift import find_drift
from dbt_stripe_sync.engine.payload.restoring import before_change, has_unstored, path_of_field, refs_before
from dbt_stripe_sync.model.change import REMOVALS, Action, Change, FieldChange, PlannedCall
from dbt_stripe_sync.model.counting import with_article
from dbt_stripe_sync.model.difference import Kind, RowDiff
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import MOVE_HOLDERS, Mode, NotReplaced, Removal, Step
from dbt_stripe_sync.model.objects import TAG_FIELD
from dbt_stripe_sync.model.sync import OnDeleted
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dbt_stripe_sync.model.record import Record

# The code of the problem of a row that can't be restored completely.
CANNOT_UNDO = "cannot-undo"
NOT_STORED = "the state doesn't store its values (`store_values: false`), so what was there before is unknown"


class DoneByRun(Struct, frozen=True, kw_only=True):
    """What a run did to a row, and what is known of the row now.

    `is_unchanged` says that nothing has written the row's record since. If the run replaced an object, `former` is the
    old object as it is now: empty if Stripe no longer has it, None if it did not answer. `is_owed` says that a step on
    it is still owed.
    """

    run_id: str
    change: Change
    stripe_id: str
    record: Record | None
    is_unchanged: bool
    former: Mapping[str, Any] | None = None
    is_owed: bool = False


def decide_undone(rules: Rules, done: DoneByRun, observed: Observed) -> Decision:
    """The change that reverses what a run did to a row, or a `Keep` if that is already reversed."""
    change, record = done.change, done.record
    if change.action in REMOVALS and change.gone:
        return cannot(rules, change.key, f"{change.stripe_id} was {_PAST[change.action]}, which Stripe can't reverse")
    if record is None or _is_undone(rules, done, record):
        return Keep()
    if not done.is_unchanged or record.stripe_id != done.stripe_id:
        return cannot(rules, change.key, f"a later run has changed {record.stripe_id}")
    rules = _as_undoing(rules, done)
    diff = _diff(done, record)
    if change.action is Action.CREATE and removal_of_new(rules, change) is None:
        what = with_article(rules.resource.name)
        return cannot(rules, diff.key, f"Stripe can't remove {what} once it is created ({diff.stripe_id})")
    drifted = _has_moved(rules, diff, observed)
    if drifted is not None:
        return drifted
    return _way_back(change)(rules, done, diff, observed)


def _way_back(change: Change) -> Callable[[Rules, DoneByRun, RowDiff, Observed], Decision]:
    if change.action is Action.CREATE:
        return _removed
    if change.action in REMOVALS:
        return _returned
    reviving = next((call.operation for call in change.calls if call.operation != "update"), None)
    if change.action is Action.UPDATE and reviving is not None:
        return lambda rules, *_: cannot(rules, change.key, f"`{reviving}` of {change.stripe_id} can't be reversed")
    if has_unstored(change.changed):
        return lambda rules, *_: cannot(rules, change.key, NOT_STORED)
    return _put_back if change.action is Action.REPLACE else _restored


_PAST = {
    Action.DELETE: "deleted",
    Action.CANCEL: "canceled",
    Action.VOID: "voided",
    Action.ARCHIVE: "ended",
}


def cannot(rules: Rules, key: str, reason: str) -> Reject:
    """The problem of a row that can't be restored, with the reason."""
    return Reject(problems=(Problem(code=CANNOT_UNDO, summary=reason, where=rules.sync.where.at_key(key)),))


def _is_undone(rules: Rules, done: DoneByRun, record: Record) -> bool:
    """Whether an interrupted undo has already restored this row."""
    change = done.change
    if change.action is Action.CREATE:
        return record.removed
    if change.action is Action.REPLACE:
        return record.stripe_id == change.stripe_id
    if change.action in REMOVALS:
        return not record.removed and record.stripe_id == change.stripe_id
    changed = [part for part in change.changed if part.path != TAG_FIELD]
    return bool(changed) and same(record.params, before_change(change.desired, changed, rules.resource.params))


def _diff(done: DoneByRun, record: Record) -> RowDiff:
    """The row with the values of its record. The row's hash is left out, so that the next plan compares it again."""
    return RowDiff(
        kind=Kind.CHANGED,
        key=record.key,
        row={},
        source_hash=None,
        refs=refs_before(record.refs, done.change.changed) if done.change.action is not Action.CREATE else record.refs,
        stripe_id=record.stripe_id,
        params=record.params,
        payload_hash=record.payload_hash,
        adopted=record.adopted,
    )


def _as_undoing(rules: Rules, done: DoneByRun) -> Rules:
    """The sync's rules without its row policies: only the way back counts, for every field that changed."""
    options = {name: value for name, value in rules.sync.options.items() if name == MOVE_HOLDERS}
    sync = replace(rules.sync, mode=Mode.UPSERT, on_deleted=OnDeleted.REJECT, options=options)
    builder = copy(rules.builder)
    fields = frozenset(path_of_field(part.path, rules.resource.params) for part in done.change.changed)
    builder.mapped = rules.builder.mapped | fields
    return replace(rules, sync=sync, builder=builder)


def _has_moved(rules: Rules, diff: RowDiff, observed: Observed) -> Ask | Reject | None:
    """Whether the object was changed since, so that it is left alone."""
    if "retrieve" not in rules.resource.operations:
        return cannot(rules, diff.key, f"Stripe doesn't show {diff.stripe_id}, so it isn't known what changed since")
    body = look(rules, diff, observed, diff.stripe_id, rules.lifecycle.shown_if_asked)
    if isinstance(body, Ask | Reject):
        return body
    if not body or body.get("deleted"):
        return cannot(rules, diff.key, f"{diff.stripe_id} was deleted in Stripe")
    if body.get("status") in rules.lifecycle.ended:
        return cannot(rules, diff.key, f"{diff.stripe_id} has ended in Stripe")
    fields = find_drift(diff.params, body, rules.resource).fields
    if not fields:
        return None
    names = ", ".join(dict.fromkeys(f"`{'.'.join(field.path)}`" for field in fields))
    return cannot(rules, diff.key, f"{names} of {diff.stripe_id} was changed in Stripe since")


# ── what was created ─────────────────────────────────────────────────────────────────────────────────────────────


def removal_of_new(rules: Rules, change: Change) -> Removal | None:
    """How to remove an object that a run created: if possible, in a way that can itself be undone."""
    lifecycle = rules.lifecycle
    kept = next((removal for name, removal in lifecycle.undone_from.items() if name in change.desired), None)
    if kept is not None:
        return kept
    ways = sorted(lifecycle.on_removed, key=lambda removal: removal in lifecycle.permanent)
    return lifecycle.undone_by or next(iter(ways), None)


def _removed(rules: Rules, done: DoneByRun, diff: RowDiff, observed: Observed) -> Decision:
    removal = removal_of_new(rules, done.change) or Removal.IGNORE
    rules = replace(rules, sync=replace(rules.sync, on_removed=removal))
    gone = replace(diff, kind=Kind.REMOVED)
    return _explained(rules, done, decide(rules, Row(diff=gone, payload=None), observed), set(REMOVALS))


# ── what was archived ────────────────────────────────────────────────────────────────────────────────────────────


def _returned(rules: Rules, done: DoneByRun, diff: RowDiff, observed: Observed) -> Decision:
    back = replace(diff, kind=Kind.RETURNED)
    revived = revival(rules, back)
    wanted = {name: value for name, value in diff.params.items() if name not in revived}
    payload = Payload(params=wanted, absent={}, problems=())
    return _explained(rules, done, decide(rules, Row(diff=back, payload=payload), observed), {Action.UPDATE})


# ── what was updated or adopted ──────────────────────────────────────────────────────────────────────────────────


def _restored(rules: Rules, done: DoneByRun, diff: RowDiff, observed: Observed) -> Decision:
    changed = [part for part in done.change.changed if part.path != TAG_FIELD]
    before = before_change(diff.params, changed, rules.resource.params)
    payload = Payload(params=before, absent={}, problems=())
    if rules.sync.part_of is not None:
        decision = completed(rules, diff, update_part(rules, diff, payload), observed)
    else:
        decision = decide(rules, Row(diff=diff, payload=payload), observed)
    if done.change.action is Action.ADOPT:
        decision = _unadopt(rules, diff, decision)
    elif isinstance(decision, Change) and _was_removed(rules, done, replace(diff, params=before)):
        decision = replace(decision, removed=True)
    return _explained(rules, done, decision, {Action.UPDATE})


def _was_removed(rules: Rules, done: DoneByRun, before: RowDiff) -> bool:
    """Whether the run had restored the object of a row that came back to the model."""
    restored = revival(rules, before).keys() & {part.path for part in done.change.changed}
    return bool(restored) and restored.isdisjoint(mapping.path[0] for mapping in rules.sync.fields)


def _unadopt(rules: Rules, diff: RowDiff, decision: Decision) -> Decision:
    """An adopted object as it was found, without its tag and record."""
    if not isinstance(decision, Change | Refresh):
        return decision
    if isinstance(decision, Refresh):
        if not is_tagged(rules):
            return Keep()
        decision = replace(
            build_change(rules, diff, Action.UPDATE, diff.params),
            stripe_id=diff.stripe_id,
            calls=(update_call(rules, str(diff.stripe_id), {}, diff.params),),
        )
    calls, changed = decision.calls, decision.changed
    if is_tagged(rules):
        last = calls[-1]
        untagged = {**last.params, "metadata": {**last.params.get("metadata", {}), TAG: ""}}
        calls = (*calls[:-1], replace(last, params=untagged))
        tag = FieldChange(path=TAG_FIELD, before=row_tag(rules, diff.key), after=None)
        changed = (*changed, tag)
    return replace(decision, calls=calls, changed=changed, removed=True, gone=True)


# ── what was replaced ────────────────────────────────────────────────────────────────────────────────────────────


def _put_back(rules: Rules, done: DoneByRun, diff: RowDiff, observed: Observed) -> Decision:
    """The replaced object in use again, with the values that it gave up; the new object ends as the old one did."""
    old, new = str(done.change.stripe_id), str(diff.stripe_id)
    rule = rule_of(rules.sync, rules.lifecycle)
    step = None if isinstance(rule, NotReplaced) else rules.lifecycle.on_removed.get(rule.then)
    if isinstance(rule, NotReplaced) or not isinstance(step, Step) or step.revive is None:
        return cannot(rules, diff.key, f"{old} has ended, and {new} has replaced it permanently")
    lost = _why_it_stays_ended(done, step)
    if lost is not None:
        return cannot(rules, diff.key, lost)
    body = look(rules, diff, observed, new, tuple(by for held in rules.lifecycle.held_by if (by := held.named_by)))
    if isinstance(body, Ask | Reject):
        return body
    before = before_change(diff.params, done.change.changed, rules.resource.params)
    asked = Replacement(diff=diff, payload=Payload(params=before, absent={}, problems=()), comparison=Comparison())
    moves = holders_to_move(rules, asked, body, observed)
    if isinstance(moves, Ask):
        return moves
    if isinstance(moves, Reject):
        return cannot(rules, diff.key, moves.problems[0].summary)
    given = {name: before[name] for name in rule.gives_up if name in before}
    carried = {
        name: value for name, value in rule.carry_over.items() if given.get(name.removeprefix("transfer_")) is not None
    }
    tag = {"metadata": {TAG: row_tag(rules, diff.key), FORMER_TAG: ""}} if is_tagged(rules) else {}
    revive = PlannedCall(operation="update", target=old, params={**step.revive, **given, **carried, **tag})
    owed = owed_end(rules, diff, rule, end_call(rules, diff, step), f"{old} is restored")
    return replace(
        build_change(rules, diff, Action.UPDATE, before, calls=(revive,)),
        stripe_id=old,
        changed=tuple(FieldChange(path=p.path, before=p.after, after=p.before) for p in done.change.changed),
        reason=f"restored: undoes run {done.run_id}",
        owes=(*moves, owed),
    )


def _why_it_stays_ended(done: DoneByRun, step: Step) -> str | None:
    """Why a replaced object can't be in use again, or None if it can."""
    old, revive = done.change.stripe_id, step.revive or {}
    if done.is_owed:
        return f"a step on {old} is still owed: `run` does it, `state settle` drops it"
    if done.former is None:
        return f"{old} could not be read from Stripe; run it again"
    if not done.former or done.former.get("deleted"):
        return f"{old} was deleted in Stripe"
    if not all(same(done.former.get(name), value) for name, value in step.params.items()):
        return f"{old} was changed in Stripe since"
    if any(part.path in revive and part.before != revive[part.path] for part in done.change.changed):
        return f"{old} was not in use before the run either"
    return None


# ── what comes of it ─────────────────────────────────────────────────────────────────────────────────────────────


def _explained(rules: Rules, done: DoneByRun, decision: Decision, expected: set[Action]) -> Decision:
    """The change with its reason. If the row's rules don't give one, explain why."""
    if isinstance(decision, Reject):
        return cannot(rules, done.change.key, decision.problems[0].summary)
    if isinstance(decision, Keep) and decision.note is not None:
        return cannot(rules, done.change.key, f"{done.stripe_id}: {decision.note.text}")
    if not isinstance(decision, Change):
        return decision
    if decision.action not in expected:
        names = ", ".join(f"`{part.path}`" for part in decision.changed)
        return cannot(rules, done.change.key, f"{names} can't be changed back on {done.stripe_id}")
    return replace(decision, reason=f"undoes run {done.run_id}")
