"""What a change of one row is made of: its calls with their parameters, its record, and why it can't be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.payload.builder import refs_in
from dbt_stripe_sync.engine.payload.compare import payload_hash
from dbt_stripe_sync.engine.payload.revealing import choice_of
from dbt_stripe_sync.model.change import Action, Change, PlannedCall
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import CREATE, Bulk, ByStatus, Lifecycle, Step
from dbt_stripe_sync.model.record import Record
from dbt_stripe_sync.model.tag import TAG, build_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dbt_stripe_sync.engine.stage.diff import RowDiff
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.sync import Sync


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


def change_id(sync: str, key: str) -> str:
    """The id of the change of one row: a plan has at most one."""
    return f"{sync}/{key}"


def bulk_of(sync: Sync, lifecycle: Lifecycle) -> Bulk | None:
    """How a sync creates in bulk, None where it does not ask for it."""
    bulk = lifecycle.bulk
    return bulk if bulk is not None and sync.options.get(bulk.name) is True else None


def build_change(rules: Rules, diff: RowDiff, action: Action, desired: Mapping[str, Any]) -> Change:
    """What one row needs, without its calls."""
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


def create_calls(rules: Rules, key: str, params: Mapping[str, Any]) -> tuple[PlannedCall, ...]:
    """Create with what creation takes, then update with what only an update takes."""
    create = {name: value for name, value in params.items() if rules.resource.params[name].creatable}
    later = {name: value for name, value in params.items() if name not in create}
    if is_tagged(rules):
        create["metadata"] = {**create.get("metadata", {}), TAG: row_tag(rules, key)}
    bulk = bulk_of(rules.sync, rules.lifecycle)
    first = PlannedCall(operation=bulk.operation if bulk else CREATE, target=None, params=create)
    if not later:
        return (first,)
    in_path = {name: value for name, value in params.items() if rules.resource.params[name].in_path}
    return (first, PlannedCall(operation="update", target=None, params={**in_path, **later}))


def update_call(rules: Rules, stripe_id: str, update: Mapping[str, Any], desired: Mapping[str, Any]) -> PlannedCall:
    """Update an object, with what its URL needs and what holds for one request only."""
    in_path = {
        name: desired[name] for name, param in rules.resource.params.items() if param.in_path and name in desired
    }
    said_again = {
        name: value
        for name in rules.lifecycle.said_again
        if (value := choice_of(desired.get(name), rules.resource.params[name])) is not None
    }
    return PlannedCall(operation="update", target=stripe_id, params={**in_path, **said_again, **update})


def step_params(rules: Rules, diff: RowDiff, step: Step) -> Mapping[str, Any]:
    """The parameters of a step on the object of a row."""
    names = (name for name, param in rules.resource.params.items() if param.in_path and name in diff.params)
    return {**{name: diff.params[name] for name in names}, **step.params}


def is_tagged(rules: Rules) -> bool:
    """Whether objects have metadata for our tag."""
    return rules.lifecycle.tagged and "metadata" in rules.resource.params


def row_tag(rules: Rules, key: str) -> str:
    """The value of our tag for a row."""
    return build_tag(rules.sync.project, rules.sync.name, key)


def leaves(params: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Every parameter by its dotted path, lists as a whole."""
    found: list[tuple[str, Any]] = []
    for name, value in params.items():
        if isinstance(value, dict) and value:
            found += leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def immutable_problem(rules: Rules, diff: RowDiff, names: Sequence[str], reason: str, hint: str) -> Problem:
    """Why a row is rejected: what it changes can't change on its object."""
    listed = ", ".join(f"`{name}`" for name in names)
    return Problem(
        code="immutable-changed",
        summary=f"{listed} can't be changed on an existing {rules.resource.name}: {reason}",
        where=rules.sync.where.at_field("fields", names[0]).at_key(diff.key),
        hint=f"put the old value back, or give the row another key to make a new object{hint}",
    )
