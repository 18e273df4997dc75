"""Replaces an object that can't be changed with a new one, and ends the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import (
    ACTIONS,
    build_change,
    create_calls,
    immutable_problem,
    is_tagged,
    look,
    reject,
    reject_unanswered,
    row_tag,
    step_params,
)
from dbt_stripe_sync.engine.decide.rules import Ask, Decision, Keep, Observed, ReadHoldings, Reject, Rules, Unseen
from dbt_stripe_sync.engine.payload.compare import same
from dbt_stripe_sync.model.change import ENDS_FIRST, Action, Owed, PlannedCall, Ref, change_id, nested
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import MOVE_HOLDERS, REPLACE, ByStatus, NotReplaced
from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.record import NO_TAG, TAGGED_AS
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.decide.rules import Holding
    from dbt_stripe_sync.engine.payload.builder import Payload
    from dbt_stripe_sync.engine.payload.compare import Comparison
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.lifecycle import Lifecycle, Replace, Step
    from dbt_stripe_sync.model.sync import Sync


class Replacement(Struct, frozen=True, kw_only=True):
    """A row that asks for what its object can't become.

    `found_by` says how the object was found, if it isn't recorded.
    """

    diff: RowDiff
    payload: Payload
    comparison: Comparison
    found_by: str | None = None


def may_replace(sync: Sync, lifecycle: Lifecycle) -> bool:
    """Whether a changed row of a sync may get a new object."""
    return not isinstance(rule_of(sync, lifecycle), NotReplaced)


def rule_of(sync: Sync, lifecycle: Lifecycle) -> Replace | NotReplaced:
    """The rule for a row that changes an immutable parameter."""
    if sync.options.get(REPLACE) is True and lifecycle.replace_if_asked is not None:
        return lifecycle.replace_if_asked
    return lifecycle.when_immutable_changes


def decide_replaced(rules: Rules, asked: Replacement, observed: Observed) -> Decision:
    """Replace the object if the lifecycle allows it, or reject the row with the reason."""
    rule = rule_of(rules.sync, rules.lifecycle)
    if isinstance(rule, NotReplaced):
        return _stays(rules, asked, rule)
    then = rules.lifecycle.on_removed[rule.then]
    body: Mapping[str, Any] = {}
    if isinstance(then, ByStatus) or rules.lifecycle.held_by or _taken_over(rule, asked):
        seen = look(rules, asked.diff, observed, asked.diff.stripe_id, _expand(rules, then))
        if isinstance(seen, Ask | Reject):
            return seen
        body = seen
    shared = _shared(rule, asked)
    if shared and asked.found_by is not None:
        # Only an object that we created may end before its replacement exists.
        reason = f"two objects can't have the same `{shared[0]}` beside it"
        return reject(immutable_problem(rules, asked.diff, asked.comparison.immutable, reason, ""))
    step = _step(then, body)
    if step is None:
        assert isinstance(then, ByStatus)  # noqa: S101 - a single step is always there
        return reject(immutable_problem(rules, asked.diff, _fixed_names(rules, asked), then.otherwise, ""))
    moves = holders_to_move(rules, asked, body, observed)
    if isinstance(moves, Ask | Reject):
        return moves
    return _build(rules, asked, rule, step, body, moves)


def _build(
    rules: Rules, asked: Replacement, rule: Replace, step: Step, body: Mapping[str, Any], moves: Sequence[Owed]
) -> Change:
    diff, payload = asked.diff, asked.payload
    params = {**payload.params, **{k: v for k, v in rule.carry_over.items() if _carries(k, payload.params)}}
    for name, by in _taken_over(rule, asked).items():
        if (kept := _id_of(body.get(by))) is not None:
            params = {**{other: value for other, value in params.items() if other != name}, by: kept}
    names = ", ".join(f"`{name}`" for name in asked.comparison.immutable)
    change = replace(
        build_change(rules, diff, Action.REPLACE, payload.params),
        stripe_id=diff.stripe_id,
        calls=create_calls(rules, diff.key, params),
        changed=tuple(asked.comparison.changed),
        reason=f"{names} can't be changed, so a new object replaces it"
        + (f" from the one that was found by `{asked.found_by}`" if asked.found_by else ""),
    )
    unchanged = payload.params.keys() - {part.path for part in asked.comparison.changed}
    given_up = tuple(name for name in rule.gives_up if name in diff.params and name not in unchanged)
    end = end_call(rules, diff, step, given_up)
    owed = owed_end(rules, diff, rule, end, "a new object has replaced it")
    ends_first = bool(_shared(rule, asked))
    # The planner may also let it end first, if another row takes its unique value.
    before = dict(diff.params) if ends_first or rules.lifecycle.uniques else {}
    return replace(change, owes=(*moves, owed), ends_first=ends_first, before=before)


def _stays(rules: Rules, asked: Replacement, rule: NotReplaced) -> Decision:
    """Reject a row whose object can't become what it asks for."""
    if asked.diff.only_refs:
        names = ", ".join(f"`{name}`" for name in asked.comparison.immutable)
        again = (
            "; once it has ended, `when_ended: restart` and `run --refresh` create a new one"
            if rules.lifecycle.ended
            else ""
        )
        return Keep(note=Note(text=f"{names} refers to a replaced object and can't be changed: {rule.reason}{again}"))
    may_ask = rules.lifecycle.replace_if_asked is not None
    hint = "; `options: {replace: true}` replaces it" if may_ask else ""
    return reject(immutable_problem(rules, asked.diff, asked.comparison.immutable, rule.reason, hint))


