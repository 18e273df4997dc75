"""Rebuilds a lost state from Stripe: the tag of each object says which row it belongs to.

An object doesn't show which parameters were sent. So the records store the object itself, marked as rebuilt. The next
run compares each row with its object, as it does when it adopts one, and corrects the record.
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
from dbt_stripe_sync.model.objects import created_at, texts_in, value_at
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.record import REBUILT, Record
from dbt_stripe_sync.model.sql import ID_SEPARATOR
from dbt_stripe_sync.model.sync import ChildRows, ListOf, Lookup, SyncRef
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dbt_stripe_sync.engine.ports import State, Stripe
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Catalog, Param, Resource
    from dbt_stripe_sync.model.sync import FieldMapping, Sync, Value

_NONE = (False, False, -1)
# The tag has a digest of the key if the key doesn't fit.
_DIGEST = "sha256:"


class Rebuilt(Struct, frozen=True, kw_only=True):
    """The result for one sync: the numbers of restored records and of objects whose row is unknown.

    `further` has the ids of objects in use whose row has a newer one: a run that should end them was killed, or someone
    has copied them. `skipped` is the reason if the sync's objects can't be listed or have no tag.
    """

    sync: str
    records: int = 0
    unknown_rows: int = 0
    further: tuple[str, ...] = ()
    skipped: str | None = None


class _SyncObjects(Struct):
    """The objects of one sync. `kept` has a record for each key; `ranks` says why that object was chosen."""

    sync: Sync
    lifecycle: Lifecycle
    kept: dict[str, Record] = field(default_factory=dict)
    former: list[tuple[str, str, str]] = field(default_factory=list)
    living: set[str] = field(default_factory=set)
    ranks: dict[str, tuple[bool, bool, int]] = field(default_factory=dict)
    unknown_rows: int = 0
    in_use: dict[str, list[str]] = field(default_factory=dict)

    def lacks(self, record: Record, known: str | None) -> bool:
        """Whether the state has no record for the key, or one for an object that has been replaced since."""
        is_former = (self.sync.name, record.key, known) in self.former or known not in self.living
        return known is None or (known != record.stripe_id and is_former)


async def rebuild_records(
    syncs: Sequence[Sync], catalog: Catalog, stripe: Stripe, state: State, *, run_id: str
) -> tuple[Rebuilt, ...]:
    """List each resource that the syncs write once, and write the missing records to the state.

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
            found |= {sync.name: Rebuilt(sync=sync.name, skipped=reason) for sync in writers}
            continue
        by_tag = {f"{sync.project}/{sync.name}": _SyncObjects(sync=sync, lifecycle=lifecycle) for sync in writers}
        async for page in everything(stripe, resource):
            for body in page:
                _assign(body, by_tag, resource)
        for objects in by_tag.values():
            found[objects.sync.name] = _write(objects, state, former, run_id)
            # The syncs are ordered so that referenced ones come first.
            former |= {stripe_id for _, _, stripe_id in objects.former}
    return tuple(found[sync.name] for sync in syncs)


def _write(objects: _SyncObjects, state: State, former: AbstractSet[str], run_id: str) -> Rebuilt:
    name = objects.sync.name
    # Fetch all rows now, because DuckDB blocks the connection until the result is read to the end.
    query = "SELECT key, stripe_id FROM known_records WHERE sync = $sync"
    known = dict(state.workspace.execute(query, {"sync": name}).fetchall())
    missing = [
        _with_former_refs(record, former)
        for key, record in objects.kept.items()
        if objects.lacks(record, known.get(key))
    ]
    if missing:
        state.put_records(missing, run_id)
    if objects.former:
        state.add_former_ids(objects.former)
    further = (
        stripe_id
        for key, ids in objects.in_use.items()
        for stripe_id in ids
        if stripe_id != objects.kept[key].stripe_id
    )
    return Rebuilt(sync=name, records=len(missing), unknown_rows=objects.unknown_rows, further=tuple(further))


def _with_former_refs(record: Record, former: AbstractSet[str]) -> Record:
    """The record with its references to replaced objects, so that a row that keeps them doesn't lose them."""
    kept = sorted(former & set(texts_in(record.params))) if former else []
    return replace(record, refs=ID_SEPARATOR.join(kept)) if kept else record


