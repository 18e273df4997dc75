"""Finds the column of a model that refers to an object of another sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.authoring.naming import singulars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.dbt.keys import Relationship
    from dbt_stripe_sync.model.sync import Sync


class Referable(Struct, frozen=True, kw_only=True):
    """A sync whose objects others may refer to, by its only key column.

    `column` refers to it according to a dbt test.
    """

    sync: str
    model: str
    key: str
    column: str | None = None


def find_referable(syncs: Iterable[Sync], relationships: Sequence[Relationship]) -> dict[str, tuple[Referable, ...]]:
    """The syncs of each resource that a column may refer to, first those that a `relationships` test names."""
    found: dict[str, list[Referable]] = {}
    for sync in syncs:
        if len(sync.key) != 1:
            continue
        (key,) = sync.key
        target = (sync.model.unique_id, key.lower())
        column = next((test.column for test in relationships if (test.model, test.field.lower()) == target), None)
        entry = Referable(sync=sync.name, model=sync.model.name, key=key, column=column)
        found.setdefault(sync.resource, []).append(entry)
    return {name: tuple(sorted(entries, key=lambda entry: entry.column is None)) for name, entries in found.items()}


def find_reference(
    syncs: Sequence[Referable], columns: Mapping[str, str], used: set[str]
) -> tuple[Referable, str] | None:
    """The sync and the column that refers to it: by a test, by the name of its key, or by a name like `customer_id`."""
    by_name = {column.lower(): column for column in columns if column not in used}
    for sync in syncs:
        for name in _names(sync):
            if name in by_name:
                return sync, by_name[name]
    return None


def _names(sync: Referable) -> Iterator[str]:
    if sync.column is not None:
        yield sync.column.lower()
    if sync.key.lower() not in {"id", "key", "code", "name"}:
        yield sync.key.lower()  # `id` is this model's own here
    for stem in singulars(sync.model):
        yield f"{stem}_{sync.key.lower()}"
