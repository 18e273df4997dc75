"""Finds constants that Stripe accepts only in updates, in a sync that creates: by `parse`, not by the first new row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.lifecycle import Mode
from dbt_stripe_sync.model.params import early_words
from dbt_stripe_sync.model.sync import ChildRows, Constant, ListOf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.errors import Location
    from dbt_stripe_sync.model.params import Param, Resource
    from dbt_stripe_sync.model.sync import FieldMapping, Sync, Value


def check_early_words(sync: Sync, resource: Resource, problems: Problems) -> None:
    """Check that constants can be sent when an object is created."""
    if sync.mode is Mode.UPDATE:
        return
    for value, param, where in _constants((field, resource.param(field.path)) for field in sync.fields):
        for path in early_words(value.value, param):
            name = ".".join((param.name, *path))
            problems.add(
                "bad-constant",
                where.at_field("value"),
                f"Stripe accepts this value for `{name}` in updates only, and the sync creates each {resource.name}",
                "use a value that Stripe also accepts at creation, or use `mode: update`",
            )


def _constants(
    fields: Iterable[tuple[FieldMapping, Param | None]],
) -> Iterator[tuple[Constant, Param, Location]]:
    for field, param in fields:
        if param is not None:
            yield from _of_value(field.value, param, field.where)


def _of_value(value: Value, param: Param, where: Location) -> Iterator[tuple[Constant, Param, Location]]:
    if isinstance(value, Constant):
        yield value, param, where
    elif isinstance(value, ChildRows) and param.item is not None:
        yield from _constants(_parts(value.fields, param.item))
    elif isinstance(value, ListOf) and param.item is not None:
        for item in value.items:
            if isinstance(item, tuple):
                yield from _constants(_parts(item, param.item))
            else:
                yield from _of_value(item, param.item, where)


def _parts(fields: Sequence[FieldMapping], param: Param) -> Iterator[tuple[FieldMapping, Param | None]]:
    """The fields of a hash with the values of each."""
    for field in fields:
        below: Param | None = param
        for step in field.path:
            below = below.inner.get(step) if below is not None else None
        yield field, below