def _why_not(resource: Resource, lifecycle: Lifecycle) -> str | None:
    if not lifecycle.tagged or "metadata" not in resource.params:
        return "it has no metadata tag"
    if not lifecycle.listed or "list" not in resource.operations:
        return "Stripe lists it only under its parent"
    return None


def _assign(body: Mapping[str, Any], by_tag: Mapping[str, _SyncObjects], resource: Resource) -> None:
    """Add an object to the sync that its tag names, and to those that it may have belonged to before."""
    project, _, former_key = _parts_of(body, FORMER_TAG)
    for writer in by_tag.values():
        # The sync may have had another name then. A wrong guess is harmless, because key and id must match as well.
        if former_key and project == writer.sync.project:
            writer.former.append((writer.sync.name, former_key, str(body["id"])))
        if not has_ended(writer.lifecycle, body):
            writer.living.add(str(body["id"]))
    project, name, key = _parts_of(body, TAG)
    objects = by_tag.get(f"{project}/{name}")
    if objects is None or body.get("deleted") or not key:
        return
    if key.startswith(_DIGEST):
        objects.unknown_rows += 1
        return
    removed = _is_removed(body, objects.lifecycle, objects.sync)
    stripe_id = str(body["id"])
    # A replaced object may still have the tag, because an earlier version left it or a run was killed before it removed
    # it. So the row's object is the newest one in use. Ended objects come from separate lists.
    has_not_ended = body.get("status") not in objects.lifecycle.over
    if not removed and has_not_ended:
        objects.in_use.setdefault(key, []).append(stripe_id)
    rank = (not removed, has_not_ended, created_at(body))
    if rank > objects.ranks.get(key, _NONE):
        before = objects.kept.get(key)
        objects.kept[key] = _record(objects.sync, key, body, resource, removed=removed)
        objects.ranks[key] = rank
        stripe_id = before.stripe_id if before is not None else ""
    if stripe_id and stays_when_replaced(objects.lifecycle):
        objects.former.append((objects.sync.name, key, stripe_id))


def _parts_of(body: Mapping[str, Any], tag: str) -> tuple[str, str, str]:
    """Project, sync and key from a tag; three empty texts if the object doesn't have it."""
    project, _, rest = str((body.get("metadata") or {}).get(tag) or "").partition("/")
    name, _, key = rest.partition("/")
    return project, name, key


def _is_removed(body: Mapping[str, Any], lifecycle: Lifecycle, sync: Sync) -> bool:
    """Whether the object looks as a removal leaves it, such as archived."""
    rules = [lifecycle.on_removed.get(sync.on_removed), *lifecycle.on_removed.values()]
    steps = [step for rule in rules if rule for step in (rule.steps.values() if isinstance(rule, ByStatus) else [rule])]
    return any(
        not step.gone and step.params and all(body.get(name) == value for name, value in step.params.items())
        for step in steps
    )


def _as_param(value: Any, param: Param | None) -> Any:
    """A part of an object as it would be sent: decimals are text, so that they can be hashed and stored exactly."""
    if isinstance(value, dict):
        fields = (param.fields if param else None) or {}
        item = param.item if param else None
        return {
            # In an object, a list is an object whose `data` has the first page.
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
        refs=ID_SEPARATOR.join(dict.fromkeys(_referred(sync.fields, body))) or None,
        removed=removed,
    )


def _referred(fields: Iterable[FieldMapping], body: Any) -> Iterator[str]:
    """The ids of the objects that an object names where its sync maps references.

    With them, no removal ends such an object before the row has another one, even if the next run is interrupted.
    """
    for mapping in fields:
        yield from _referred_by(mapping.value, value_at(body, mapping.path))


def _referred_by(value: Value, shown: Any) -> Iterator[str]:
    if isinstance(value, SyncRef | Lookup):
        found = shown.get("id") if isinstance(shown, dict) else shown
        if isinstance(found, str):
            yield found
    elif isinstance(value, ListOf | ChildRows):
        entries = shown.get("data") if isinstance(shown, dict) else shown
        for entry in entries or ():
            for item in value.items if isinstance(value, ListOf) else (value.fields,):
                yield from _referred(item, entry) if isinstance(item, tuple) else _referred_by(item, entry)
