"""One row that differs, as the change that it needs: which calls, with which parameters, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.compare import compare, payload_hash, same
from dbt_stripe_sync.engine.diff import TAGGED_AS, Kind
from dbt_stripe_sync.engine.payload import refs_in
from dbt_stripe_sync.engine.references import TAG_FIELD, object_value
from dbt_stripe_sync.engine.types import Action, Change, FieldChange, PlannedCall, Record, Ref
from dbt_stripe_sync.engine.values import plain
from dbt_stripe_sync.engine.windows import check_windows
from dbt_stripe_sync.errors import Problem
from dbt_stripe_sync.stripe_api.catalog import ParamKind
from dbt_stripe_sync.stripe_api.lifecycle import CREATE, REPLACE, ByStatus, Mode, Reject, Removal, Step
from dbt_stripe_sync.stripe_api.tag import FORMER_TAG, TAG, build_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dbt_stripe_sync.engine.compare import Comparison
    from dbt_stripe_sync.engine.diff import RowDiff
    from dbt_stripe_sync.engine.payload import Payload
    from dbt_stripe_sync.engine.types import Sync
    from dbt_stripe_sync.stripe_api.catalog import Param, Resource
    from dbt_stripe_sync.stripe_api.lifecycle import Bulk, Lifecycle, Replace

# Stands for the hash of a record that was read back from Stripe: its params are the object, not what was sent.
REBUILT = "rebuilt"
_ACTIONS = {
    Removal.DELETE: Action.DELETE,
    Removal.ARCHIVE: Action.ARCHIVE,
    Removal.DEACTIVATE: Action.ARCHIVE,
    Removal.CANCEL: Action.CANCEL,
    Removal.CANCEL_AT_PERIOD_END: Action.CANCEL,
    Removal.VOID: Action.VOID,
}
# Those that are done to the object that the row has, and leave it there.
_KEEPS_ITS_OBJECT = frozenset({Action.UPDATE, Action.ARCHIVE, Action.CANCEL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one row needs: a change, a record to refresh without a call, problems, or nothing at all.

    `kept` says why the object of a row that left the model stays as it is. `ends` is how the object that a new one
    replaces has to end, where that depends on its status: the change lacks that call until `end_replaced` adds it.
    """

    change: Change | None = None
    record: Record | None = None
    problems: tuple[Problem, ...] = ()
    kept: str | None = None
    ends: ByStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that decisions about one sync's rows depend on."""

    sync: Sync
    resource: Resource
    lifecycle: Lifecycle
    mapped: frozenset[tuple[str, ...]]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """An object in Stripe that a row without a record was matched to."""

    body: Mapping[str, Any]
    by: str


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
        known = _untold(diff)
        return _retag(rules, known, _old_tag(rules, diff), _decide_known(rules, known, payload, body))
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
    known = _untold(diff) if step.operation == "update" else diff
    ours = {} if diff.payload_hash == REBUILT else known.params
    change = replace(
        _change(rules, diff, _ACTIONS[rules.sync.on_removed], {**ours, **({} if step.gone else step.params)}),
        stripe_id=diff.stripe_id,
        calls=(PlannedCall(operation=step.operation, target=diff.stripe_id, params=_step_params(rules, diff, step)),),
        reason="the row left the model",
        removed=True,
        gone=step.gone,
    )
    decision = Decision(change=change)
    return decision if known is diff else _retag(rules, known, _old_tag(rules, diff), decision)


def decide_ignored(rules: Rules, diff: RowDiff) -> Decision:
    """What the object of a row that left the model needs where it stays as it is: the new name of its sync."""
    known = _untold(diff)
    kept = Decision(record=build_record(rules, known, known.params))
    return _retag(rules, known, _old_tag(rules, diff), kept) if known is not diff else Decision()


def bulk_of(sync: Sync, lifecycle: Lifecycle) -> Bulk | None:
    """How a sync creates in bulk, None where it does not ask for it."""
    bulk = lifecycle.bulk
    return bulk if bulk is not None and sync.options.get(bulk.name) is True else None


def needs_body(rules: Rules) -> bool:
    """Whether a removal depends on the object as it is in Stripe now."""
    return isinstance(rules.lifecycle.on_removed.get(rules.sync.on_removed), ByStatus)


