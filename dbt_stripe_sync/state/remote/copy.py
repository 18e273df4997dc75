"""The local copy of a remote state: its position, and the replay of log entries into it.

Others may be able to write to the log, so its statements are executed by a DuckDB without access to other files.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import duckdb

from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.state.problems import DAMAGED, cannot_open
from dbt_stripe_sync.state.remote.log import Position

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dbt_stripe_sync.state.session import Session, Statement

# The rows of `meta` about a copy: its state, and the last log entry in it.
ADDRESS, POSITION = "remote_address", "remote_position"
_SET = "INSERT OR REPLACE INTO meta VALUES ($name, $value)"
_UNSET = "DELETE FROM meta WHERE key = $name"
_CLOSED = {"enable_external_access": "false", "autoinstall_known_extensions": "false", "lock_configuration": "true"}


@contextmanager
def opened_copy(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The copy, opened by a DuckDB without access to other files. Raises `StateError`."""
    try:
        with closing(duckdb.connect(str(path), config=_CLOSED)) as connection:
            yield connection
    except duckdb.Error as error:
        raise cannot_open(path, error) from None


def read_position(path: Path, address: str) -> Position | None:
    """The position of this state's copy.

    None if it is another state's, has contents that the log lacks, or is damaged: the store has everything it had.
    """
    if not path.exists():
        return None
    try:
        with opened_copy(path) as connection:
            rows = connection.execute(
                "SELECT key, value FROM meta WHERE key IN ($address, $position)",
                {"address": ADDRESS, "position": POSITION},
            ).fetchall()
            known = dict(rows)
            return Position.parse(known[POSITION]) if known.get(ADDRESS) == address else None
    except StateError as error:
        if error.problems[0].code != DAMAGED:
            raise
        return None
    except (KeyError, ValueError):
        return None


def set_position(connection: duckdb.DuckDBPyConnection, position: Position, address: str) -> None:
    """Store the position of a copy."""
    for name, value in ((POSITION, str(position)), (ADDRESS, address)):
        connection.execute(_SET, {"name": name, "value": value}).fetchall()


def note_position(session: Session, position: Position) -> None:
    """Store the position of the copy, as part of the current transaction."""
    session.connection.execute(_SET, {"name": POSITION, "value": str(position)}).fetchall()


def note_address(session: Session, address: str) -> None:
    """Note whose copy it is. Inside a transaction."""
    session.connection.execute(_SET, {"name": ADDRESS, "value": address}).fetchall()


def forget_position(session: Session) -> None:
    """Record that the copy contains something that the log lacks. Inside a transaction."""
    session.connection.execute(_UNSET, {"name": POSITION}).fetchall()


def replay(connection: duckdb.DuckDBPyConnection, statements: Sequence[Statement], position: Position) -> None:
    """Execute, in one transaction, what a transaction of another run executed."""
    connection.begin()
    for statement in statements:
        for name, table in statement.tables.items():
            connection.register(name, table)
        connection.execute(statement.sql, dict(statement.values) or None).fetchall()
        for name in statement.tables:
            connection.unregister(name)
    connection.execute(_SET, {"name": POSITION, "value": str(position)}).fetchall()
    connection.commit()
