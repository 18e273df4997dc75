"""Holds a run's rows while they are compared, in a scratch database next to the state.

The scratch database is attached to the state's connection, so that rows and records can be joined in DuckDB. Cursors
share it, so that one query can stream while others run.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pyarrow as pa

from dbt_stripe_sync.engine.payload.values import Unreadable
from dbt_stripe_sync.model.duckdb_memory import begin_stream, memory_checked, run_within_memory
from dbt_stripe_sync.model.tables import build_table, read_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BATCH_ROWS = 2_000
# The text of a time with a zone, such as in a row's key, must not depend on the machine's time zone.
TIME_ZONE = "SET TimeZone = 'UTC'"
# Usually enough for FEW_ROWS rows with a state of any size. With more, DuckDB caches blocks that it reads only once.
MEGABYTES_FOR_FEW_ROWS = 64
FEW_ROWS = 10_000

T = TypeVar("T")


def _columns(batch: pa.RecordBatch) -> list[list[Any]]:
    return [_values(column) for column in _with_shortest_floats(batch).columns]


def _values(column: pa.Array) -> list[Any]:
    if column.null_count == len(column):
        return [None] * len(column)
    try:
        return read_column(column)
    except (ValueError, OverflowError):
        # Cell by cell, so that one value that Python can't represent doesn't make the whole batch unreadable.
        return [_cell(scalar) for scalar in column]


def _with_shortest_floats(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with 32-bit floats as their shortest decimal: 0.1 stays 0.1, rather than 0.10000000149011612."""
    for index, name in enumerate(batch.schema.names):
        if pa.types.is_float32(batch.column(index).type):
            batch = batch.set_column(index, name, batch.column(index).cast(pa.string()).cast(pa.float64()))
    return batch


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        if isinstance(scalar, pa.StructScalar):
            return {name: _cell(scalar[name]) for name in scalar.type.names}
        if isinstance(scalar, pa.ListScalar):
            return [_cell(part) for part in scalar.values]
        return Unreadable()


class Workspace:
    """A run's scratch tables, in the schema `work`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        (self._most_memory,) = self._all("SELECT parse_formatted_bytes(current_setting('memory_limit'))")[0]
        self._is_limited = False
        connection.execute(TIME_ZONE)
        connection.execute("ATTACH IF NOT EXISTS ':memory:' AS work")
        connection.execute(
            "CREATE OR REPLACE TABLE work.planned(sync VARCHAR, key VARCHAR, id VARCHAR, former VARCHAR)"
        )
        connection.execute(
            "CREATE OR REPLACE TABLE work.adopted(sync VARCHAR, key VARCHAR, stripe_id VARCHAR, params VARCHAR, "
            "salt VARCHAR, source_hash UBIGINT, refs VARCHAR, adopted BOOLEAN)"
        )
        connection.execute("CREATE OR REPLACE TABLE work.former(sync VARCHAR, key VARCHAR, id VARCHAR)")
        connection.execute("CREATE OR REPLACE TABLE work.unsettled(sync VARCHAR, key VARCHAR)")
        # Objects that were read from Stripe and differ from what was written, have ended, or are missing.
        connection.execute(
            "CREATE OR REPLACE TABLE work.read_back(sync VARCHAR, key VARCHAR, missing BOOLEAN, body VARCHAR, "
            "digest VARCHAR, is_known BOOLEAN, author VARCHAR)"
        )

    def expect_few_rows(self) -> None:
        """Use little memory until a statement needs more, because only rows that differ are read."""
        # Rows of other syncs may need more memory already.
        with suppress(duckdb.OutOfMemoryException):
            self._limit_memory(min(self._most_memory, MEGABYTES_FOR_FEW_ROWS * 1_000_000))
            self._is_limited = True

    def expect_all_rows(self) -> None:
        """Use the memory limit that the state was opened with, because every row of a model is read."""
        self._limit_memory(self._most_memory)
        self._is_limited = False

    def _limit_memory(self, size: int) -> None:
        self.connection.execute(f"SET memory_limit = '{size} bytes'")

    def execute(self, sql: str, values: Mapping[str, Any] | None = None) -> None:
        """Run a statement. Raises `MemoryError` as `all` does."""
        self.all(sql, values)

    def fill(
        self, sql: str, open_reader: Callable[[], pa.RecordBatchReader], values: Mapping[str, Any] | None = None
    ) -> None:
        """Run a statement that reads `incoming`, a stream of Arrow batches. Raises `MemoryError` as `all` does.

        `open_reader` is called again if the statement has to run again, because a stream can be read only once.
        """

        def run() -> None:
            self.connection.register("incoming", open_reader())
            try:
                self._all(sql, values)
            finally:
                self.connection.unregister("incoming")

        self._read_within_memory(run)

    def insert(self, table: str, schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table. Their values are in the order of the schema's columns."""
        if rows:
            self.fill(f"INSERT INTO {table} SELECT * FROM incoming", build_table(schema, rows).to_reader)

    def one(self, sql: str, values: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        """The first row of a query; empty if there is none."""
        rows = self.all(sql, values)
        return rows[0] if rows else ()

    def all(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query with few rows. DuckDB blocks a connection until a result is read to the end.

        Raises `MemoryError` if the memory limit is too low even for one thread.
        """

        def run() -> list[tuple[Any, ...]]:
            return self._all(sql, values)

        try:
            # A statement over every record usually fits into the little for few rows with one thread.
            return run_within_memory(self.connection, run)
        except MemoryError:
            if not self._is_limited:
                raise
        self.expect_all_rows()
        return run()

    def _all(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with memory_checked():
            result = self.connection.execute(sql, dict(values)) if values else self.connection.execute(sql)
            rows: list[tuple[Any, ...]] = result.fetchall()
        return rows

    def _read_within_memory(self, run: Callable[[], T]) -> T:
        """The result of reading a stream. If memory is short, it is read again with all of it, then with one thread."""
        if self._is_limited:
            try:
                return run()
            except MemoryError:
                self.expect_all_rows()
        return run_within_memory(self.connection, run)

    def batches(self, sql: str, values: Mapping[str, Any] | None = None) -> Iterator[list[dict[str, Any]]]:
        """The rows of a query, some thousand at a time. Other statements may run meanwhile."""
        for rows in self.split_batches(sql, values, after=0):
            yield [row for _, row in rows]

    def split_batches(
        self, sql: str, values: Mapping[str, Any] | None, *, after: int
    ) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
        """As `batches`, with each row as the values of its first `after` columns and a dict of the others."""
        with memory_checked(), self.connection.cursor() as cursor:
            cursor.execute(TIME_ZONE)
            for batch in self._read_within_memory(lambda: begin_stream(cursor, sql, values, BATCH_ROWS)):
                names, columns = batch.schema.names[after:], _columns(batch)
                first = zip(*columns[:after], strict=True) if after else repeat((), batch.num_rows)
                rest = zip(*columns[after:], strict=True)
                yield [(one, dict(zip(names, row, strict=True))) for one, row in zip(first, rest, strict=True)]

    def close(self) -> None:
        """Drop the scratch tables."""
        self.connection.execute("DETACH DATABASE IF EXISTS work")