def needs_body_back(rules: Rules) -> bool:
    """Whether what undoes a removal depends on the object as it is in Stripe now."""
    return bool(_revivals(rules))


def _untold(diff: RowDiff) -> RowDiff:
    """The same without the old name of its sync; the very same where it has none."""
    if TAGGED_AS not in diff.params:
        return diff
    return replace(diff, params={name: value for name, value in diff.params.items() if name != TAGGED_AS})


def _old_tag(rules: Rules, diff: RowDiff) -> str | None:
    """The tag that the object has to lose since its sync was renamed, None where it can't, or need not."""
    name = diff.params.get(TAGGED_AS)
    metadata = rules.resource.params.get("metadata")
    can_lose = _is_tagged(rules) and "update" in rules.resource.operations and metadata and not metadata.immutable
    # A record that was read back holds the object, whose own tag is compared.
    if not name or name == rules.sync.name or not can_lose or diff.payload_hash == REBUILT:
        return None
    return build_tag(rules.sync.project, name, diff.key)


def _retag(rules: Rules, diff: RowDiff, old: str | None, decision: Decision) -> Decision:
    """Let the change of a row write its new tag too, or make a change that writes nothing else."""
    change = decision.change
    if old is None or decision.problems or (change and change.action not in _KEEPS_ITS_OBJECT):
        return decision
    if change is None:
        desired = decision.record.params if decision.record else diff.params
        change = replace(_change(rules, diff, Action.UPDATE, desired), stripe_id=diff.stripe_id)
    new = {TAG: _tag(rules, diff.key)}
    index = next((i for i, call in enumerate(change.calls) if call.operation == "update"), None)
    if index is None:
        calls = (*change.calls, _update_call(rules, str(diff.stripe_id), {"metadata": new}, change.desired))
    else:
        call = change.calls[index]
        written = replace(call, params={**call.params, "metadata": {**call.params.get("metadata", {}), **new}})
        calls = (*change.calls[:index], written, *change.calls[index + 1 :])
    shown = FieldChange(path=f"metadata.{TAG}", before=old, after=new[TAG])
    reason = change.reason or "its sync was renamed"
    return Decision(change=replace(change, calls=calls, changed=(*change.changed, shown), reason=reason))


def change_id(sync: str, key: str) -> str:
    """The id of the change of one row: a plan has at most one."""
    return f"{sync}/{key}"


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
    calls = _create_calls(rules, diff.key, payload.params)
    change = replace(
        _change(rules, diff, Action.CREATE, payload.params),
        calls=calls,
        changed=tuple(FieldChange(path=path, before=None, after=after) for path, after in leaves(payload.params)),
    )
    return Decision(change=change)


def _decide_known(rules: Rules, diff: RowDiff, payload: Payload, body: Mapping[str, Any] | None) -> Decision:
    desired = payload.params
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
        return _decide_replaced(rules, diff, payload, comparison)
    calls = _revival_calls(rules, diff, body)
    if comparison.update:
        calls += (_update_call(rules, str(diff.stripe_id), comparison.update, comparison.desired),)
    if not calls:
        return Decision(record=build_record(rules, diff, comparison.desired))
    reason = "the row is back in the model" if diff.kind is Kind.RETURNED else None
    change = replace(
        _change(rules, diff, Action.UPDATE, comparison.desired),
        stripe_id=diff.stripe_id,
        calls=calls,
        changed=tuple(comparison.changed),
        reason=reason,
    )
    return Decision(change=change)


