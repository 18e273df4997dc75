"""An open DuckDB connection to the state. It takes queries, returns plain values, and turns errors into problems."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
from msgspec import Struct, field

from dbt_stripe_sync.model.duckdb_memory import begin_stream, memory_checked, run_within_memory
from dbt_stripe_sync.model.tables import read_rows
from dbt_stripe_sync.state.problems import cannot_open, cannot_write, moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.state.place import StatePlace

BATCH_ROWS = 1_000
PRIVATE = 0o600


class Statement(Struct, frozen=True, kw_only=True):
    """What a transaction has executed: the SQL, its bound values, and the Arrow tables that it reads by name."""

    sql: str
    values: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


class Replication(Protocol):
    """Keeps what transactions write in another place, too. Every method raises `StateError`."""

    def before_transaction(self, session: Session, *, replayable: bool) -> None:
        """Called before a transaction begins."""
        ...

    def before_commit(self, session: Session, statements: Sequence[Statement], *, replayable: bool) -> None:
        """Called inside a transaction, right before it commits. If it raises, the transaction is rolled back."""
        ...

    def after_commit(self) -> None:
        """Called after the commit."""
        ...

    def check_held(self) -> None:
        """Whether this run may still write."""
        ...


def _place_of(path: Path) -> tuple[int, int] | None:
    """The identity of the file at a path, or None."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Session:
    """The connection of one open state. All methods raise `StateError`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self.is_open = True
        # Whether this is a copy of the state at `path`, because a run holds that or because it can't be written.
        self.is_copy = False
        # Whether a run holds the state itself.
        self.is_held = False
        # The original state, if this is a copy of one on an object store.
        self.copy_of: StatePlace | None = None
        # The run that this session has begun.
        self.run_id: str | None = None
        # Whether this session has already recorded that values are left in the file.
        self.has_left_values = False
        # After closing: problems, such as values that could not be removed from the file.
        self.left: Problem | None = None
        # After closing: whether its file was rewritten without values that must not be stored.
        self.was_rewritten = False
        # The second place where each transaction is kept, if any.
        self.replication: Replication | None = None
        self._executed: list[Statement] = []
        self._given: dict[str, pa.Table] = {}
        self._log = path.with_name(f"{path.name}.wal")
        self._place = _place_of(path)

    def close(self) -> None:
        """Close the file. Everything committed is already in it."""
        self.is_open = False
        try:
            self.connection.close()
        except duckdb.Error as error:
            raise cannot_write(self.path, error) from None

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a query that returns few."""
        return [row for batch in self.batches(query, **values) for row in batch]

    def value(self, query: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        return next((value for row in self.rows(query, **values) for value in row.values()), None)

    def batches(self, query: str, **values: Any) -> Iterator[list[dict[str, Any]]]:
        """The rows of a query, in batches on a separate cursor, so that writes can happen in the meantime."""

        def begin() -> Iterator[pa.RecordBatch]:
            return begin_stream(cursor, query, values, BATCH_ROWS)

        try:
            with memory_checked(), self.connection.cursor() as cursor:
                # Arrow and not fetchall(), which needs pytz for times with a zone.
                cursor.execute("SET TimeZone = 'UTC'")
                for batch in run_within_memory(self.connection, begin):
                    yield read_rows(batch)
        except (duckdb.Error, OSError, MemoryError) as error:
            raise cannot_open(self.path, error) from None

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> None:
        """Execute a statement inside a transaction."""
        if self.replication is not None:
            self._executed.append(Statement(sql=statement, values=dict(values or {}), tables=dict(self._given)))
        # Read to the end, since DuckDB blocks the connection until then.
        self.connection.execute(statement, dict(values) if values else None).fetchall()

    def exists(self, query: str) -> bool:
        """Whether a query inside a transaction returns a row. It writes nothing, so a replica need not repeat it."""
        return bool(self.connection.execute(query).fetchall())

    @contextmanager
    def registered(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Make an Arrow table available to statements under a name."""
        self.connection.register(name, rows)
        self._given[name] = rows
        try:
            yield
        finally:
            del self._given[name]
            self.connection.unregister(name)

    @contextmanager
    def transaction(self, *, replayable: bool = True) -> Iterator[None]:
        """Run a transaction: all or nothing, and on disk once it ends.

        If the state is replicated, the transaction is also in the second place then. `replayable` says that executing
        the same statements on a copy of the state has the same effect.
        """
        if not self.is_copy and self._place is not None and _place_of(self.path) != self._place:
            raise moved(self.path)
        if self.replication is not None:
            self.replication.before_transaction(self, replayable=replayable)
        self._executed.clear()
        try:
            self.connection.begin()
            yield
            if self.replication is not None:
                self.replication.before_commit(self, tuple(self._executed), replayable=replayable)
            self.connection.commit()
            if self.replication is not None:
                self.replication.after_commit()
        except duckdb.Error as error:
            self._roll_back()
            raise cannot_write(self.path, error) from None
        except BaseException:
            self._roll_back()
            raise
        self._keep_private()

    def _roll_back(self) -> None:
        try:
            self.connection.rollback()
        except duckdb.Error:
            # A transaction that failed to commit is already rolled back.
            return

    def _keep_private(self) -> None:
        """DuckDB recreates its write-ahead log after every checkpoint, with the umask's permissions."""
        if self.is_copy:
            return  # in a folder that only its owner may read
        try:
            if self._log.stat().st_mode & 0o077:
                self._log.chmod(PRIVATE)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_write(self.path, error) from None
