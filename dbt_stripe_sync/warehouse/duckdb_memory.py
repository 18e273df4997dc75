"""Reads a DuckDB warehouse within little memory, as long as a query can spill the rest to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from dbt_stripe_sync.model.duckdb_memory import read_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from dbt_stripe_sync.warehouse.duckdb_profile import DuckDBProfile

# Without a limit, DuckDB caches what it reads, up to four fifths of the machine's memory
# (duckdb.org/docs/stable/configuration/overview). The state and Python need memory as well.
MEGABYTES_OF_THREAD = 256
MEGABYTE = 1_000_000
BATCH_ROWS = 50_000
# If a profile has one of these, it says itself how much memory DuckDB may use.
_NAMES = frozenset({"memory_limit", "max_memory"})


class LimitedMemory:
    """The memory of one connection.

    It is limited to what reading needs, unless the profile sets its own limit or the database is remote.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, profile: DuckDBProfile) -> None:
        self._connection = connection
        named = {name.lower() for name in (*profile.config, *(name for name, _ in profile.session_sql))}
        self._is_limited = profile.connect_to == ":memory:" and not _NAMES & named
        if self._is_limited:
            connection.execute(f"SET GLOBAL memory_limit = '{_little(connection)} bytes'")

    def begin(self, cursor: duckdb.DuckDBPyConnection, query: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The schema and the batches of a query, after its first batch: until then, DuckDB groups, joins and sorts.

        If that needs more than the limit and can't be spilled, the query begins again without the limit. Raises
        DuckDB's errors, and `OSError` in place of them if Arrow was reading.
        """
        try:
            return read_first(cursor.sql(query), BATCH_ROWS)
        except (duckdb.OutOfMemoryException, duckdb.IOException, OSError):
            if not self._is_limited:
                raise
        self._connection.execute("RESET GLOBAL memory_limit")
        self._is_limited = False
        return read_first(cursor.sql(query), BATCH_ROWS)


def _little(connection: duckdb.DuckDBPyConnection) -> int:
    """What reading needs, in bytes, but no more than DuckDB would use."""
    settings = "SELECT current_setting('threads'), parse_formatted_bytes(current_setting('memory_limit'))"
    ((threads, default),) = connection.execute(settings).fetchall()
    return min(int(default), int(threads) * MEGABYTES_OF_THREAD * MEGABYTE)
