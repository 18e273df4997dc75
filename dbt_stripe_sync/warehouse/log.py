"""Writes the log to a schema of the warehouse, as tables that are updated to match the state.

`log_postgres.py` and `log_duckdb.py` have the parts that depend on the warehouse. Each writing transaction locks the
mark first, so that writers run one after the other, and no partial update is committed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from dbt_stripe_sync.model.errors import Location, Problem, WarehouseError
from dbt_stripe_sync.model.log import CHANGES, FORMAT, MARK, OBJECTS, PROBLEMS, RUNS, TABLES, Kind, LogMark, LogTable
from dbt_stripe_sync.warehouse.select import double_quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa


class Purpose(Struct, frozen=True, kw_only=True):
    """Texts for messages about what is written: `code` is the prefix of problem codes, `what` is its name.

    `setting` is the project setting that turns it on, and `docs` lists the necessary grants.
    """

    code: str
    what: str
    setting: str
    docs: str

    @property
    def changed_hint(self) -> str:
        """What to do about a table that the warehouse rejects, because it isn't as it was created."""
        return f"if somebody changed a table of {self.what}, drop that table: the next write creates it again"

    def problem(self, code: str, summary: str, hint: str) -> WarehouseError:
        """A problem that prevents the write. `code` is appended to the prefix."""
        where = Location(field=f"vars.stripe_sync.{self.setting}")
        return WarehouseError(Problem(code=f"{self.code}-{code}", summary=summary, where=where, hint=hint))


LOG = Purpose(code="log", what="the log", setting="log", docs="docs/warehouse-log.md")
DIFF = Purpose(code="diff", what="the hashes", setting="diff", docs="docs/warehouse-diff.md")


class LogConnection(Protocol):
    """A connection with write access. Every method raises `WarehouseError`."""

    @property
    def types(self) -> Mapping[Kind, str]:
        """The warehouse's type for each kind of column."""
        ...

    @property
    def with_primary_key(self) -> tuple[LogTable, ...]:
        """The tables that get a primary key."""
        ...

    def begin(self) -> None:
        """Begin a transaction."""
        ...

    def commit(self) -> None:
        """Commit the transaction."""
        ...

    def rollback(self) -> None:
        """Roll back the transaction, if there is one."""
        ...

    def hold(self, table: str) -> None:
        """Lock the table against other writers until the transaction ends."""
        ...

    def execute(self, sql: str) -> None:
        """Execute a statement without a result."""
        ...

    def read(self, sql: str) -> pa.RecordBatchReader:
        """The rows of a query."""
        ...

    def stage(self, name: str, rows: pa.RecordBatchReader) -> str:
        """Create a temporary table with these rows, and return its name for SQL."""
        ...

    def has_schema(self, schema: str) -> bool:
        """Whether the schema exists."""
        ...

    def tables(self, schema: str) -> frozenset[str]:
        """The names of a schema's tables."""
        ...

    def cancel(self) -> None:
        """Cancel the running statement, from another thread."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@contextmanager
def transaction(connection: LogConnection) -> Iterator[None]:
    """Run the body in a transaction, which is rolled back if the body raises."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


