"""Builds what decisions consist of: calls with their parameters, records, and the reasons why a row can't be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.decide.rules import Ask, Observed, ReadObject, Reject, Rules, Unseen
from dbt_stripe_sync.engine.payload.builder import refs_in
from dbt_stripe_sync.engine.payload.compare import payload_hash, same
from dbt_stripe_sync.engine.payload.revealing import choice_of
from dbt_stripe_sync.model.change import Action, Change, PlannedCall, change_id
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import CREATE, Bulk, Lifecycle, Removal, Step
from dbt_stripe_sync.model.record import Record
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG, build_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.change import FieldChange
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.params import Param
    from dbt_stripe_sync.model.sync import Sync


ACTIONS = {
    Removal.DELETE: Action.DELETE,
    Removal.ARCHIVE: Action.ARCHIVE,
    Removal.DEACTIVATE: Action.ARCHIVE,
    Removal.CANCEL: Action.CANCEL,
    Removal.CANCEL_AT_PERIOD_END: Action.CANCEL,
    Removal.VOID: Action.VOID,
}


def bulk_of(sync: Sync, lifecycle: Lifecycle) -> Bulk | None:
    """How a sync creates in bulk; None if it doesn't ask for that."""
    bulk = lifecycle.bulk
    return bulk if bulk is not None and sync.options.get(bulk.name) is True else None


def build_change(
    rules: Rules,
    diff: RowDiff,
    action: Action,
    desired: Mapping[str, Any],
    *,
    calls: tuple[PlannedCall, ...] = (),
    changed: Sequence[FieldChange] = (),
) -> Change:
    """The change that a row needs; without `calls`, it is completed with them later."""
    return Change(
        id=change_id(rules.sync.name, diff.key),
        action=action,
        sync=rules.sync.name,
        key=diff.key,
        resource=rules.resource.name,
        stripe_id=None,
        calls=calls,
        desired=desired,
        changed=changed,
        depends_on=_named_in(desired) if rules.layout.is_linked else (),
        source_hash=diff.source_hash,
        refs=diff.refs,
    )


def _named_in(desired: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(change_id(ref.sync, ref.key) for ref in refs_in(dict(desired))))


def build_record(rules: Rules, diff: RowDiff, params: Mapping[str, Any]) -> Record:
    """The record of a row whose object already has `params`, so that no call is needed."""
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


def at_creation(value: Any, param: Param) -> Any:
    """A value without the parts that only updates accept, such as the start of a schedule's phase."""
    if isinstance(value, list) and param.item is not None:
        return [at_creation(entry, param.item) for entry in value]
    if isinstance(value, dict) and param.fields is not None:
        fields = param.fields
        return {
            name: at_creation(part, fields[name]) if name in fields else part
            for name, part in value.items()
            if name not in fields or fields[name].creatable
        }
    return value


def create_calls(rules: Rules, key: str, params: Mapping[str, Any]) -> tuple[PlannedCall, ...]:
    """Create with the parameters that creation accepts, then update with those that only an update accepts."""
    taken, partly = rules.resource.params, rules.resource.partly_creatable
    create = {
        name: at_creation(value, taken[name]) if name in partly else value
        for name, value in params.items()
        if taken[name].creatable
    }
    later = {name: value for name, value in params.items() if name not in create}
    for name, start in rules.lifecycle.anchored.items():
        if (entries := params.get(name)) and start in entries[0]:
            create.setdefault(start, entries[0][start])
    if is_tagged(rules):
        create["metadata"] = {**create.get("metadata", {}), TAG: row_tag(rules, key)}
    bulk = bulk_of(rules.sync, rules.lifecycle)
    first = PlannedCall(operation=bulk.operation if bulk else CREATE, target=None, params=create)
    if not later:
        return (first,)
    in_path = {name: value for name, value in params.items() if rules.resource.params[name].in_path}
    return (first, PlannedCall(operation="update", target=None, params={**in_path, **later}))


