"""The state's data for the warehouse's log: its runs with their changes, and the object of each row. It only reads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

from dbt_stripe_sync.model.log import FORMAT, OBJECTS, LogMark
from dbt_stripe_sync.model.run import RunStatus
from dbt_stripe_sync.model.sync import PART_SEPARATOR
from dbt_stripe_sync.state.problems import cannot_open

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from dbt_stripe_sync.state.session import Session

BATCH_ROWS = 50_000
# A key of several columns is a JSON list of texts (`model.sql.key_text`); anything else is one value.
_KEY_PARTS = "CASE WHEN starts_with(key, '[\"') THEN coalesce(TRY_CAST(key AS VARCHAR[]), [key]) ELSE [key] END"
_OBJECTS = (
    f"SELECT sync, key, {_KEY_PARTS} AS key_parts, resource, stripe_id, coalesce(removed, false) AS is_removed, "
    "coalesce(adopted, false) AS is_adopted, coalesce(missing, false) AS is_missing, run_id, created_at, updated_at "
    # A part of a sync sets fields of an object that has a row of its own here.
    f"FROM records WHERE NOT contains(sync, '{PART_SEPARATOR}')"
)
_RUNS = f"""
    SELECT id AS run_id, command, target,
           CASE status WHEN '{RunStatus.RUNNING.value}' THEN '{RunStatus.INTERRUPTED.value}' ELSE status END AS status,
           started_at, finished_at,
           coalesce(header ->> '$.account', (SELECT value FROM meta WHERE key = 'account')) AS account,
           coalesce(CAST(header ->> '$.livemode' AS BOOLEAN), (SELECT value = 'live' FROM meta WHERE key = 'mode'))
               AS livemode,
           {{counts}},
           CAST(coalesce(json_array_length(owed), 0) AS BIGINT) AS owed, coalesce(requests, 0) AS requests,
           CAST(done ->> '$.reads' AS BIGINT) AS reads
    FROM runs WHERE id IN (SELECT unnest($runs)) ORDER BY started_at, id
""".format(
    counts=", ".join(
        f"coalesce(CAST(done ->> '$.{status}' AS BIGINT), (SELECT count(*) FROM outcomes "
        f"WHERE run_id = runs.id AND outcomes.status = '{status}' AND runs.done IS NULL)) AS {status}"
        for status in ("succeeded", "rejected", "unknown", "skipped")
    )
)
_CHANGES = f"""
    SELECT run_id,
           row_number() OVER (PARTITION BY run_id ORDER BY finished_at, sync, key, action, intent_id, status) AS number,
           sync, key, {_KEY_PARTS} AS key_parts, change ->> '$.resource' AS resource, action, status, stripe_id,
           request_id, CAST(attempts AS BIGINT) AS attempts, failure ->> '$.type' AS error_type,
           failure ->> '$.code' AS error_code, failure ->> '$.param' AS error_param, finished_at
    FROM outcomes WHERE run_id IN (SELECT unnest($runs)) ORDER BY run_id, number
"""
_PROBLEMS = """
    SELECT run_id, number, problem ->> '$.severity' AS severity, problem ->> '$.code' AS code,
           problem ->> '$.where.model' AS model, problem ->> '$.where.sync' AS sync, problem ->> '$.where.key' AS key,
           problem ->> '$.where.field' AS field
    FROM (SELECT id AS run_id, unnest(CAST(problems AS JSON[])) AS problem,
                 generate_subscripts(CAST(problems AS JSON[]), 1) AS number
          FROM runs WHERE id IN (SELECT unnest($runs)) AND problems IS NOT NULL)
    ORDER BY run_id, number
"""
# Every change of an object changes one of these. A sum of hashes needs no order, and what differs can be taken from it
# and added to it.
_FIGURES = (
    "count(*), coalesce(sum(hash(sync, key, resource, stripe_id, is_removed, is_adopted, is_missing, run_id, "
    "updated_at)), 0)"
)
# A row whose object was deleted no longer has a record, but an outcome.
_KEYS_OF_RUNS = """
    SELECT sync, key FROM records WHERE run_id IN (SELECT unnest($runs))
    UNION SELECT sync, key FROM outcomes WHERE run_id IN (SELECT unnest($runs))
