"""Reads DuckDB and MotherDuck: the profile's file is attached read-only to a separate connection.

Settings: docs.getdbt.com/docs/core/connect-data-platform/duckdb-setup and dbt-duckdb's credentials.
Tested for real: files, `attach`, `settings`, `secrets`, locks. Not tested for lack of a network: MotherDuck, DuckLake
on a remote catalog, extensions that must be downloaded.
"""

from __future__ import annotations

import contextlib
import re
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import duckdb

from dbt_stripe_sync.model.errors import Problem, WarehouseError
from dbt_stripe_sync.warehouse.canonical import marked, restored, zoned_time_text
from dbt_stripe_sync.warehouse.duckdb_memory import LimitedMemory
from dbt_stripe_sync.warehouse.duckdb_profile import DuckDBProfile, parse_profile
from dbt_stripe_sync.warehouse.duckdb_types import NUMBERS, read_sql
from dbt_stripe_sync.warehouse.failures import (
    bad_setting,
    first_line,
    not_authorised,
    read_failed,
    relation_missing,
    unreachable,
)
from dbt_stripe_sync.warehouse.select import (
    SourceColumn,
    double_quoted,
    forms_of,
    from_clause,
    match_columns,
    select_of,
)
from dbt_stripe_sync.warehouse.streams import guarded_reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from dbt_stripe_sync.model.nodes import RowSource
    from dbt_stripe_sync.warehouse.duckdb_profile import Attachment

# The first message is for a lock of another process. The others are for a conflicting connection in this process.
LOCKED = re.compile(r"Could not set lock on file|Unique file handle conflict|different configuration than existing")
HOLDER = re.compile(r"held in (.+?) \(PID (\d+)\)")