def update_call(rules: Rules, stripe_id: str, update: Mapping[str, Any], desired: Mapping[str, Any]) -> PlannedCall:
    """Update an object, with the parameters of its URL and those that apply to a single request."""
    in_path = {
        name: desired[name] for name, param in rules.resource.params.items() if param.in_path and name in desired
    }
    request_only = {
        name: value
        for name in rules.lifecycle.request_only
        if (value := choice_of(desired.get(name), rules.resource.params[name])) is not None
    }
    return PlannedCall(operation="update", target=stripe_id, params={**in_path, **request_only, **update})


def step_params(rules: Rules, diff: RowDiff, step: Step) -> Mapping[str, Any]:
    """The parameters of a step on the object of a row."""
    return {**path_of(rules, diff), **step.params}


def is_tagged(rules: Rules) -> bool:
    """Whether objects have metadata for our tag."""
    return rules.lifecycle.tagged and "metadata" in rules.resource.params


def row_tag(rules: Rules, key: str) -> str:
    """The value of our tag for a row."""
    return build_tag(rules.sync.project, rules.sync.name, key)


def tags_to_write(rules: Rules, key: str, body: Mapping[str, Any]) -> dict[str, str]:
    """The tags with which an existing object becomes a row's; empty if it has them.

    If another object had replaced it, that is no longer true.
    """
    if not is_tagged(rules):
        return {}
    shown = body.get("metadata") or {}
    own = {} if same(shown.get(TAG), row_tag(rules, key)) else {TAG: row_tag(rules, key)}
    return own | ({FORMER_TAG: ""} if FORMER_TAG in shown else {})


def immutable_problem(rules: Rules, diff: RowDiff, names: Sequence[str], reason: str, hint: str) -> Problem:
    """Why a row is rejected: it changes something that can't be changed on its object."""
    listed = ", ".join(f"`{name}`" for name in names)
    return Problem(
        code="immutable-changed",
        summary=f"{listed} can't be changed on an existing {rules.resource.name}: {reason}",
        where=rules.sync.where.at_field("fields", names[0]).at_key(diff.key),
        hint=f"restore the old value, or give the row another key to create a new object{hint}",
    )


def reject(*problems: Problem) -> Reject:
    """Reject a row that can't be sent."""
    return Reject(problems=problems)


def reject_unanswered(rules: Rules, key: str) -> Reject:
    """Leave a row alone whose object could not be read from Stripe."""
    return reject(
        Problem(
            code="lookup-failed",
            summary="the row's object could not be read from Stripe, so the row is left out",
            where=rules.sync.where.at_key(key),
            hint="run it again; a restricted key needs permission to read it (see `dbt-stripe-sync debug`)",
        )
    )


def path_of(rules: Rules, diff: RowDiff) -> dict[str, Any]:
    """The parameters in the URL of a row's object."""
    names = (name for name, param in rules.resource.params.items() if param.in_path)
    return {name: diff.params[name] for name in names if name in diff.params}


def look(
    rules: Rules, diff: RowDiff, observed: Observed, stripe_id: str | None, expand: tuple[str, ...] = ()
) -> Mapping[str, Any] | Ask | Reject:
    """The current object of a row: empty if Stripe has none, a question if it wasn't read yet."""
    is_seen = observed.body is not None and (isinstance(observed.body, Unseen) or observed.expanded.issuperset(expand))
    if observed.body is None or not is_seen:
        return Ask(need=ReadObject(stripe_id=str(stripe_id), path=path_of(rules, diff), expand=expand))
    if observed.body is Unseen.NOT_ANSWERED:
        return reject_unanswered(rules, diff.key)
    return {} if isinstance(observed.body, Unseen) else observed.body


def uncleared(rules: Rules, diff: RowDiff, path: tuple[str, ...]) -> Problem:
    """Why a row is rejected: it clears something that Stripe can't clear."""
    dotted = ".".join(path)
    return Problem(
        code="not-clearable",
        summary=f"`{dotted}` is null now, and Stripe can't clear it",
        where=rules.sync.where.at_field("fields", dotted).at_key(diff.key),
        hint="add `nulls: ignore` to the field to leave it unchanged",
    )