"""
_OF_RUNS = f"{_OBJECTS} AND (sync, key) IN ({_KEYS_OF_RUNS})"


class ObjectChanges:
    """How the log's objects differ from the state's. One reader at a time."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def written(self) -> pa.RecordBatchReader:
        """The rows of `objects` that the log lacks, or has with other values."""
        names = ", ".join(OBJECTS.names)
        return self._read(f"SELECT {names} FROM objects_now EXCEPT SELECT {names} FROM known_to_log")

    def gone(self) -> pa.RecordBatchReader:
        """The (sync, key) of rows that no longer have an object."""
        return self._read("SELECT DISTINCT sync, key FROM known_to_log ANTI JOIN objects_now USING (sync, key)")

    def accounts_for(self, before: LogMark, after: LogMark) -> bool:
        """Whether a log that matched `before` matches `after` once these are written, because nothing else differs."""
        was, now = before.figures, after.figures
        if was is None or now is None:
            return False
        known = self._cursor.sql(f"SELECT {_FIGURES} FROM known_to_log").fetchall()[0]
        wanted = self._cursor.sql(f"SELECT {_FIGURES} FROM objects_now").fetchall()[0]
        return all(old - gone + new == end for old, gone, new, end in zip(was, known, wanted, now, strict=True))

    def _read(self, query: str) -> pa.RecordBatchReader:
        return self._cursor.sql(query).to_arrow_reader(BATCH_ROWS)


class LoggedState:
    """The runs and objects of an open state, on a separate cursor. Every method raises `StateError`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def mark(self) -> LogMark:
        """The mark of a log that has all of this state's objects."""
        state_id = self._session.value("SELECT value FROM meta WHERE key = 'state_id'")
        ((rows, hashes),) = self._session.connection.cursor().sql(f"SELECT {_FIGURES} FROM ({_OBJECTS})").fetchall()
        return LogMark(format=FORMAT, state_id=str(state_id), objects=f"{rows}:{hashes}")

    def runs(self) -> dict[str, int]:
        """Every run by its id, oldest first, with the number of its changes.

        The caller holds the state, so none of them is running.
        """
        query = (
            "SELECT runs.id, count(outcomes.run_id) AS changes "
            "FROM runs LEFT JOIN outcomes ON outcomes.run_id = runs.id "
            "GROUP BY ALL ORDER BY any_value(runs.started_at), runs.id"
        )
        return {row["id"]: row["changes"] for batch in self._session.batches(query) for row in batch}

    def run_rows(self, runs: Sequence[str]) -> pa.RecordBatchReader:
        """The rows of some runs."""
        return self._reader(_RUNS, runs=list(runs))

    def change_rows(self, runs: Sequence[str]) -> pa.RecordBatchReader:
        """The results of each change of some runs, without row values."""
        return self._reader(_CHANGES, runs=list(runs))

    def problem_rows(self, runs: Sequence[str]) -> pa.RecordBatchReader:
        """The problems of some runs, without their texts."""
        return self._reader(_PROBLEMS, runs=list(runs))

    def count_keys(self, runs: Sequence[str]) -> int:
        """How many rows some runs wrote to."""
        counted = self._reader(f"SELECT count(*) AS n FROM ({_KEYS_OF_RUNS})", runs=list(runs)).read_all()
        return int(counted["n"][0].as_py())

    def keys(self, runs: Sequence[str]) -> pa.RecordBatchReader:
        """The (sync, key) of the rows that some runs wrote to."""
        return self._reader(_KEYS_OF_RUNS, runs=list(runs))

    @contextmanager
    def object_changes(
        self, logged: pa.RecordBatchReader, *, runs: Sequence[str] | None = None
    ) -> Iterator[ObjectChanges]:
        """How the objects in a log differ from the state's, while the context lasts.

        With `runs`, only those of the rows that these runs wrote to; `logged` is restricted to the same rows.
        """
        cursor = self._session.connection.cursor()
        try:
            cursor.execute("SET TimeZone = 'UTC'")
            cursor.register("logged", logged)
            cursor.execute("CREATE TEMP TABLE known_to_log AS SELECT * FROM logged").fetchall()
            cursor.unregister("logged")
            query, values = (_OBJECTS, None) if runs is None else (_OF_RUNS, {"runs": list(runs)})
            cursor.execute(f"CREATE TEMP TABLE objects_now AS {query}", values).fetchall()
            yield ObjectChanges(cursor)
        except duckdb.Error as error:
            raise cannot_open(self._session.path, error) from None
        finally:
            cursor.close()

    def _reader(self, query: str, **values: Any) -> pa.RecordBatchReader:
        try:
            cursor = self._session.connection.cursor()
            cursor.execute("SET TimeZone = 'UTC'")
            return cursor.sql(query, params=values).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise cannot_open(self._session.path, error) from None
