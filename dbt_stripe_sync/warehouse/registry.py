"""Finds the reader for a profile's `type`, and imports it only when a project needs it."""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from dbt_stripe_sync.model.errors import Location, Problem, WarehouseError
from dbt_stripe_sync.warehouse.duckdb_profile import is_remote
from dbt_stripe_sync.warehouse.profile_shapes import check_shapes
from dbt_stripe_sync.warehouse.requests import AS_THE_PROFILE_SAYS, AdapterRequest, TimeLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dbt_stripe_sync.engine.ports import RowDiffs, Warehouse
    from dbt_stripe_sync.warehouse.hash_copy import HashCopy
    from dbt_stripe_sync.warehouse.log import WarehouseLog
    from dbt_stripe_sync.warehouse.plain_writer import WritableWarehouse


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of warehouse: the module whose `connect` opens it, its driver's import name, and the extra to install."""

    module: str
    driver: str
    extra: str | None = None


KINDS: Mapping[str, Kind] = {
    "duckdb": Kind(module="duckdb", driver="duckdb"),
    "postgres": Kind(module="postgres", driver="adbc_driver_postgresql"),
    "redshift": Kind(module="redshift", driver="redshift_connector", extra="redshift"),
    "snowflake": Kind(module="snowflake", driver="adbc_driver_snowflake", extra="snowflake"),
    "bigquery": Kind(module="bigquery", driver="adbc_driver_bigquery", extra="bigquery"),
    "databricks": Kind(module="databricks", driver="databricks.sql", extra="databricks"),
}
# The kinds that a log can be written to, each with the module whose `connect` does it.
LOGS: Mapping[str, str] = {"duckdb": "log_duckdb", "postgres": "log_postgres"}
# The kinds that can compare rows themselves; `diff_dialects.py` has an entry for each.
COMPARING = ("postgres", "duckdb", "spark", "snowflake", "bigquery", "redshift", "databricks")
# Those whose hashes can be read first, and then only the rows with another hash.
HASHED_FIRST = ("postgres", "duckdb")
# dbt adapters whose package isn't named after the profile's `type`, and those that need an extra to connect.
PACKAGES = {
    "fabricspark": "dbt-fabricspark",
    "mariadb": "dbt-mysql",
    "mysql5": "dbt-mysql",
    "upsolver": "dbt-upsolver",
    "watsonx_presto": "dbt-watsonx-presto",
    "watsonx_spark": "dbt-watsonx-spark",
}
DBT_1 = ("dbt.adapters.factory", "dbt.config.runtime")


def open_warehouse(
    target: Mapping[str, Any],
    *,
    project_root: Path,
    adapter: AdapterRequest | None,
    limits: TimeLimits = AS_THE_PROFILE_SAYS,
) -> Warehouse:
    """Connect to the warehouse of a rendered profile output.

    A `type` without its own reader is read through dbt 1.x's adapter, if `adapter` says how to build it. Raises
    `WarehouseError`: `driver-missing`, `no-reader`, or the reason why the connection failed.
    """
    from dbt_stripe_sync.warehouse.patience import open_patiently
    from dbt_stripe_sync.warehouse.places import describe_place, patience_for

    name = str(target.get("type", "")).lower()
    target = check_shapes(name, target) if name in KINDS else target
    prepare = _reader_of(name, target, project_root, adapter)
    return open_patiently(prepare, describe_place(name, target), patience_for(name, target, limits))


def _reader_of(
    name: str, target: Mapping[str, Any], project_root: Path, adapter: AdapterRequest | None
) -> Callable[[], Callable[[], Warehouse]]:
    """A function that prepares and returns a function that connects. Raises `WarehouseError`."""
    kind = KINDS.get(name)
    if kind is None:
        return _through_dbt(name, target, adapter)
    if not _is_installed(kind.driver):
        raise WarehouseError(
            Problem(
                code="driver-missing",
                summary=f"the driver for {name}, `{kind.driver}`, is not installed",
                hint=f'pip install "dbt-stripe-sync[{kind.extra}]"' if kind.extra else "pip install dbt-stripe-sync",
            )
        )
    module = import_module(f"dbt_stripe_sync.warehouse.{kind.module}")
    connect = cast("Callable[[Mapping[str, Any], Path], Warehouse]", module.connect)
    return lambda: partial(connect, target, project_root)


def check_log(target: Mapping[str, Any]) -> Problem | None:
    """Why the log can't be written to the warehouse of a rendered profile output, or None."""
    name = str(target.get("type", "")).lower()
    path = str(target.get("path") or ":memory:")
    if name in LOGS and not (name == "duckdb" and (path == ":memory:" or is_remote(path))):
        return None
    what = "a DuckDB database that is not a local file" if name == "duckdb" else f"a profile of type `{name}`"
    return Problem(
        code="log-not-supported",
        summary=f"the log can't be written to {what}",
        where=Location(field="vars.stripe_sync.log"),
        hint="`log: warehouse` works with postgres, and with duckdb where the database is a file; remove the setting",
    )


