"""Runs DuckDB's statements within its memory limit: with one thread if it is too low for several.

Each thread has memory of its own (duckdb.org/docs/stable/guides/performance/how_to_tune_workloads).
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

T = TypeVar("T")
# An Arrow stream raises DuckDB's errors as `OSError`, with the same text.
_OUT_OF_MEMORY = "Out of Memory Error"


@contextmanager
def memory_checked() -> Iterator[None]:
    """Raise `MemoryError` in place of DuckDB's own errors about its memory limit."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(str(error)) from None
    except OSError as error:
        if _OUT_OF_MEMORY not in str(error):
            raise
        raise MemoryError(str(error)) from None


def begin_stream(
    cursor: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Return the batches of a query, after reading the first one: until then, DuckDB joins and sorts.

    Raises `MemoryError` if the memory limit is too low for that, and DuckDB's errors.
    """
    with memory_checked():
        _, batches = read_first(cursor.sql(sql, params=dict(values)) if values else cursor.sql(sql), batch_rows)
    return batches


def read_first(relation: duckdb.DuckDBPyRelation, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema and the batches of a query, after reading the first one. Raises DuckDB errors and `OSError`."""
    reader = relation.to_arrow_reader(batch_rows)
    first = next(reader, None)
    return reader.schema, chain([] if first is None else [first], reader)


def run_within_memory(connection: duckdb.DuckDBPyConnection, run: Callable[[], T]) -> T:
    """Return what `run` returns. If it raises `MemoryError`, run it again with one thread.

    The connection keeps one thread, because a stream still needs memory after its first batch.
    """
    try:
        return run()
    except MemoryError:
        connection.execute("SET threads = 1")
    return run()