def _decide_adopted(rules: Rules, diff: RowDiff, payload: Payload, existing: Existing) -> Decision:
    body = existing.body
    stripe_id = str(body["id"])
    known = replace(diff, stripe_id=stripe_id, adopted=True)
    if rules.sync.mode is Mode.INSERT and existing.by != TAG_FIELD:
        return Decision(kept=f"its object exists already, found by {existing.by}, and the sync's mode is `insert`")
    payload = replace(payload, params={**_out_of_archive(rules, body), **payload.params})
    seen = _as_params(body, payload.params, rules.resource.params)
    if existing.by == TAG_FIELD:
        # We made it ourselves: what Stripe does not show of it is as it was sent.
        seen = {**{name: value for name, value in payload.params.items() if name not in body}, **seen}
    comparison = compare(seen, payload, rules.resource, rules.mapped)
    comparison.immutable = [name for name in comparison.immutable if body.get(name) is not None]
    if comparison.immutable:
        found_by = None if existing.by == TAG_FIELD else existing.by
        return _decide_replaced(rules, known, payload, comparison, found_by)
    tagged = same(object_value(body, TAG_FIELD), _tag(rules, diff.key))
    if not comparison.update and (tagged or not _is_tagged(rules)):
        return Decision(record=build_record(rules, known, payload.params))
    update = dict(comparison.update)
    if _is_tagged(rules) and not tagged:
        update["metadata"] = {**update.get("metadata", {}), TAG: _tag(rules, diff.key)}
    change = replace(
        _change(rules, known, Action.ADOPT, payload.params),
        stripe_id=stripe_id,
        calls=(_update_call(rules, stripe_id, update, payload.params),),
        changed=tuple(comparison.changed),
        found_by="our tag" if existing.by == TAG_FIELD else existing.by,
    )
    return Decision(change=change)


def _decide_replaced(
    rules: Rules, diff: RowDiff, payload: Payload, comparison: Comparison, found_by: str | None = None
) -> Decision:
    rule = rules.lifecycle.when_immutable_changes
    if rules.sync.options.get(REPLACE) is True and rules.lifecycle.replace_if_asked is not None:
        rule = rules.lifecycle.replace_if_asked
    names = ", ".join(f"`{name}`" for name in comparison.immutable)
    reason = rule.reason if isinstance(rule, Reject) else _cannot_share(rule, payload, comparison)
    if isinstance(rule, Reject) or reason:
        may_ask = isinstance(rule, Reject) and rules.lifecycle.replace_if_asked is not None
        hint = "; `options: {replace: true}` lets a new one take its place" if may_ask else ""
        return Decision(problems=(immutable_problem(rules, diff, comparison.immutable, str(reason), hint),))
    then = rules.lifecycle.on_removed[rule.then]
    params = {**payload.params, **{k: v for k, v in rule.carry_over.items() if _carries(k, payload.params)}}
    change = replace(
        _change(rules, diff, Action.REPLACE, payload.params),
        stripe_id=diff.stripe_id,
        calls=_create_calls(rules, diff.key, params),
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
    is_seen = step.operation == "update" and _is_tagged(rules)
    tag = {"metadata": {TAG: "", FORMER_TAG: _tag(rules, diff.key)}} if is_seen else {}
    params = {**_step_params(rules, diff, step), **dict.fromkeys(gives_up, ""), **tag}
    return PlannedCall(operation=step.operation, target=diff.stripe_id, params=params)


def immutable_problem(rules: Rules, diff: RowDiff, names: Sequence[str], reason: str, hint: str) -> Problem:
    """Why a row is rejected: what it changes can't change on its object."""
    listed = ", ".join(f"`{name}`" for name in names)
    return Problem(
        code="immutable-changed",
        summary=f"{listed} can't be changed on an existing {rules.resource.name}: {reason}",
        where=rules.sync.where.at_field("fields", names[0]).at_key(diff.key),
        hint=f"put the old value back, or give the row another key to make a new object{hint}",
    )


def _cannot_share(rule: Replace, payload: Payload, comparison: Comparison) -> str | None:
    """Why a new object can't take over: it would need what the old one still has."""
    shared = [name for name in rule.unless_mapped if name in payload.params and name not in comparison.immutable]
    return f"a new one can't have the same `{shared[0]}` beside it" if shared else None


def _carries(name: str, params: Mapping[str, Any]) -> bool:
    """Whether something is there to be carried over: `transfer_lookup_key` needs a `lookup_key`."""
    return not name.startswith("transfer_") or name.removeprefix("transfer_") in params


def _create_calls(rules: Rules, key: str, params: Mapping[str, Any]) -> tuple[PlannedCall, ...]:
    """Create with what creation takes, then update with what only an update takes."""
    create = {name: value for name, value in params.items() if rules.resource.params[name].creatable}
    later = {name: value for name, value in params.items() if name not in create}
    if _is_tagged(rules):
        create["metadata"] = {**create.get("metadata", {}), TAG: _tag(rules, key)}
    bulk = bulk_of(rules.sync, rules.lifecycle)
    first = PlannedCall(operation=bulk.operation if bulk else CREATE, target=None, params=create)
    if not later:
        return (first,)
    in_path = {name: value for name, value in params.items() if rules.resource.params[name].in_path}
    return (first, PlannedCall(operation="update", target=None, params={**in_path, **later}))


def _update_call(rules: Rules, stripe_id: str, update: Mapping[str, Any], desired: Mapping[str, Any]) -> PlannedCall:
    in_path = {
        name: desired[name] for name, param in rules.resource.params.items() if param.in_path and name in desired
    }
    said_again = {name: desired[name] for name in rules.lifecycle.said_again if name in desired}
    return PlannedCall(operation="update", target=stripe_id, params={**in_path, **said_again, **update})


def _step_params(rules: Rules, diff: RowDiff, step: Step) -> Mapping[str, Any]:
    names = (name for name, param in rules.resource.params.items() if param.in_path and name in diff.params)
    return {**{name: diff.params[name] for name in names}, **step.params}


def _change(rules: Rules, diff: RowDiff, action: Action, desired: Mapping[str, Any]) -> Change:
    return Change(
        id=change_id(rules.sync.name, diff.key),
        action=action,
        sync=rules.sync.name,
        key=diff.key,
        resource=rules.resource.name,
        stripe_id=None,
        calls=(),
        desired=desired,
        changed=(),
        depends_on=tuple(dict.fromkeys(change_id(ref.sync, ref.key) for ref in refs_in(dict(desired)))),
        source_hash=diff.source_hash,
        refs=diff.refs,
    )


def build_record(rules: Rules, diff: RowDiff, params: Mapping[str, Any]) -> Record:
    """What is remembered of a row whose object has `params` without a call."""
    return Record(
        sync=rules.sync.name,
        key=diff.key,
        resource=rules.resource.name,
        stripe_id=str(diff.stripe_id),
        params=params,
        payload_hash=payload_hash(params),
        source_hash=diff.source_hash,
        refs=diff.refs,
        adopted=diff.adopted,
    )


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
        PlannedCall(operation=step.revive_by, target=diff.stripe_id, params=_step_params(rules, diff, step))
        for rule, step in _revivals(rules)
        if step.revive_by and str(object_value(body, rule.status_field)) not in rule.steps
    )


