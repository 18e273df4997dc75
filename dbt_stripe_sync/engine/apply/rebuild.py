"""A state that was lost, read back from Stripe: every object that we made says in its tag which row it belongs to.

What was sent can't be known from an object, so the records hold the objects themselves, marked as rebuilt: the next run
compares each row with its object, as it does with one that it adopts, and puts the record right.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.engine.payload.values import plain
from dbt_stripe_sync.engine.plan.listing import everything
from dbt_stripe_sync.engine.plan.stale_state import has_ended
from dbt_stripe_sync.model.lifecycle import ByStatus, stays_when_replaced
from dbt_stripe_sync.model.objects import created_at, texts_in
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.record import REBUILT, Record
from dbt_stripe_sync.model.sql import ID_SEPARATOR
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dbt_stripe_sync.engine.ports import State, Stripe
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Catalog, Param, Resource
    from dbt_stripe_sync.model.sync import Sync

_NONE = (False, False, -1)
# A key that doesn't fit into the tag is a digest there.
_DIGEST = "sha256:"


class Rebuilt(Struct, frozen=True, kw_only=True):
    """What was found for one sync: restored records, and objects whose row is unknown.

    `skipped` says why Stripe couldn't be asked at all.
    """

    sync: str
    resource: str
    records: int = 0
    unknown_rows: int = 0
    skipped: str | None = None


class _Share(Struct):
    """One sync's share of all objects. `standing` says of each that is kept whether it is in use, and how old it is."""

    sync: Sync
    lifecycle: Lifecycle
    kept: dict[str, Record] = field(default_factory=dict)
    former: list[tuple[str, str, str]] = field(default_factory=list)
    living: set[str] = field(default_factory=set)
    standing: dict[str, tuple[bool, bool, int]] = field(default_factory=dict)
    unknown_rows: int = 0

    def lacks(self, record: Record, known: str | None) -> bool:
        """Whether the state has no such record, or one of an object that this one has replaced since."""
        is_former = (self.sync.name, record.key, known) in self.former or known not in self.living
        return known is None or (known != record.stripe_id and is_former)


async def rebuild_records(
    syncs: Sequence[Sync], catalog: Catalog, stripe: Stripe, state: State, *, run_id: str
) -> tuple[Rebuilt, ...]:
    """List every resource that the syncs write, once, and write the records that are missing.

    Raises `StripeError` and `StateError`.
    """
    found: dict[str, Rebuilt] = {}
    former: set[str] = set()
    for name in dict.fromkeys(sync.resource for sync in syncs):
        resource = catalog.resources[name]
        lifecycle = resource.lifecycle
        writers = [sync for sync in syncs if sync.resource == name]
        reason = _why_not(resource, lifecycle)
        if reason is not None:
            found |= {sync.name: Rebuilt(sync=sync.name, resource=name, skipped=reason) for sync in writers}
            continue
        shares = {f"{sync.project}/{sync.name}": _Share(sync=sync, lifecycle=lifecycle) for sync in writers}
        async for page in everything(stripe, resource):
            for body in page:
                _sort_in(body, shares, resource)
        for share in shares.values():
            found[share.sync.name] = _keep(share, state, former, run_id)
            # In the order of the syncs, those that are referred to come before those that refer to them.
            former |= {stripe_id for _, _, stripe_id in share.former}
    return tuple(found[sync.name] for sync in syncs)


def _keep(share: _Share, state: State, former: AbstractSet[str], run_id: str) -> Rebuilt:
    name = share.sync.name
    # Read to the end, since DuckDB blocks the connection until then.
    query = "SELECT key, stripe_id FROM known_records WHERE sync = $sync"
    known = dict(state.workspace.execute(query, {"sync": name}).fetchall())
    missing = [_with_kept(record, former) for key, record in share.kept.items() if share.lacks(record, known.get(key))]
    if missing:
        state.put_records(missing, run_id)
    if share.former:
        state.add_former_ids(share.former)
    return Rebuilt(sync=name, resource=share.sync.resource, records=len(missing), unknown_rows=share.unknown_rows)