class WarehouseLog:
    """The log in one schema. Every method raises `WarehouseError`."""

    def __init__(self, connection: LogConnection, schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def prepare(self, mark: LogMark, *, take_over: bool = False) -> bool:
        """Create the missing tables for the state of `mark`, and return whether any were missing.

        Raises `WarehouseError` if the log belongs to another state, unless `take_over` is set, or if the schema has
        other tables with these names.
        """
        with transaction(self._connection):
            if not self._connection.has_schema(self._schema):
                self._connection.execute(f"CREATE SCHEMA {double_quoted(self._schema)}")
            existing = self._connection.tables(self._schema)
            known = self._mark() if MARK.name in existing else None
            foreign = sorted(table.name for table in TABLES if table.name in existing)
            if known is None and foreign:
                raise _not_a_log(self._schema, foreign)
            if known is not None and known.format > FORMAT:
                raise _newer(self._schema)
            if known is not None and known.state_id != mark.state_id and not take_over:
                raise _of_another_state(self._schema)
            missing = [table for table in (MARK, *TABLES) if table.name not in existing]
            for table in missing:
                self._create(table)
            if known is None or known.state_id != mark.state_id:
                self._set_mark(LogMark(format=FORMAT, state_id=mark.state_id, objects=None))
            return bool(missing)

    def runs(self) -> frozenset[str]:
        """The ids of the runs in the log."""
        with transaction(self._connection):
            return frozenset(self._connection.read(f"SELECT run_id FROM {self._name(RUNS)}").read_all()[0].to_pylist())

    def run_sizes(self) -> Mapping[str, int]:
        """The ids of the runs in the log, each with its number of changes. Slower than `runs`."""
        query = (
            f"SELECT r.run_id, count(c.run_id) AS changes FROM {self._name(RUNS)} r "
            f"LEFT JOIN {self._name(CHANGES)} c ON c.run_id = r.run_id GROUP BY r.run_id"
        )
        with transaction(self._connection):
            return {row["run_id"]: row["changes"] for row in self._connection.read(query).read_all().to_pylist()}

    def add_runs(
        self, mark: LogMark, runs: pa.RecordBatchReader, changes: pa.RecordBatchReader, problems: pa.RecordBatchReader
    ) -> None:
        """Add runs with their changes and problems, in one transaction. Existing rows stay unchanged."""
        with self._writing(mark):
            # The runs come last, so that every run in the log is complete.
            for table, rows in ((CHANGES, changes), (PROBLEMS, problems), (RUNS, runs)):
                self._add(table, rows)

    def objects(self) -> pa.RecordBatchReader:
        """The objects in the log."""
        names = ", ".join(OBJECTS.names)
        return self._connection.read(f"SELECT {names} FROM {self._name(OBJECTS)}")

    def count_objects(self) -> int:
        """The number of objects in the log."""
        counted = self._connection.read(f"SELECT count(*) AS n FROM {self._name(OBJECTS)}").read_all()
        return int(counted["n"][0].as_py())

    def objects_of(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """The log's objects for some rows, matched by `sync` and `key`. They are held in memory."""
        names = ", ".join(OBJECTS.names)
        with self._staged(rows) as staged:
            query = f"SELECT {names} FROM {self._name(OBJECTS)} WHERE (sync, key) IN (SELECT sync, key FROM {staged})"
            return self._connection.read(query).read_all().to_reader()

    def mark(self) -> LogMark:
        """The log's mark: its format, its state, and a digest of its objects."""
        with transaction(self._connection):
            known = self._mark()
        return known or LogMark(format=FORMAT, state_id="", objects=None)

    @contextmanager
    def objects_replaced(self, mark: LogMark) -> Iterator[None]:
        """Run the body, which changes objects, in one transaction that ends with `mark` as the log's mark."""
        with self._writing(mark):
            yield
            self._set_mark(mark)

    def write_objects(self, rows: pa.RecordBatchReader) -> None:
        """Replace the objects of these rows. Only inside `objects_replaced`."""
        with self._staged(rows) as staged:
            self._delete(staged)
            self._insert(OBJECTS, staged)

    def drop_objects(self, rows: pa.RecordBatchReader) -> None:
        """Delete the objects of these rows. Only inside `objects_replaced`."""
        with self._staged(rows) as staged:
            self._delete(staged)

    def cancel(self) -> None:
        """Cancel the running statement, from another thread."""
        self._connection.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _writing(self, mark: LogMark) -> Iterator[None]:
        with transaction(self._connection):
            self._connection.hold(self._name(MARK))
            known = self._mark()
            if known is None or known.state_id != mark.state_id:
                raise _of_another_state(self._schema)
            yield

    def _mark(self) -> LogMark | None:
        rows = self._connection.read(f"SELECT {', '.join(MARK.names)} FROM {self._name(MARK)}").read_all().to_pylist()
        return LogMark(**rows[0]) if rows else None

    def _set_mark(self, mark: LogMark) -> None:
        objects = "NULL" if mark.objects is None else f"'{mark.objects}'"
        self._connection.execute(f"DELETE FROM {self._name(MARK)}")
        # The state's id is generated and the digest is a number, so neither needs escaping.
        self._connection.execute(f"INSERT INTO {self._name(MARK)} VALUES ({mark.format}, '{mark.state_id}', {objects})")

    def _create(self, table: LogTable) -> None:
        types = self._connection.types
        columns = [f"{double_quoted(column.name)} {types[column.kind]}" for column in table.columns]
        if table in self._connection.with_primary_key:
            columns.append(f"PRIMARY KEY ({', '.join(map(double_quoted, table.key))})")
        self._connection.execute(f"CREATE TABLE {self._name(table)} ({', '.join(columns)})")

    def _add(self, table: LogTable, rows: pa.RecordBatchReader) -> None:
        with self._staged(rows) as staged:
            same = " AND ".join(f"t.{double_quoted(name)} = s.{double_quoted(name)}" for name in table.key)
            self._insert(table, f"{staged} s WHERE NOT EXISTS (SELECT 1 FROM {self._name(table)} t WHERE {same})")

    def _insert(self, table: LogTable, source: str) -> None:
        names = ", ".join(double_quoted(name) for name in table.names)
        self._connection.execute(f"INSERT INTO {self._name(table)} ({names}) SELECT {names} FROM {source}")

    def _delete(self, staged: str) -> None:
        self._connection.execute(
            f"DELETE FROM {self._name(OBJECTS)} WHERE (sync, key) IN (SELECT sync, key FROM {staged})"
        )

    @contextmanager
    def _staged(self, rows: pa.RecordBatchReader) -> Iterator[str]:
        staged = self._connection.stage("stripe_sync_staged", rows)
        yield staged
        self._connection.execute(f"DROP TABLE {staged}")

    def _name(self, table: LogTable) -> str:
        return f"{double_quoted(self._schema)}.{double_quoted(table.name)}"


def _of_another_state(schema: str) -> WarehouseError:
    return LOG.problem(
        "of-another-state",
        f"the schema `{schema}` holds the log of another state",
        "give each state its own schema with `log_schema`; if the other state is gone for good, "
        "`dbt-stripe-sync log write --take-over` continues its log",
    )


def _not_a_log(schema: str, tables: list[str]) -> WarehouseError:
    listed = ", ".join(f"`{table}`" for table in tables)
    return LOG.problem(
        "schema-in-use",
        f"the schema `{schema}` has tables that are not the log's: {listed}",
        "name a schema for the log alone with `log_schema`",
    )


def _newer(schema: str) -> WarehouseError:
    return LOG.problem(
        "newer",
        f"the log in the schema `{schema}` was written by a newer version of dbt-stripe-sync",
        "upgrade dbt-stripe-sync: pip install --upgrade dbt-stripe-sync",
    )
