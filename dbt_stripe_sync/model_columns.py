"""Checks that the warehouse has the columns that the syncs read."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.config.columns import check_columns
from dbt_stripe_sync.model.errors import ConfigError, Problem, Severity, SyncError, WarehouseError
from dbt_stripe_sync.wiring import opened_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.engine.ports import Warehouse
    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.model.sync import Sync
    from dbt_stripe_sync.workload import Workload

# How long `parse`, or a command that has already found a problem, waits for a connection to the warehouse.
GLANCE_SECONDS = 5.0


def check_models(workload: Workload, warehouse: Warehouse, *, only: str | None = None) -> None:
    """Check that every column that a sync reads is in the warehouse; `only` names a single sync to check, held or not.

    Raises `ConfigError` with all missing columns, and `WarehouseError` if the warehouse can't be queried.
    """
    looked_at = [
        sync for sync in workload.syncs if ((sync.name not in workload.held) if only is None else (sync.name == only))
    ]
    columns, missing = _read_columns(looked_at, warehouse)
    problems = [problem for sync in looked_at for problem in check_columns(sync, columns)]
    if problems:
        raise ConfigError((*problems, *missing))
    if missing:
        raise WarehouseError(missing)


def find_missing_columns(dbt: DbtProject, syncs: Sequence[Sync]) -> tuple[Problem, ...]:
    """Columns that the syncs read and their models lack; none if the warehouse can't be queried.

    A model that isn't in the warehouse is skipped, because it may be built after other problems are fixed.
    """
    found: list[Problem] = []
    with suppress(SyncError), opened_warehouse(dbt, connect_seconds=GLANCE_SECONDS) as warehouse:
        columns, _ = _read_columns(syncs, warehouse)
        found += (problem for sync in syncs for problem in check_columns(sync, columns))
    return tuple(found)


def find_doubtful_columns(dbt: DbtProject, syncs: Sequence[Sync]) -> tuple[Problem, ...]:
    """The same as warnings: the next `dbt build` may add them."""
    return tuple(replace(problem, severity=Severity.WARNING) for problem in find_missing_columns(dbt, syncs))


def _read_columns(
    syncs: Iterable[Sync], warehouse: Warehouse
) -> tuple[Mapping[str, Mapping[str, str]], tuple[Problem, ...]]:
    """The columns of every model that the syncs read, by its unique id, and a problem for each unbuilt model."""
    models = {model.unique_id: model for sync in syncs for model in sync.models}
    columns: dict[str, Mapping[str, str]] = {}
    missing: list[Problem] = []
    for unique_id, model in models.items():
        found = _columns_of(model, warehouse)
        if isinstance(found, WarehouseError):
            missing += found.problems
        else:
            columns[unique_id] = found
    return columns, tuple(missing)


def _columns_of(model: ModelNode, warehouse: Warehouse) -> Mapping[str, str] | WarehouseError:
    """A model's columns, or a problem if it is not built. Raises `WarehouseError` if the warehouse can't be queried."""
    try:
        return warehouse.columns(model.source())
    except WarehouseError as error:
        if any(problem.code != "relation-missing" for problem in error.problems):
            raise
        return error