def _with_kept(record: Record, former: AbstractSet[str]) -> Record:
    """A record that knows which replaced objects its own refers to, so that a row which keeps them still does."""
    kept = sorted(former & set(texts_in(record.params))) if former else []
    return replace(record, refs=ID_SEPARATOR.join(kept)) if kept else record


def _why_not(resource: Resource, lifecycle: Lifecycle) -> str | None:
    if not lifecycle.tagged or "metadata" not in resource.params:
        return "it has no metadata tag"
    if not lifecycle.listed or "list" not in resource.operations:
        return "Stripe lists it only under its parent"
    return None


def _sort_in(body: Mapping[str, Any], shares: Mapping[str, _Share], resource: Resource) -> None:
    project, _, former_key = _parts_of(body, FORMER_TAG)
    for writer in shares.values():
        # The sync may have had another name then. A wrong guess keeps nothing: key and id have to fit, too.
        if former_key and project == writer.sync.project:
            writer.former.append((writer.sync.name, former_key, str(body["id"])))
        if not has_ended(writer.lifecycle, body):
            writer.living.add(str(body["id"]))
    project, name, key = _parts_of(body, TAG)
    share = shares.get(f"{project}/{name}")
    if share is None or body.get("deleted") or not key:
        return
    if key.startswith(_DIGEST):
        share.unknown_rows += 1
        return
    removed = _is_removed(body, share.lifecycle, share.sync)
    stripe_id = str(body["id"])
    # One that was replaced may have our tag still, by an earlier version or a run that was killed before it took it
    # away: the row's object is the newest that is in use. Those that have ended come from lists of their own.
    standing = (not removed, body.get("status") not in share.lifecycle.ended, created_at(body))
    if standing > share.standing.get(key, _NONE):
        before = share.kept.get(key)
        share.kept[key] = _record(share.sync, key, body, resource, removed=removed)
        share.standing[key] = standing
        stripe_id = before.stripe_id if before is not None else ""
    if stripe_id and stays_when_replaced(share.lifecycle):
        share.former.append((share.sync.name, key, stripe_id))


def _parts_of(body: Mapping[str, Any], tag: str) -> tuple[str, str, str]:
    """Project, sync and key of a row by one of our tags, empty where the object has no such tag."""
    project, _, rest = str((body.get("metadata") or {}).get(tag) or "").partition("/")
    name, _, key = rest.partition("/")
    return project, name, key


def _is_removed(body: Mapping[str, Any], lifecycle: Lifecycle, sync: Sync) -> bool:
    """Whether the object is as a removal leaves it: archived, or the like."""
    rules = [lifecycle.on_removed.get(sync.on_removed), *lifecycle.on_removed.values()]
    steps = [step for rule in rules if rule for step in (rule.steps.values() if isinstance(rule, ByStatus) else [rule])]
    return any(
        not step.gone and step.params and all(body.get(name) == value for name, value in step.params.items())
        for step in steps
    )


def _as_param(value: Any, param: Param | None) -> Any:
    """A part of an object with its decimals as the text that a parameter has, so that they can be hashed and stored."""
    if isinstance(value, dict):
        fields = (param.fields if param else None) or {}
        item = param.item if param else None
        return {
            # An object contains a list as its first page.
            name: [_as_param(entry, item) for entry in part]
            if name == "data" and item is not None
            else _as_param(part, (param.values if param else None) or fields.get(name))
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_as_param(part, param.item if param else None) for part in value]
    is_number = param is not None and param.kind is ParamKind.NUMBER and isinstance(value, int | str)
    if isinstance(value, float) or (is_number and not isinstance(value, bool)):
        return plain(Decimal(str(value)))
    return value


def _record(sync: Sync, key: str, body: Mapping[str, Any], resource: Resource, *, removed: bool) -> Record:
    in_path = {name for name, param in resource.params.items() if param.in_path}
    shown = {"id", "metadata", "active", *in_path, *(mapping.path[0] for mapping in sync.fields)}
    return Record(
        sync=sync.name,
        key=key,
        resource=sync.resource,
        stripe_id=str(body["id"]),
        params={name: _as_param(value, resource.params.get(name)) for name, value in body.items() if name in shown},
        payload_hash=REBUILT,
        source_hash=None,
        refs=None,
        removed=removed,
    )
