"""The hashes of rows as last accepted, for the warehouse's copy of them.

It only reads.

A row that must be compared again in any case has no hash here: its object is missing, or its values differ from its
record. A row that was rejected, or whose change failed, has the hash of what was accepted before, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from dbt_stripe_sync.model.hashes import HashMark
from dbt_stripe_sync.state.problems import cannot_open

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from dbt_stripe_sync.state.session import Session

BATCH_ROWS = 50_000
# Hashes are signed in the copy, as most engines have no unsigned numbers of 64 bits.
_SIGNED = (
    "CAST(CASE WHEN source_hash > 9223372036854775807 THEN CAST(source_hash AS HUGEINT) - 18446744073709551616 "
    "ELSE source_hash END AS BIGINT)"
)
_HASHES = (
    f"SELECT sync, key, CASE WHEN missing THEN NULL ELSE {_SIGNED} END AS row_hash "
    "FROM records WHERE NOT coalesce(removed, false)"
)  # The sum is independent of the order, and can be updated with the hashes that leave and join it.
_SUM = "count(*) AS rows, coalesce(sum(CAST(hash(key, row_hash) AS HUGEINT)), 0) % 18446744073709551616 AS total"
_WHOLE = 2**64


class AcceptedHashes:
    """The hashes of an open state. Every method raises `StateError`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def marks(self) -> Mapping[str, HashMark]:
        """For each sync, the mark of a copy that has all of its hashes."""
        query = f"SELECT sync, {_SUM} FROM ({_HASHES}) GROUP BY sync"
        return {row["sync"]: self._mark(int(row["rows"]), int(row["total"])) for row in self._session.rows(query)}

    def rows(self, sync: str) -> pa.RecordBatchReader:
        """All hashes of a sync: `key`, `row_hash`."""
        return self._reader(f"SELECT key, row_hash FROM ({_HASHES}) WHERE sync = $sync", sync=sync)

    def touched(self, sync: str, run: str) -> pa.RecordBatchReader:
        """The rows that a run may have changed: `key`, `row_hash`, and `is_live`: whether they have a record."""
        return self._reader(
            f"""
            SELECT DISTINCT t.key, h.row_hash, h.key IS NOT NULL AS is_live
            FROM (SELECT key FROM outcomes WHERE run_id = $run AND sync = $sync
                  UNION
                  SELECT key FROM records WHERE sync = $sync
                    AND updated_at >= (SELECT started_at FROM runs WHERE id = $run)) AS t
            LEFT JOIN (SELECT * FROM ({_HASHES}) WHERE sync = $sync) AS h ON h.key = t.key
            """,
            sync=sync,
            run=run,
        )

    def mark_after(self, mark: HashMark, left: pa.RecordBatchReader, joined: pa.RecordBatchReader) -> HashMark:
        """The mark of a copy after a run, from the rows (`key`, `row_hash`) that leave it and those that join it.

        Of the rows that a run touched, all leave the copy, and those that are live join it again.
        """
        rows, total = mark.rows, int(mark.digest.rsplit(":", 1)[-1])
        for sign, reader, which in ((-1, left, "true"), (1, joined, "is_live")):
            cursor = self._session.connection.cursor()
            try:
                cursor.register("incoming", reader)
                query = (
                    f"SELECT {_SUM} FROM (SELECT CAST(key AS VARCHAR) AS key, CAST(row_hash AS BIGINT) AS row_hash "
                    f"FROM incoming WHERE {which})"
                )
                ((count, found),) = cursor.execute(query).fetchall()
            except duckdb.Error as error:
                raise cannot_open(self._session.path, error) from None
            finally:
                cursor.close()
            rows, total = rows + sign * int(count), (total + sign * int(found)) % _WHOLE
        return self._mark(rows, total)

    def _mark(self, rows: int, total: int) -> HashMark:
        state_id = self._session.value("SELECT value FROM meta WHERE key = 'state_id'")
        # DuckDB only guarantees the same hash within one version.
        return HashMark(state_id=str(state_id), rows=rows, digest=f"{duckdb.__version__}:{total}")

    def _reader(self, query: str, **values: Any) -> pa.RecordBatchReader:
        try:
            return self._session.connection.cursor().sql(query, params=values).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise cannot_open(self._session.path, error) from None
