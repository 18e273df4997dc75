"""Reads every other warehouse through dbt 1.x's own adapter.

It is slower than the other readers: dbt takes seconds to import, and rows pass through Python.
Tested for real: dbt 1.11 with dbt-duckdb, dbt-postgres, dbt-sqlite, dbt-clickhouse, dbt-spark, dbt-trino; dbt 1.7 with
MariaDB. Not tested for lack of a server: SQL Server, and MySQL itself.
"""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.adapter_dialects import dialect_of
from dbt_stripe_sync.warehouse.adapter_failures import connect_failure, read_failure
from dbt_stripe_sync.warehouse.clickhouse import ClickHouseWarehouse
from dbt_stripe_sync.warehouse.dbapi_rows import BATCH_ROWS, build_reader
from dbt_stripe_sync.warehouse.dbt_build import DbtBaseException, FailedToConnectError, build_adapter, reason_of
from dbt_stripe_sync.warehouse.failures import read_failed
from dbt_stripe_sync.warehouse.places import describe_place
from dbt_stripe_sync.warehouse.select import SourceColumn, from_clause, match_columns, select_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from dbt_stripe_sync.engine.ports import Warehouse
    from dbt_stripe_sync.warehouse.requests import AdapterRequest

CONNECTION_NAME = "dbt_stripe_sync"


class AdapterWarehouse:
    """One connection of a dbt adapter."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._dialect = dialect_of(adapter.type())
        self._held = contextlib.ExitStack()
        self._held.enter_context(adapter.connection_named(CONNECTION_NAME))
        self._handle = adapter.connections.get_thread_connection().handle
        for statement in self._dialect.session_sql:
            cursor = self._open_cursor()
            cursor.execute(statement)
            with contextlib.suppress(Exception):  # Trino's driver only runs it on fetch; most have nothing to fetch
                cursor.fetchall()

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with the adapter's name for its type, if there is one. Raises `WarehouseError`."""
        return {column.name: column.type for column, _ in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names. Raises `WarehouseError`."""
        described = self._described(source)
        found = match_columns(source, [column for column, _ in described])
        converts = {column.name: convert for column, convert in described}
        with self._cursor(source, select_of(source, found, self._quote)) as cursor:
            batches = _fetched(cursor)
            return build_reader(
                source.columns,
                batches if self._dialect.is_trusted else self._complete(source, batches),
                {name: converts[column.name] for name, column in found.items()},
            )

    def _complete(
        self, source: RowSource, batches: Iterable[Sequence[Sequence[Any]]]
    ) -> Iterator[Sequence[Sequence[Any]]]:
        """The batches, with a check for missing rows. Some adapters' cursors drop rows, which would look removed.

        Raises `WarehouseError` (`read-failed`) at the end if rows are missing.
        """
        rows = 0
        for batch in batches:
            rows += len(batch)
            yield batch
        with self._cursor(source, f"SELECT count(*) AS number_of_rows FROM {from_clause(source)}") as cursor:
            counted = [row for batch in _fetched(cursor) for row in batch]
        if not counted or int(counted[0][0]) != rows:
            there = f"{int(counted[0][0]):,}" if counted else "an unknown number"
            raise read_failed(source, f"{rows:,} rows arrived of {there}")

    def execute(self, sql: str) -> None:
        """Execute a statement, in an autocommitting session. Raises `WarehouseError`."""
        source = RowSource(name="diff_schema", relation=None, sql=sql, columns=())
        with self._cursor(source, sql) as cursor, contextlib.suppress(Exception):
            cursor.fetchall()  # some drivers only run it on fetch; others have nothing to fetch

    def close(self) -> None:
        """Release the adapter's connection, and close it."""
        self._held.close()
        self._adapter.cleanup_connections()

    def _described(self, source: RowSource) -> list[tuple[SourceColumn, Callable[[Any], Any] | None]]:
        with self._cursor(source, f"SELECT * FROM {from_clause(source)} WHERE 1 = 0") as cursor:
            columns = [(str(name), self._type_name(code)) for name, code, *_ in cursor.description]
            with contextlib.suppress(Exception):  # some drivers reject another query until this one is read to the end
                cursor.fetchall()
        return [self._dialect.describe(name, kind, self._quote(name)) for name, kind in columns]

    def _open_cursor(self) -> Any:
        return self._dialect.open_cursor(self._handle)

    @contextlib.contextmanager
    def _cursor(self, source: RowSource, sql: str) -> Iterator[Any]:
        cursor = self._open_cursor()  # never closed, as in dbt, because some adapters reuse it
        try:
            cursor.execute(sql)
            yield cursor
        except WarehouseError:
            raise
        except Exception as error:  # noqa: BLE001 - every driver raises its own
            with contextlib.suppress(Exception):
                self._handle.rollback()
            raise read_failure(source, error) from None

    def _quote(self, name: str) -> str:
        mark = self._adapter.quote("x")[-1]
        return str(self._adapter.quote(name.replace(mark, mark * 2)))

    def _type_name(self, code: Any) -> str:
        if self._dialect.names_types:
            return str(code)
        try:
            return str(self._adapter.connections.data_type_code_to_name(code))
        except Exception:  # noqa: BLE001 - some adapters don't know their driver's codes
            return code if isinstance(code, str) else "unknown"


def _fetched(cursor: Any) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of a query that has run, in batches of some thousand if the driver supports that."""
    # dbt-spark wraps the driver's cursor without `fetchmany`.
    inner = cursor if hasattr(cursor, "fetchmany") else getattr(cursor, "_cursor", None) or cursor
    frame = getattr(inner, "_df", None)
    if hasattr(inner, "fetchmany"):
        while rows := inner.fetchmany(BATCH_ROWS):
            yield rows
    elif frame is not None:
        iterator = frame.toLocalIterator()
        while rows := list(islice(iterator, BATCH_ROWS)):
            yield rows
    else:
        yield from filter(None, [cursor.fetchall()])


def prepare(request: AdapterRequest, target: Mapping[str, Any]) -> Callable[[], Warehouse]:
    """Build the adapter as dbt does, and return a function that opens its connection. Both raise `WarehouseError`."""
    kind = str(target.get("type", "")).lower()
    adapter = build_adapter(request, kind)
    return lambda: _connect(adapter, kind, target)


def _connect(adapter: Any, kind: str, target: Mapping[str, Any]) -> Warehouse:
    place = describe_place(kind, target)
    try:
        return ClickHouseWarehouse(adapter, CONNECTION_NAME) if kind == "clickhouse" else AdapterWarehouse(adapter)
    except (FailedToConnectError, DbtBaseException) as error:
        raise connect_failure(place, target, _without_secrets(reason_of(error), adapter)) from None
    except Exception as error:  # noqa: BLE001 - not every adapter wraps its driver's errors
        raise connect_failure(place, target, type(error).__name__, str(error)) from None


def _without_secrets(text: str, adapter: Any) -> str:
    credentials = adapter.config.credentials
    shown = set(credentials._connection_keys())  # noqa: SLF001 - dbt's own list of what may be shown
    for name, value in vars(credentials).items():
        if name not in shown and isinstance(value, str) and value:
            text = text.replace(value, "***")
    return text
