"""Reads PostgreSQL through ADBC's binary COPY, so that rows become Arrow without passing through Python.

Settings: docs.getdbt.com/docs/core/connect-data-platform/postgres-setup. Redshift has an older protocol without binary
COPY, and IAM logins, so it has its own reader.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
from adbc_driver_postgresql import StatementOptions

from dbt_stripe_sync.warehouse.adbc_connection import Connection
from dbt_stripe_sync.warehouse.canonical import marked, restored, zoned_time_text
from dbt_stripe_sync.warehouse.failures import (
    connection_lost,
    denied,
    first_line,
    not_authorised,
    not_permitted,
    read_failed,
    relation_missing,
    unreachable,
)
from dbt_stripe_sync.warehouse.postgres_infinity import with_infinities
from dbt_stripe_sync.warehouse.postgres_types import TypeInfo, is_number, read_sql, type_name
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
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.model.nodes import RowSource
    from dbt_stripe_sync.warehouse.adbc_connection import Cursor

BATCH_BYTES = 8 * 1024 * 1024
DEFAULT_PORT = 5432
CONNECT_TIMEOUT_SECONDS = 10
# postgresql.org/docs/current/errcodes-appendix.html
UNDEFINED = frozenset({"42P01", "3F000"})
INSUFFICIENT_PRIVILEGE = "42501"
# Classes whose messages quote names and the statement; those of class 22 (data) quote values.
MESSAGE_IS_SAFE = ("42", "0A", "25", "3D", "53", "57", "58")
# connection_exception, and a server that shut down or crashed, or an administrator who ended the session.
CONNECTION_ENDED = ("08", "57P01", "57P02", "57P03")
CONNECTION_ENDED_WORDS = ("server closed the connection", "terminating connection", "no connection to the server")
# Beginnings of messages without row values, for errors without an SQLSTATE.
HARMLESS = (
    "Attempt to read from a stream that has already been closed",
    "canceling statement due to",
    "cannot execute",
    "could not",
    "division by zero",
    "permission denied",
    "server closed the connection",
    "terminating connection",
)
# Profile settings that have the same name in libpq (postgresql.org/docs/current/libpq-connect.html).
LIBPQ_SETTINGS = ("sslmode", "sslcert", "sslkey", "sslrootcert")


class PostgresWarehouse:
    """One connection in one read-only snapshot. It reads one model at a time; a new read ends the previous one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._in_snapshot = False
        self._reading: Cursor | None = None
        self._busy: Cursor | None = None

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with PostgreSQL's name for its type. Raises `WarehouseError`."""
        with self._cursor(source) as cursor:
            return {column.name: column.type for column in _described(cursor, source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, streamed. Raises `WarehouseError`."""
        with self._cursor(source) as cursor:
            found = match_columns(source, _described(cursor, source))
        select, forms = select_of(source, found), forms_of(found)
        with self._cursor(source, stays_open=True) as cursor:
            cursor.set_options({StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)})
            reader = cursor.reader(select)
        self._reading = cursor
        return guarded_reader(
            marked(reader.schema, found),
            (restored(with_infinities(batch), forms) for batch in reader),
            failure=lambda error: self._failed(source, error),
            close=cursor.close,
        )

    def cancel(self) -> None:
        """Cancel the running query, from another thread."""
        if self._busy is not None:
            self._busy.cancel()

    def close(self) -> None:
        """End the snapshot and close the connection."""
        self._end_reading()
        self._connection.close()

    @contextlib.contextmanager
    def _cursor(self, source: RowSource, *, stays_open: bool = False) -> Iterator[Cursor]:
        self._end_reading()
        cursor = self._busy = self._connection.cursor()
        keep = False
        try:
            self._begin_snapshot()
            yield cursor
            keep = stays_open
        except adbc_driver_manager.Error as error:
            raise self._failed(source, error) from None
        finally:
            if not keep:
                cursor.close()

    def _begin_snapshot(self) -> None:
        if self._in_snapshot:
            return
        self._connection.rollback()
        with self._connection.cursor() as cursor:
            # One snapshot for all models, so that parents and children are consistent.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # So that times in views and ephemeral models, and the text of intervals, don't depend on the machine or the
            # role.
            cursor.execute("SET LOCAL timezone = 'UTC'")
            cursor.execute("SET LOCAL intervalstyle = 'iso_8601'")
            # So that parallel workers hash the rows: transferring a hash is cheap, but the planner assumes otherwise. A
            # server that only speaks PostgreSQL's protocol may not have these settings.
            cursor.execute(
                "SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name = 'parallel_tuple_cost'"
            )
        self._in_snapshot = True

    def _failed(self, source: RowSource, error: Exception) -> WarehouseError:
        self._in_snapshot = False  # the failed statement ended the transaction; the next read begins another
        return _read_failure(source, error)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


def connect(target: Mapping[str, Any], project_root: Path) -> PostgresWarehouse:
    """Connect with the profile's settings. Raises `WarehouseError`: `warehouse-unreachable` or `warehouse-auth`."""
    del project_root  # libpq resolves certificate paths as dbt's driver does
    return PostgresWarehouse(log_in(target))


def log_in(target: Mapping[str, Any], **settings: Any) -> Connection:
    """Connect with the profile's settings and role. `settings` are libpq's. Raises `WarehouseError`."""
    attempts = 1 + max(0, int(target.get("retries", 1)))
    for attempt in range(1, attempts + 1):
        try:
            connection = Connection(build_conninfo(target, **settings))
        except adbc_driver_manager.Error as error:
            if attempt < attempts and _is_transient(error):
                time.sleep(min(attempt * attempt, CONNECT_TIMEOUT_SECONDS))  # the same intervals as dbt-postgres
                continue
            raise _connect_failure(target, error) from None
        break
    role = target.get("role")
    if role:
        _set_role(connection, target, str(role))
    return connection


def build_conninfo(target: Mapping[str, Any], **more: Any) -> str:
    """A libpq connection string of the profile and `more` settings. It contains the password, so never show it."""
    settings: dict[str, Any] = {
        "host": target.get("host"),
        "port": target.get("port", DEFAULT_PORT),
        "user": target.get("user"),
        "password": target.get("password", target.get("pass")),
        "dbname": target.get("database", target.get("dbname")),
        "connect_timeout": target.get("connect_timeout", CONNECT_TIMEOUT_SECONDS),
        "application_name": target.get("application_name") or "dbt-stripe-sync",
        # dbt's 0 means the system's default, for which libpq needs the setting to be absent.
        "keepalives_idle": target.get("keepalives_idle") or None,
        "options": _search_path_option(target.get("search_path")),
        **{name: target.get(name) or None for name in LIBPQ_SETTINGS},
        **more,
    }
    return " ".join(f"{name}={_conninfo_value(value)}" for name, value in settings.items() if value is not None)


def _search_path_option(search_path: Any) -> str | None:
    if not search_path:
        return None
    escaped = str(search_path).replace("\\", "\\\\").replace(" ", "\\ ")
    return f"-c search_path={escaped}"


def _conninfo_value(value: Any) -> str:
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _set_role(connection: Connection, target: Mapping[str, Any], role: str) -> None:
    # dbt writes the role unquoted, so PostgreSQL folds its case. Only quote a name that is invalid without quotes.
    bare = role.replace("_", "a").replace("$", "a").isalnum() or (role.startswith('"') and role.endswith('"'))
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role if bare else double_quoted(role)}")
        connection.commit()
    except adbc_driver_manager.Error:
        connection.close()
        hint = f"grant the role to the user, or change the profile's `role`: GRANT {role} TO …"
        raise not_permitted(_place(target), target.get("user"), f"may not use the role `{role}`", hint) from None


def _described(cursor: Cursor, source: RowSource) -> Sequence[SourceColumn]:
    schema = cursor.schema(f"SELECT * FROM {from_clause(source)}")
    return [
        SourceColumn(
            name=field.name,
            type=type_name(field, info),
            sql=read_sql(double_quoted(field.name), field, info),
            form=zoned_time_text if info.name == "time with time zone" else None,
            is_number=is_number(field),
        )
        for field, info in zip(schema, _type_infos(cursor, source, schema.names), strict=True)
    ]


def _type_infos(cursor: Cursor, source: RowSource, names: Sequence[str]) -> Sequence[TypeInfo]:
    """The catalog's information on the columns' types, without reading a row (the join never matches)."""
    if not names:
        return []
    of_columns = ", ".join(f"pg_typeof({double_quoted(name)})::oid" for name in names)
    rows = cursor.rows(
        "SELECT format_type(t.oid, NULL) AS name, t.typtype::text AS typtype, t.typcategory::text AS category, "
        "coalesce(format_type(e.oid, NULL), '') AS element "
        f"FROM (SELECT ARRAY[{of_columns}] AS oids FROM (SELECT 1) one_row "
        f"LEFT JOIN {from_clause(source)} ON false) described, "
        "LATERAL unnest(described.oids) WITH ORDINALITY AS listed(oid, position) "
        "JOIN pg_catalog.pg_type t ON t.oid = listed.oid "
        "LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd' "
        "LEFT JOIN pg_catalog.pg_type e ON e.oid = coalesce(b.typelem, t.typelem) "
        "ORDER BY listed.position"
    )
    return [
        TypeInfo(name=name, typtype=typtype, category=category, element=element)
        for name, typtype, category, element in rows
    ]


def _place(target: Mapping[str, Any]) -> str:
    database = target.get("database", target.get("dbname"))
    return f"PostgreSQL at {target.get('host')}:{target.get('port', DEFAULT_PORT)}, database `{database}`,"


# libpq has no SQLSTATE for a failed login, only the server's message (in English unless lc_messages is set).
AUTH_WORDS = ("authentication failed", "no pg_hba.conf entry", "no password supplied", "is not permitted to log in")


def _is_auth(message: str) -> bool:
    return any(word in message for word in AUTH_WORDS) or ('role "' in message and "does not exist" in message)


def _is_transient(error: Exception) -> bool:
    message = str(error)
    return not _is_auth(message) and "does not exist" not in message and "could not translate host" not in message


def _connect_failure(target: Mapping[str, Any], error: Exception) -> WarehouseError:
    message = first_line(error).removeprefix("IO: [libpq] Failed to connect: ")
    if _is_auth(message):
        return not_authorised(_place(target), target.get("user"))
    if "permission denied" in message:
        hint = "grant it CONNECT on the database"
        return not_permitted(_place(target), target.get("user"), "may not connect to the database", hint)
    return unreachable(_place(target), message.rsplit("failed: ", 1)[-1])


def _read_failure(source: RowSource, error: Exception) -> WarehouseError:
    state = getattr(error, "sqlstate", None) or ""
    if state in UNDEFINED:
        return relation_missing(source)
    if state == INSUFFICIENT_PRIVILEGE:
        return denied(source)
    if state.startswith(CONNECTION_ENDED):
        return connection_lost(source, f"SQLSTATE {state}")
    if state.startswith(MESSAGE_IS_SAFE):
        message = first_line(error).rsplit("ERROR:  ", 1)[-1]
        return read_failed(source, f"{message} (SQLSTATE {state})")
    if state:
        return read_failed(source, f"SQLSTATE {state}")
    # In the middle of a stream the driver has no SQLSTATE, only a message.
    message = first_line(error).rsplit("ERROR:  ", 1)[-1].rsplit("FATAL:  ", 1)[-1]
    if any(words in message for words in CONNECTION_ENDED_WORDS):
        return connection_lost(source, message if message.startswith(HARMLESS) else "the server closed it")
    return read_failed(source, message if message.startswith(HARMLESS) else "the server rejected a row's value")
