"""Handles references that point back: a parameter that an update can set refers to an object that needs this one first.

`product.default_price` refers to a price, and a price needs its product. So the product is created without it, and a
separate step sets the parameter once the price exists.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.config.checks import references_in
from dbt_stripe_sync.config.order import find_cycle
from dbt_stripe_sync.model.lifecycle import Mode, Removal
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sync import PART_SEPARATOR, Limits, SyncRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.model.params import Catalog, Resource
    from dbt_stripe_sync.model.sync import FieldMapping, Sync


def split_back_references(syncs: Sequence[Sync], catalog: Catalog) -> tuple[Sync, ...]:
    """The syncs, with separate steps for references that point back. A cycle that needs both objects first remains."""
    by_name = {sync.name: sync for sync in syncs}
    if len(by_name) < len(syncs):
        return tuple(syncs)  # a name that is taken twice is another error
    while cycle := find_cycle(by_name.values()):
        found = next(_deferrable(cycle, by_name, catalog), None)
        if found is None:
            break
        sync, field = found
        first, later = _split(sync, _with_its_hash(sync, field, catalog.resources[sync.resource]), field)
        by_name[first.name], by_name[later.name] = first, later
    return tuple(by_name.values())


def _deferrable(
    cycle: Sequence[str], by_name: dict[str, Sync], catalog: Catalog
) -> Iterator[tuple[Sync, FieldMapping]]:
    """The fields in a cycle of syncs that can be set once both objects exist, ordered by name."""
    for name in sorted(set(cycle)):
        sync = by_name[name]
        if sync.part_of is not None or sync.mode is Mode.INSERT:
            continue
        for field in sync.fields:
            others = {ref.sync for ref, _ in references_in((field,)) if isinstance(ref, SyncRef)}
            if others & set(cycle) and _is_set_later(catalog.resources[sync.resource], field):
                yield sync, field


def _is_set_later(resource: Resource, field: FieldMapping) -> bool:
    """Whether Stripe accepts a parameter in an update, and creates the object without it."""
    top, param = resource.params.get(field.path[0]), resource.param(field.path)
    if top is None or param is None or "update" not in resource.operations:
        return False
    return top.updatable and param.updatable and not (top.creatable and top.required)


def _with_its_hash(sync: Sync, field: FieldMapping, resource: Resource) -> tuple[FieldMapping, ...]:
    """A field with the other fields of its hash that can be set with it.

    An update with a part of a hash may clear the rest, and an object that doesn't exist yet can't be read.
    """
    top = resource.params[field.path[0]]
    if top.kind is not ParamKind.HASH:
        return (field,)
    return tuple(
        other
        for other in sync.fields
        if other is field or (other.path[0] == field.path[0] and _is_set_later(resource, other))
    )


def _split(sync: Sync, later_fields: Sequence[FieldMapping], field: FieldMapping) -> tuple[Sync, Sync]:
    """A sync without some fields, and the separate step that sets them, named after one of them."""
    fields = tuple(other for other in sync.fields if other not in later_fields)
    name = f"{sync.name}{PART_SEPARATOR}{'.'.join(field.path)}"
    fingerprint = sha256(json.dumps([sync.fingerprint, field.path]).encode()).hexdigest()[:32]
    later = replace(
        sync,
        name=name,
        mode=Mode.UPDATE,
        match=(),
        fields=tuple(later_fields),
        on_removed=Removal.IGNORE,
        limits=Limits(),
        depends_on=(sync.name, *_named_by(later_fields)),
        options={},
        fingerprint=fingerprint,
        after=(),
        part_of=sync.name,
    )
    return replace(sync, fields=fields, depends_on=tuple(dict.fromkeys((*_named_by(fields), *sync.after)))), later


def _named_by(fields: Sequence[FieldMapping]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ref.sync for ref, _ in references_in(fields) if isinstance(ref, SyncRef)))
