"""An open DuckDB connection to the state: queries in, plain values out, every error one that a person can fix."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

from dbt_stripe_sync.state.problems import cannot_open, cannot_write, moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import Problem

BATCH_ROWS = 1_000
PRIVATE = 0o600


def _place_of(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path, None where none does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Session:
    """The connection of one open state. Everything raises `StateError`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self.is_open = True
        # Whether this is a copy, while a run goes on that holds the state itself at `path`.
        self.is_copy = False
        # The run that this session has begun.
        self.run_id: str | None = None
        # Whether this session has noted already that values are left in the file.
        self.has_left_values = False
        # Once it is closed: why values may be left in the file.
        self.left: Problem | None = None
        self._log = path.with_name(f"{path.name}.wal")
        self._place = _place_of(path)

    def close(self) -> None:
        """Close the file. What was committed is in it already."""
        self.is_open = False
        try:
            self.connection.close()
        except duckdb.Error as error:
            raise cannot_write(self.path, error) from None

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a query that gives few."""
        return [row for batch in self.batches(query, **values) for row in batch]

    def value(self, query: str, **values: Any) -> Any:
        """The first column of the first row, None where there is none."""
        return next((value for row in self.rows(query, **values) for value in row.values()), None)

    def batches(self, query: str, **values: Any) -> Iterator[list[dict[str, Any]]]:
        """The rows of a query, some at a time, on a cursor of its own, so that others may write meanwhile."""
        try:
            with self.connection.cursor() as cursor:
                # Arrow and not fetchall(), which needs pytz for times with a zone.
                cursor.execute("SET TimeZone = 'UTC'")
                for batch in cursor.sql(query, params=values or None).to_arrow_reader(BATCH_ROWS):
                    yield batch.to_pylist()
        except duckdb.Error as error:
            raise cannot_open(self.path, error) from None

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> None:
        """A statement inside a transaction."""
        # Read to its end: DuckDB lets a connection go on only then.
        self.connection.execute(statement, dict(values) if values else None).fetchall()

    @contextmanager
    def given(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let statements read an Arrow table under a name."""
        self.connection.register(name, rows)
        try:
            yield
        finally:
            self.connection.unregister(name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on disk once it ends."""
        if not self.is_copy and self._place is not None and _place_of(self.path) != self._place:
            raise moved(self.path)
        try:
            self.connection.begin()
            yield
            self.connection.commit()
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
            # A transaction that failed to commit is rolled back already.
            return

    def _keep_private(self) -> None:
        """DuckDB makes its write-ahead log anew after every checkpoint, readable by all that the umask allows."""
        try:
            if self._log.stat().st_mode & 0o077:
                self._log.chmod(PRIVATE)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_write(self.path, error) from None