def holders_to_move(
    rules: Rules, asked: Replacement, body: Mapping[str, Any], observed: Observed
) -> Sequence[Owed] | Ask | Reject:
    """The changes before the old object can end: everything that holds it releases it, or the row is rejected."""
    if not rules.lifecycle.held_by or not body:
        return ()
    stripe_id = str(asked.diff.stripe_id)
    if observed.holdings is None:
        return Ask(need=ReadHoldings(stripe_id=stripe_id, rules=rules.lifecycle.held_by, body=body))
    if isinstance(observed.holdings, Unseen):
        return reject_unanswered(rules, asked.diff.key)
    moved: list[Owed] = []
    problems: list[Problem] = []
    may_move = rules.sync.options.get(MOVE_HOLDERS) is True
    for holding in observed.holdings:
        if holding.follows:
            continue
        if not holding.moves or not (holding.ours or may_move):
            problems.append(_held(rules, asked.diff, holding))
            continue
        moved.append(_move(rules, asked.diff, holding))
    return reject(*problems) if problems else moved


def _move(rules: Rules, diff: RowDiff, holding: Holding) -> Owed:
    whose = "" if holding.ours else ", which no sync writes,"
    return Owed(
        id=f"{rules.sync.name}/{diff.key}!{holding.stripe_id}.{holding.parameter}",
        sync=rules.sync.name,
        key=diff.key,
        resource=holding.resource,
        action=Action.UPDATE,
        operation="update",
        target=holding.stripe_id,
        params=nested(holding.parameter, Ref(sync=rules.sync.name, key=diff.key)),
        reason=f"`{holding.parameter}` of this {holding.resource}{whose} names {diff.stripe_id}",
    )


def _held(rules: Rules, diff: RowDiff, holding: Holding) -> Problem:
    hint = (
        f"set `options: {{{MOVE_HOLDERS}: true}}` to move it to the new {rules.resource.name}"
        if holding.moves
        else f"deactivate it in Stripe, or give the row another key to keep this {rules.resource.name}"
    )
    whose = "" if holding.ours else ", which no sync writes,"
    return Problem(
        code="held-by-another-object",
        summary=f"`{holding.parameter}` of {holding.stripe_id}{whose} names the {rules.resource.name} that has to be "
        "replaced",
        where=rules.sync.where.at_key(diff.key),
        hint=hint,
    )


def _expand(rules: Rules, then: Step | ByStatus) -> tuple[str, ...]:
    return (
        *(then.expand if isinstance(then, ByStatus) else ()),
        *(rule.named_by for rule in rules.lifecycle.held_by if rule.named_by is not None),
    )


