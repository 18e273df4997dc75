"""Checks that the models have the columns that a sync reads, once the warehouse can be queried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.config.problems import Problems
from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.sync import ChildRows, Column, Lookup, SyncRef, Template, values_in, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dbt_stripe_sync.model.errors import Location, Problem
    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.model.sync import FieldMapping, Sync, Value


def check_columns(sync: Sync, columns: Mapping[str, Iterable[str]]) -> tuple[Problem, ...]:
    """Columns that the sync reads and its models lack.

    `columns` has those of each model by the model's unique id; models that it lacks are skipped.
    """
    problems = Problems()
    for model, column, where in _reads(sync):
        if model.unique_id not in columns:
            continue
        known = list(columns[model.unique_id])
        # Warehouses differ in the case of unquoted names, and the readers accept both.
        if column.lower() not in {name.lower() for name in known}:
            problems.add(
                "unknown-column",
                where,
                f"sync `{sync.name}` reads column `{column}`, which `{model.label}` lacks",
                f"{did_you_mean(column, known)}columns are {listed(known)}",
            )
    return tuple(problems.found)


def check_spelling(sync: Sync, problems: Problems) -> None:
    """Check that each column is written in one way: DuckDB, which compares the rows, ignores the case of names."""
    spelled: dict[tuple[str, str], str] = {}
    for model, column, where in _reads(sync):
        first = spelled.setdefault((model.unique_id, column.casefold()), column)
        if first != column:
            problems.add(
                "column-case",
                where,
                f"sync `{sync.name}` reads column `{column}` here, and `{first}` in another place",
                "write it in the same case everywhere; if the model has both columns, rename one of them there",
            )


def _reads(sync: Sync) -> Iterator[tuple[ModelNode, str, Location]]:
    for column in sync.key:
        yield sync.model, column, sync.where.at_field("key")
    of_fields = list(_field_reads(sync.fields, sync.model))
    # A column that rows are matched by is usually also a field, whose location is the one to fix.
    mapped = {(model.unique_id, column) for model, column, _ in of_fields}
    for match in sync.match:
        for column in (name for value, _ in values_of(match.value, sync.where) for name in _columns(value)):
            if (sync.model.unique_id, column) not in mapped:
                yield sync.model, column, sync.where.at_field("match")
    yield from of_fields


def _field_reads(fields: Iterable[FieldMapping], model: ModelNode) -> Iterator[tuple[ModelNode, str, Location]]:
    for value, where in values_in(fields):
        for column in _columns(value):
            yield model, column, where
        if isinstance(value, ChildRows):
            for column in (*value.on, *value.order_by):
                yield value.model, column, where.at_field("on")
            yield from _field_reads(value.fields, value.model)


def _columns(value: Value) -> Iterator[str]:
    if isinstance(value, Column):
        yield value.name
        if value.currency_column is not None:
            yield value.currency_column
    elif isinstance(value, Template | SyncRef):
        yield from value.columns
    elif isinstance(value, Lookup):
        yield value.column