def open_log(
    target: Mapping[str, Any], schema: str, *, project_root: Path, limits: TimeLimits = AS_THE_PROFILE_SAYS
) -> WarehouseLog:
    """Connect to a warehouse to write the log to it. Raises `WarehouseError`."""
    from dbt_stripe_sync.warehouse.log import WarehouseLog
    from dbt_stripe_sync.warehouse.places import patience_for

    if (problem := check_log(target)) is not None:
        raise WarehouseError(problem)
    name = str(target.get("type", "")).lower()
    module = import_module(f"dbt_stripe_sync.warehouse.{LOGS[name]}")
    seconds = patience_for(name, target, limits).read_seconds
    return WarehouseLog(module.connect(check_shapes(name, target), project_root, seconds), schema)


def check_diff(target: Mapping[str, Any]) -> Problem | None:
    """Why the warehouse of a rendered profile output can't compare rows, or None."""
    name = str(target.get("type", "")).lower()
    path = str(target.get("path") or ":memory:")
    where = Location(field="vars.stripe_sync.diff")
    if name in COMPARING and not (name == "duckdb" and (path == ":memory:" or is_remote(path))):
        return None
    what = "a DuckDB database that is not a local file" if name == "duckdb" else f"a profile of type `{name}`"
    return Problem(
        code="diff-not-supported",
        summary=f"rows can't be compared in {what}",
        where=where,
        hint=f"`diff: warehouse` works with {', '.join(COMPARING)}, and with duckdb where the database is a file; "
        "remove the setting",
    )


def reads_hashes_first(target: Mapping[str, Any]) -> bool:
    """Whether the warehouse of a rendered profile output hashes rows, so that the unchanged ones need not be read."""
    return str(target.get("type", "")).lower() in HASHED_FIRST and check_diff(target) is None


def open_row_diffs(target: Mapping[str, Any], schema: str, warehouse: Warehouse) -> RowDiffs:
    """Make an open warehouse hash and compare rows. Raises `WarehouseError`."""
    if (problem := check_diff(target)) is not None:
        raise WarehouseError(problem)
    from dbt_stripe_sync.warehouse.row_diffs import WarehouseRowDiffs  # imports sqlglot

    return WarehouseRowDiffs(warehouse, str(target.get("type", "")).lower(), schema)


def open_hash_copy(
    target: Mapping[str, Any],
    schema: str,
    *,
    project_root: Path,
    adapter: AdapterRequest | None,
    limits: TimeLimits = AS_THE_PROFILE_SAYS,
) -> HashCopy:
    """Connect to a warehouse to write its copy of the state's hashes. Raises `WarehouseError`."""
    from dbt_stripe_sync.warehouse.diff_dialects import DIALECTS
    from dbt_stripe_sync.warehouse.hash_copy import HashCopy
    from dbt_stripe_sync.warehouse.hash_table import HashTables
    from dbt_stripe_sync.warehouse.log import DIFF
    from dbt_stripe_sync.warehouse.places import patience_for

    if (problem := check_diff(target)) is not None:
        raise WarehouseError(problem)
    name = str(target.get("type", "")).lower()
    target = check_shapes(name, target) if name in KINDS else target
    tables = HashTables(schema=schema, dialect=DIALECTS[name])
    if name in LOGS:
        module = import_module(f"dbt_stripe_sync.warehouse.{LOGS[name]}")
        seconds = patience_for(name, target, limits).read_seconds
        return HashCopy(module.connect(target, project_root, seconds, DIFF), tables)
    from dbt_stripe_sync.warehouse.plain_writer import PlainWriter

    prepare = _reader_of(name, target, project_root, adapter)
    return HashCopy(PlainWriter(cast("WritableWarehouse", prepare()()), tables), tables)


def _through_dbt(
    name: str, target: Mapping[str, Any], adapter: AdapterRequest | None
) -> Callable[[], Callable[[], Warehouse]]:
    ours = ", ".join(sorted(KINDS))
    package = PACKAGES.get(name, f"dbt-{name}")
    _keep_root_logger()
    if adapter is None or not all(_is_installed(module) for module in DBT_1):
        raise WarehouseError(
            Problem(
                code="no-reader",
                summary=f"a profile of type `{name}` can be read only through dbt 1.x's adapter, "
                "and dbt 1.x is not installed here",
                hint=f"{ours} need no dbt; for `{name}`, run `pip install 'dbt-core<2' {package}` in the environment "
                "of dbt-stripe-sync",
            )
        )
    if not _is_installed(f"dbt.adapters.{name}"):
        raise WarehouseError(
            Problem(
                code="no-reader",
                summary=f"dbt's adapter for a profile of type `{name}` is not installed",
                hint=f"pip install {package}",
            )
        )

    def prepare() -> Callable[[], Warehouse]:
        module = import_module("dbt_stripe_sync.warehouse.dbt_adapter")  # imports dbt, which takes seconds
        return cast("Callable[[], Warehouse]", module.prepare(adapter, target))

    return prepare


def _keep_root_logger() -> None:
    """Keep dbt's dependencies from printing everything that a driver logs to stderr.

    Their `basicConfig` does nothing if the root logger has a handler. The one here prints only warnings, like Python's
    default.
    """
    root = logging.getLogger()
    if not root.handlers and logging.lastResort is not None:
        root.addHandler(logging.lastResort)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