class DuckDBWarehouse:
    """One DuckDB instance with the project's databases attached; every read has its own cursor."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, profile: DuckDBProfile) -> None:
        self._connection = connection
        self._profile = profile
        self._memory = LimitedMemory(connection, profile)
        self._cursors: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with DuckDB's name for its type. Raises `WarehouseError`."""
        return {column.name: column.type for column in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, streamed. Raises `WarehouseError`."""
        found = match_columns(source, self._described(source))
        cursor = self._cursor()
        try:
            schema, batches = self._memory.begin(cursor, select_of(source, found))
        except (duckdb.Error, OSError) as error:
            cursor.close()
            raise _read_failure(source, error) from None
        forms = forms_of(found)
        return guarded_reader(
            marked(schema, found),
            (restored(batch, forms) for batch in batches),
            failure=lambda error: _read_failure(source, error),
            close=cursor.close,
        )

    def cancel(self) -> None:
        """Cancel the running queries, from another thread."""
        for cursor in tuple(self._cursors):
            cursor.interrupt()

    def close(self) -> None:
        """Detach the files."""
        self._connection.close()

    def _described(self, source: RowSource) -> list[SourceColumn]:
        with contextlib.closing(self._cursor()) as cursor:
            try:
                relation = cursor.sql(f"SELECT * FROM {from_clause(source)}")
            except duckdb.Error as error:
                raise _read_failure(source, error) from None
            return [
                SourceColumn(
                    name=name,
                    type=str(kind),
                    sql=read_sql(double_quoted(name), kind),
                    form=zoned_time_text if kind.id == "time with time zone" else None,
                    is_number=kind.id in NUMBERS,
                )
                for name, kind in zip(relation.columns, relation.types, strict=True)
            ]

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        self._cursors.add(cursor)
        # Views and ephemeral models return the same times on every machine, unless the profile sets a time zone.
        cursor.execute("SET TimeZone = 'UTC'")
        for name, statement in self._profile.session_sql:
            _run(cursor, statement, bad_setting("duckdb", "settings", f"has `{name}`, which doesn't work"))
        cursor.execute(f"USE {double_quoted(self._profile.database)}")
        # Types such as JSON and UUID keep their names when another DuckDB reads them (duckdb.org/docs/data/arrow).
        cursor.execute("SET arrow_lossless_conversion = true")
        # DuckDB must not resolve a missing table to a Python variable.
        cursor.execute("SET python_enable_replacements = false")
        # In a notebook, DuckDB would draw a progress bar into the caller's output.
        cursor.execute("SET enable_progress_bar = false")
        return cursor


def connect(target: Mapping[str, Any], project_root: Path) -> DuckDBWarehouse:
    """Attach the profile's databases. Raises `WarehouseError`."""
    profile = parse_profile(target, project_root)
    if profile.file is not None and not profile.file.exists():
        raise WarehouseError(
            Problem(
                code="warehouse-missing",
                summary=f"the profile's database {profile.file} does not exist",
                hint="run `dbt build` first; a relative `path` is relative to the dbt project",
            )
        )
    connection = _open(profile)
    try:
        _prepare(connection, profile, project_root)
    except BaseException:
        connection.close()
        raise
    return DuckDBWarehouse(connection, profile)


def _open(profile: DuckDBProfile) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(profile.connect_to, config=dict(profile.config))
    except duckdb.Error as error:
        if profile.connect_to == ":memory:":
            raise bad_setting("duckdb", "config_options", f"doesn't work: {safe_reason(error)}") from None
        if "token" in str(error).lower() or "unauthorized" in str(error).lower():
            raise not_authorised("MotherDuck", None) from None
        raise unreachable("MotherDuck", type(error).__name__) from None


def _prepare(connection: duckdb.DuckDBPyConnection, profile: DuckDBProfile, project_root: Path) -> None:
    # Views over external files (dbt-duckdb's `external` models) have paths relative to the project's root.
    connection.execute(f"SET GLOBAL file_search_path = {_literal(str(project_root))}")
    for extension, repository in profile.extensions:
        _load_extension(connection, extension, repository)
    for number, statement in enumerate(profile.secret_sql, start=1):
        # DuckDB's message may quote the statement, which contains the secret.
        problem = bad_setting("duckdb", "secrets", f"has an entry, number {number}, that doesn't work")
        _run(connection, statement, problem)
    for options in profile.filesystems:
        _register_filesystem(connection, options)
    for attachment in profile.attachments:
        attach(connection, attachment, profile.connect_attempts)


def _load_extension(connection: duckdb.DuckDBPyConnection, name: str, repository: str | None) -> None:
    try:
        connection.load_extension(name)
    except duckdb.Error:
        source = f" FROM {repository}" if repository else ""
        try:
            connection.execute(f"INSTALL {name}{source}")
            connection.load_extension(name)
        except duckdb.Error:
            reason = f"names `{name}`, which can't be installed"
            hint = f"install it once by hand: duckdb -c 'INSTALL {name}{source}'"
            raise bad_setting("duckdb", "extensions", reason, hint) from None


def _register_filesystem(connection: duckdb.DuckDBPyConnection, options: Mapping[str, Any]) -> None:
    try:
        fsspec = import_module("fsspec")
    except ModuleNotFoundError:
        raise bad_setting("duckdb", "filesystems", "needs fsspec", "pip install fsspec") from None
    rest = {name: value for name, value in options.items() if name != "fs"}
    try:
        connection.register_filesystem(fsspec.filesystem(options.get("fs"), **rest))
    except Exception as error:  # noqa: BLE001 - each fsspec backend raises its own
        raise bad_setting("duckdb", "filesystems", f"doesn't work: {type(error).__name__}") from None


def attach(connection: duckdb.DuckDBPyConnection, attachment: Attachment, attempts: int) -> None:
    """Attach a database, retrying while it is locked as often as dbt-duckdb does. Raises `WarehouseError`."""
    for attempt in range(attempts):
        try:
            connection.execute(attachment.sql)
        except duckdb.Error as error:
            if attempt + 1 < attempts and LOCKED.search(str(error)):
                time.sleep(2**attempt)  # as dbt-duckdb waits for `retries.connect_attempts`
                continue
            raise _attach_failure(attachment.path, error) from None
        return


def _attach_failure(path: str, error: duckdb.Error) -> WarehouseError:
    message = str(error)
    if LOCKED.search(message):
        holder = HOLDER.search(message)
        who = f"process {holder[2]} ({Path(holder[1]).name})" if holder else "another connection"
        return WarehouseError(
            Problem(
                code="warehouse-locked",
                summary=f"the database {path} is held by {who}",
                hint="wait until it has finished, or close the file there (a DuckDB file has one writer and no readers "
                "beside it); to wait by itself, give the profile `retries: {connect_attempts: 6}`",
            )
        )
    if "does not exist" in message:
        return WarehouseError(
            Problem(
                code="warehouse-missing",
                summary=f"the profile's database {path} does not exist",
                hint="run `dbt build` first; a relative `path` is relative to the dbt project",
            )
        )
    return WarehouseError(
        Problem(
            code="warehouse-unreachable",
            summary=f"the database {path} can't be opened with DuckDB {duckdb.__version__}: {safe_reason(error)}",
            hint="check that the file is a DuckDB database, made by a DuckDB that is no newer than this one",
        )
    )


def _run(connection: duckdb.DuckDBPyConnection, statement: str, failure: WarehouseError) -> None:
    try:
        connection.execute(statement)
    except duckdb.Error:
        raise failure from None


def _read_failure(source: RowSource, error: Exception) -> WarehouseError:
    missing = isinstance(error, duckdb.CatalogException) or (
        isinstance(error, duckdb.BinderException) and re.search(r"(Catalog|Schema|Table).* does not exist", str(error))
    )
    return relation_missing(source) if missing else read_failed(source, safe_reason(error))


def safe_reason(error: Exception) -> str:
    """The reason in a DuckDB error, without row values."""
    # Errors about names, syntax and files quote the statement or a path. Conversion and arithmetic errors quote values.
    quoting_no_values = (
        duckdb.BinderException,
        duckdb.CatalogException,
        duckdb.IOException,
        duckdb.ParserException,
        duckdb.PermissionException,
    )
    return first_line(error) if isinstance(error, quoting_no_values) else type(error).__name__


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
