"""Exports a state as Parquet files, for backups and other tools, and imports it again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import duckdb

from dbt_stripe_sync.model.errors import Location, Problem, StateError
from dbt_stripe_sync.state.checking import find_bad_row
from dbt_stripe_sync.state.migrations import MIGRATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.state.session import Session

TABLES = ("meta", "records", "former_ids", "owed", "drifted", "intents", "runs", "outcomes")
# The format in which each later table was added; an earlier export has no file for it.
_SINCE = {"former_ids": 2, "owed": 4, "drifted": 5}


def export_state(session: Session, folder: Path) -> None:
    """Write every table to `<folder>/<table>.parquet`, readable only by its owner. Raises `StateError`."""
    mask = os.umask(0o077)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            session.connection.table(table).write_parquet(str(folder / f"{table}.parquet"), compression="zstd")
    except (duckdb.Error, OSError) as error:
        raise _cannot_export(folder, error) from None
    finally:
        os.umask(mask)


def _cannot_export(folder: Path, error: Exception) -> StateError:
    reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else type(error).__name__
    return StateError(
        Problem(
            code="file-unusable",
            summary=f"the export can't be written: {reason}",
            where=Location(file=str(folder)),
            hint="free some space, make the folder writable, or name another one",
        )
    )


def import_state(session: Session, folder: Path) -> int:
    """Fill a state without records from an export, and return its number of records.

    Raises `StateError` if the state has records, or if the folder contains no export of this format.
    """
    if session.value("SELECT count(*) AS records FROM records") or session.value("SELECT count(*) AS n FROM intents"):
        raise StateError(
            Problem(
                code="state-not-empty",
                summary="the state has records already, and an import would mix them with others",
                where=Location(file=str(session.path)),
                hint="give the import a new file with `--state-path`, or move this one away first",
            )
        )
    _check_export(session, folder)
    with session.transaction(replayable=False):
        for table in TABLES:
            session.execute(f"DELETE FROM {table}")
            file = folder / f"{table}.parquet"
            if table in _SINCE and not file.is_file():
                continue
            try:
                _take_over(session, table, file)
            except duckdb.IOException:
                raise
            except duckdb.Error:
                raise _bad_export(folder, f"`{table}.parquet` holds something else") from None
        # An export of a remote state names its origin, which doesn't apply to this state.
        session.execute("DELETE FROM meta WHERE starts_with(key, 'remote_')")
        # An export of an earlier format lacks columns, which then have their default.
        session.execute("UPDATE meta SET value = $version WHERE key = 'version'", {"version": str(len(MIGRATIONS))})
    return int(session.value("SELECT count(*) AS records FROM records"))


def _take_over(session: Session, table: str, file: Path) -> None:
    """Fill one table from its file, if every row is valid in a state. Inside a transaction."""
    session.execute(f"INSERT INTO {table} BY NAME SELECT * FROM read_parquet($file)", {"file": str(file)})
    wrong = find_bad_row(session, table)
    if wrong is not None:
        raise _bad_export(file.parent, wrong)


def _check_export(session: Session, folder: Path) -> None:
    version = _read_version(session, folder / "meta.parquet")
    needed = [table for table in TABLES if _SINCE.get(table, 1) <= (version or len(MIGRATIONS))]
    missing = [table for table in needed if not (folder / f"{table}.parquet").is_file()]
    if missing or version not in range(1, len(MIGRATIONS) + 1):
        what = f"lacks {', '.join(f'{table}.parquet' for table in missing)}" if missing else "is of another format"
        raise _bad_export(folder, f"it {what}")


def _bad_export(folder: Path, what: str) -> StateError:
    return StateError(
        Problem(
            code="bad-export",
            summary=f"there is no export of a state that can be read here: {what}",
            where=Location(file=str(folder)),
            hint="name the folder that `state export` of this version of dbt-stripe-sync has written",
        )
    )


def _read_version(session: Session, file: Path) -> int | None:
    try:
        query = "SELECT value FROM read_parquet($file) WHERE key = 'version'"
        return int(session.connection.execute(query, {"file": str(file)}).fetchall()[0][0])
    except (duckdb.Error, IndexError, TypeError, ValueError):
        return None