def _is_tagged(rules: Rules) -> bool:
    return rules.lifecycle.tagged and "metadata" in rules.resource.params


def _tag(rules: Rules, key: str) -> str:
    return build_tag(rules.sync.project, rules.sync.name, key)


def _as_params(
    body: Mapping[str, Any], values: Mapping[str, Any], params: Mapping[str, Param] | None
) -> dict[str, Any]:
    """What an object has where the row has something, in the shape of parameters."""
    seen: dict[str, Any] = {}
    for name, value in values.items():
        current = _as_value(body.get(name), value, (params or {}).get(name))
        if current is not None:
            seen[name] = current
    return seen


def _as_value(current: Any, value: Any, param: Param | None) -> Any:
    if isinstance(current, dict) and isinstance(value, str | Ref):
        return current.get("id")
    if isinstance(current, dict) and isinstance(value, dict):
        fields = dict.fromkeys(value, param.values) if param and param.values else param.fields if param else None
        return _as_params(current, value, fields)
    if isinstance(value, list):
        return _as_list(current, value, param)
    if param is not None and param.kind is ParamKind.NUMBER and isinstance(current, int | float | str):
        # Stripe answers some decimals as numbers and takes all of them as text.
        return plain(Decimal(str(current)))
    return current


def _as_list(current: Any, values: list[Any], param: Param | None) -> Any:
    """A list, or the page of it that an object shows, item by item in the shape of parameters."""
    items = current.get("data") if isinstance(current, dict) else current
    if not isinstance(items, list) or len(items) != len(values):
        return items
    item_param = param.item if param else None
    return [_as_value(item, value, item_param) for item, value in zip(items, values, strict=True)]


def leaves(params: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Every parameter by its dotted path, lists as a whole."""
    found: list[tuple[str, Any]] = []
    for name, value in params.items():
        if isinstance(value, dict) and value:
            found += leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


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
