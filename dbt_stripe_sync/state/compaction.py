"""Rewrites the state's file, so that it contains no values that are no longer stored.

DuckDB frees the blocks of deleted rows without overwriting them; neither `CHECKPOINT` nor `VACUUM` overwrites them. A
call in flight needs its exact parameters stored. So a state that had those of a sync with `store_values: false` is
copied, table by table, into a new file that replaces it.
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

# The entry in `meta` that says that the file has, or had, values that must not stay in it.
LEFT = "values_left"


def fresh_path(path: Path) -> Path:
    """The path of the new file until it is complete."""
    return path.with_name(f"{path.name}.fresh")


def note_values(session: Session) -> None:
    """Record that the file gets values that must not stay in it. Inside a transaction."""
    if not session.has_left_values:
        session.execute("INSERT OR REPLACE INTO meta VALUES ($name, 'true')", {"name": LEFT})


def close_without_values(session: Session) -> Problem | None:
    """Close the state, and rewrite its file if values may remain in it; returns a problem if that fails.

    The old file stays intact until the new one replaces it, and the next run tries again.
    """
    path, fresh = session.path, fresh_path(session.path)
    try:
        if session.value("SELECT value FROM meta WHERE key = $name", name=LEFT) is None:
            return None
        _copy(session, fresh)
        session.close()
        if path.with_name(f"{path.name}.wal").exists():
            # It belongs to the old file, and DuckDB would apply it to the new one.
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
    """Copy only the rows of the tables into a new file that only its owner may read."""
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
        summary=f"values that are not stored may be left in the state's file, which can't be rewritten ({reason})",
        where=Location(file=str(path)),
        hint="free space for a second copy in its folder; the next run tries again, and nothing else is wrong",
        severity=Severity.WARNING,
    )
