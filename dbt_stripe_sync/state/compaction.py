"""The state's file written anew, so that nothing is left in it of values that are stored no longer.

DuckDB frees the blocks of deleted rows and leaves what is in them; neither `CHECKPOINT` nor `VACUUM` overwrites it. A
call needs its exact parameters while it is under way, whatever is stored afterwards; so a state that had some of a sync
with `store_values: false` is copied, table by table, into a fresh file that takes its place.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb

from dbt_stripe_sync.model.errors import Location, Problem, Severity, StateError
from dbt_stripe_sync.model.sql import literal, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.state.session import Session

# What `meta` calls the note that the file has, or had, values that must not stay in it.
LEFT = "values_left"


def fresh_path(path: Path) -> Path:
    """Where the fresh file lies until it is whole."""
    return path.with_name(f"{path.name}.fresh")


def note_values(session: Session) -> None:
    """Remember that the file gets values which must not stay in it. Inside a transaction."""
    if not session.has_left_values:
        session.execute("INSERT OR REPLACE INTO meta VALUES ($name, 'true')", {"name": LEFT})


def close_without_values(session: Session) -> Problem | None:
    """Close the state, written anew where values may be left in its file; what is wrong where that can't be done.

    The file that is there stays whole until the fresh one takes its place, and is tried again at the next occasion.
    """
    path, fresh = session.path, fresh_path(session.path)
    try:
        if session.value("SELECT value FROM meta WHERE key = $name", name=LEFT) is None:
            return None
        _copy(session, fresh)
        session.close()
        if path.with_name(f"{path.name}.wal").exists():
            # It belongs to the old file, and would be read into the fresh one.
            return _not_compacted(path, OSError(errno.EBUSY, "its write-ahead log is in use"))
        fresh.replace(path)
        session.was_rewritten = True
    except (duckdb.Error, OSError, StateError) as error:
        return _not_compacted(path, error)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return None


def _copy(session: Session, fresh: Path) -> None:
    """Copy what is in the tables, and nothing else, into a file of its own that only its owner may read."""
    mask = os.umask(0o077)
    try:
        fresh.unlink(missing_ok=True)
        (name,) = session.connection.execute("SELECT current_database()").fetchall()[0]
        session.connection.execute(f"ATTACH {literal(str(fresh))} AS fresh")
        session.connection.execute(f"COPY FROM DATABASE {quoted(name)} TO fresh").fetchall()
        session.connection.execute("DELETE FROM fresh.meta WHERE key = $name", {"name": LEFT}).fetchall()
        session.connection.execute("DETACH fresh")
        session.connection.execute("CHECKPOINT")
    finally:
        os.umask(mask)


def _not_compacted(path: Path, error: Exception) -> Problem:
    reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Problem(
        code="values-left",
        summary=f"values that are not stored may be left in the state's file, which can't be written anew ({reason})",
        where=Location(file=str(path)),
        hint="make room for a second copy of it in its folder; the next run tries again, and nothing else is wrong",
        severity=Severity.WARNING,
    )