def _step(then: Step | ByStatus, body: Mapping[str, Any]) -> Step | None:
    if not isinstance(then, ByStatus):
        return then
    # An object that was deleted by hand has no status; the call then reports that it is gone.
    return then.steps.get(str(object_value(body, then.status_field))) if body else next(iter(then.steps.values()))


def _fixed_names(rules: Rules, asked: Replacement) -> list[str]:
    names = list(dict.fromkeys(part.path.partition(".")[0] for part in asked.comparison.changed))
    params = rules.resource.params
    return [name for name in names if params[name].immutable] or list(asked.comparison.immutable)


def owed_end(rules: Rules, diff: RowDiff, rule: Replace, end: PlannedCall, reason: str) -> Owed:
    """The end of a row's object, owed once its replacement exists. `end` is its call."""
    target = str(diff.stripe_id)
    return Owed(
        id=f"{change_id(rules.sync.name, diff.key)}!{target}",
        sync=rules.sync.name,
        key=diff.key,
        resource=rules.resource.name,
        action=ACTIONS[rule.then],
        operation=end.operation,
        target=target,
        params=end.params,
        reason=reason,
    )


def end_call(rules: Rules, diff: RowDiff, step: Step, gives_up: tuple[str, ...] = ()) -> PlannedCall:
    """The call that ends a replaced object. If the object remains, its tag moves to the new one."""
    is_seen = step.operation == "update" and is_tagged(rules)
    tag = {"metadata": {TAG: "", FORMER_TAG: row_tag(rules, diff.key)}} if is_seen else {}
    params = {**step_params(rules, diff, step), **dict.fromkeys(gives_up, ""), **tag}
    return PlannedCall(operation=step.operation, target=diff.stripe_id, params=params)


def _shared(rule: Replace, asked: Replacement) -> list[str]:
    """Values that the new object shares with the old one, but that two objects can't have at the same time."""
    return [name for name in rule.exclusive if name in asked.payload.params and name not in asked.comparison.immutable]


def _taken_over(rule: Replace, asked: Replacement) -> Mapping[str, str]:
    """Parameters that would create another object with the new one, and those that reuse the old one's instead."""
    wanted, had = asked.payload.params, asked.diff.params
    return {
        name: by
        for name, by in rule.takes_over.items()
        if isinstance(wanted.get(name), dict) and (name not in had or same(had[name], wanted[name]))
    }


def _id_of(value: Any) -> str | None:
    found = value.get("id") if isinstance(value, dict) else value
    return str(found) if found is not None else None


def _carries(name: str, params: Mapping[str, Any]) -> bool:
    """Whether the row has what `carry_over` is about: `transfer_lookup_key` needs a `lookup_key`."""
    return not name.startswith("transfer_") or name.removeprefix("transfer_") in params


def end_first(change: Change) -> tuple[Change, Change]:
    """A replacement whose old object ends before the new one is created, as two changes.

    If the second one is rejected, its row has an ended object, and the next plan creates the new one.
    """
    end = change.owes[-1]
    call = PlannedCall(operation=end.operation, target=end.target, params=end.params)
    gone = end.action in {Action.DELETE, Action.CANCEL, Action.VOID}
    ended = replace(
        change,
        id=f"{change.id}{ENDS_FIRST}",
        action=end.action,
        calls=(call,),
        desired={} if gone else {**change.before, **_shown(end.params), **_without_tag(end.params)},
        changed=(),
        source_hash=None,
        refs=None,
        reason="a new object replaces it, and both can't exist at the same time",
        removed=True,
        gone=gone,
        owes=(),
        ends_first=False,
        before={},
    )
    begun = replace(
        change, depends_on=(*change.depends_on, ended.id), owes=change.owes[:-1], ends_first=False, before={}
    )
    return ended, begun


def _without_tag(params: Mapping[str, Any]) -> dict[str, Any]:
    """The mark of a record whose object gives up its tag by a step with these parameters."""
    return {TAGGED_AS: NO_TAG} if TAG in params.get("metadata", {}) else {}


def _shown(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a step leaves in a record, without the tags."""
    return {name: value for name, value in params.items() if name != "metadata"}
