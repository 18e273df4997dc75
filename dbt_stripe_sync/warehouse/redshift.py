"""Reads Amazon Redshift through its own connector.

ADBC's PostgreSQL driver doesn't work: Redshift has no binary COPY to the client, and half of dbt's authentication
methods use IAM, which only this connector supports.
Settings: docs.getdbt.com/docs/core/connect-data-platform/redshift-setup.
Tested for real: reading, with a PostgreSQL server (same DECLARE and FETCH). Not tested: a cluster, IAM.
"""

from __future__ import annotations

import contextlib
import struct
from datetime import time, timedelta
from typing import TYPE_CHECKING, Any

import redshift_connector

from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.canonical import duration_text, interval_text, shortest_single, zoned_time_text
from dbt_stripe_sync.warehouse.dbapi_rows import build_reader
from dbt_stripe_sync.warehouse.failures import (
    bad_setting,
    connection_lost,
    denied,
    not_authorised,
    not_permitted,
    read_failed,
    relation_missing,
    unreachable,
)
from dbt_stripe_sync.warehouse.network import check_reachable
from dbt_stripe_sync.warehouse.select import SourceColumn, double_quoted, from_clause, match_columns, select_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import WarehouseError

DEFAULT_PORT = 5439
CONNECT_TIMEOUT_SECONDS = 30
# The connector holds a whole result in memory, so rows are fetched through a cursor in the cluster. A cluster of one
# node returns at most 1,000 rows for each FETCH (docs.aws.amazon.com/redshift/latest/dg/declare.html).
FETCH_ROWS = 10_000
SINGLE_NODE_FETCH_ROWS = 1_000
CURSOR = "dbt_stripe_sync_rows"
# SQLSTATEs (postgresql.org/docs/current/errcodes-appendix.html).
UNDEFINED = ("42P01", "3F000")
INSUFFICIENT_PRIVILEGE = "42501"
CONNECTION_ENDED = ("08", "57P")
AUTH_WORDS = ("password authentication failed", "28000", "28p01", "accessdenied", "no valid credentials")


class RedshiftWarehouse:
    """One connection, in a read-only transaction while it reads."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with the name of its type. Raises `WarehouseError`."""
        return {column.name: column.type for column in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names. Raises `WarehouseError`."""
        found = match_columns(source, self._described(source))
        select = select_of(source, found)
        converts = {name: CONVERTS.get(column.type) for name, column in found.items()}
        with self._transaction(source):
            try:
                return build_reader(source.columns, self._fetched(select, FETCH_ROWS), converts)
            except redshift_connector.Error as error:
                if "single node" not in str(error).lower():
                    raise
                self._connection.rollback()
                return build_reader(source.columns, self._fetched(select, SINGLE_NODE_FETCH_ROWS), converts)

    def execute(self, sql: str) -> None:
        """Execute a statement and commit it. Raises `WarehouseError`."""
        source = RowSource(name="diff_schema", relation=None, sql=sql, columns=())
        with self._transaction(source):
            self._connection.cursor().execute(sql.replace("%", "%%"))
            self._connection.commit()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _described(self, source: RowSource) -> list[SourceColumn]:
        with self._transaction(source):
            cursor = self._connection.cursor()
            cursor.execute(f"SELECT * FROM {from_clause(source)} LIMIT 0")
            if cursor.description is None:
                raise read_failed(source, "the cluster described no columns")
            return [_source_column(_text(name), type_name(code)) for name, code, *_ in cursor.description]

    def _fetched(self, select: str, rows_a_fetch: int) -> Iterator[Sequence[Sequence[Any]]]:
        cursor = self._connection.cursor()
        # The connector would parse `%` as a parameter.
        cursor.execute(f"DECLARE {CURSOR} CURSOR FOR {select.replace('%', '%%')}")
        while True:
            cursor.execute(f"FETCH FORWARD {rows_a_fetch} FROM {CURSOR}")
            rows = cursor.fetchall()
            if not rows:
                break
            yield rows
        cursor.execute(f"CLOSE {CURSOR}")

    @contextlib.contextmanager
    def _transaction(self, source: RowSource) -> Iterator[None]:
        try:
            yield
        except redshift_connector.Error as error:
            raise _read_failure(source, error) from None
        except OSError as error:
            raise connection_lost(source, error.strerror or type(error).__name__) from None
        except (ValueError, OverflowError, struct.error) as error:  # a value that the connector can't convert
            raise read_failed(source, f"{type(error).__name__} in Redshift's connector") from None
        finally:
            with contextlib.suppress(redshift_connector.Error, OSError):
                self._connection.rollback()


def connect(target: Mapping[str, Any], project_root: Path) -> RedshiftWarehouse:
    """Connect with the profile's settings. Raises `WarehouseError`."""
    del project_root  # no setting names a file
    options = build_options(target)
    place = f"Redshift at {options['host']}:{options['port']}, database `{options.get('database')}`,"
    try:
        connection = redshift_connector.connect(**options)
    except Exception as error:  # noqa: BLE001 - errors of the connector, its sockets, and the AWS client for IAM
        if any(word in str(error).lower() for word in AUTH_WORDS):
            raise not_authorised(place, target.get("user")) from None
        if "permission denied" in str(error).lower():
            hint = "grant it the right to connect to the database"
            raise not_permitted(place, target.get("user"), "may not connect to the database", hint) from None
        if not options.get("iam"):  # with IAM, only AWS knows the cluster's host
            check_reachable(place, options["host"], options["port"])
        raise unreachable(place, type(error).__name__) from None
    # The connector's timeout also applies to each response, but a query may run longer.
    connection._usock.settimeout(None)  # noqa: SLF001 - it has no setting of its own for reads
    _prepare_session(connection, place, target)
    return RedshiftWarehouse(connection)


def _prepare_session(connection: Any, place: str, target: Mapping[str, Any]) -> None:
    cursor = connection.cursor()
    # So that views return the same times whatever the user's time zone is.
    cursor.execute("SET timezone TO 'UTC'")
    role = target.get("role")
    if role:
        try:
            cursor.execute(f"SET ROLE {role}")
        except redshift_connector.Error:
            connection.close()
            hint = f"grant the role to the user, or change the profile's `role`: GRANT ROLE {role} TO …"
            raise not_permitted(place, target.get("user"), f"may not use the role `{role}`", hint) from None
    connection.commit()


def build_options(target: Mapping[str, Any]) -> dict[str, Any]:
    """The profile as arguments of the connector. They contain secrets. Raises `WarehouseError`."""
    host = str(target.get("host", ""))
    serverless = bool(target.get("is_serverless")) or "serverless" in host
    options: dict[str, Any] = {
        "host": host,
        "port": int(target.get("port") or DEFAULT_PORT),
        "database": target.get("database", target.get("dbname")),
        "region": target.get("region"),
        "timeout": int(target.get("connect_timeout") or CONNECT_TIMEOUT_SECONDS),
        "is_serverless": serverless,
        "application_name": "dbt-stripe-sync",
        # Use unnamed statements. After a ROLLBACK, the connector numbers named ones from 1 again and closes the old
        # ones while it still reads the ROLLBACK's response, so a number can be in use (SQLSTATE 42P05).
        "max_prepared_statements": 0,
        **_encryption(str(target.get("sslmode") or "prefer")),
        **_keepalive(target),
        **_authentication(target, serverless=serverless),
    }
    return {name: value for name, value in options.items() if value is not None}


def _encryption(sslmode: str) -> dict[str, Any]:
    # The connector has two modes. dbt-redshift maps PostgreSQL's six modes to these.
    if sslmode == "disable":
        return {"ssl": False}
    return {"ssl": True, "sslmode": "verify-full" if sslmode == "verify-full" else "verify-ca"}


def _keepalive(target: Mapping[str, Any]) -> dict[str, Any]:
    if not target.get("tcp_keepalive", True):
        return {"tcp_keepalive": False}
    names = ("tcp_keepalive_idle", "tcp_keepalive_interval", "tcp_keepalive_count")
    return {"tcp_keepalive": True, **{name: target.get(name) for name in names}}


def _authentication(target: Mapping[str, Any], *, serverless: bool) -> dict[str, Any]:
    method = str(target.get("method") or "database")
    if method == "database":
        return {"user": target.get("user"), "password": target.get("password", target.get("pass"))}
    where = (
        {"serverless_work_group": target.get("serverless_work_group")}
        | {"serverless_acct_id": target.get("serverless_acct_id")}
        if serverless
        else {"cluster_identifier": target.get("cluster_id")}
    )
    shared = {"auto_create": target.get("autocreate"), "db_groups": target.get("db_groups") or None}
    match method:
        case "iam":
            keys = {name: target.get(name) for name in ("access_key_id", "secret_access_key")}
            profile = None if any(keys.values()) else target.get("iam_profile")
            return {"iam": True, "db_user": target.get("user"), "profile": profile, **keys, **where, **shared}
        case "iam_role":
            federation = {"group_federation": not serverless, "profile": target.get("iam_profile")}
            return {"iam": True, **federation, **where, **shared}
        case "browser_identity_center":
            return {
                "iam": False,
                "credentials_provider": "BrowserIdcAuthPlugin",
                "issuer_url": target.get("issuer_url"),
                "idc_region": target.get("idc_region"),
                "idc_client_display_name": target.get("idc_client_display_name"),
                "listen_port": target.get("idp_listen_port"),
                "idp_response_timeout": target.get("idp_response_timeout"),
            }
        case _:
            raise bad_setting("redshift", "method", f"is `{method}`, which isn't supported")


TYPE_NAMES = {
    16: "boolean",
    20: "bigint",
    21: "smallint",
    23: "integer",
    25: "text",
    700: "real",
    701: "double precision",
    1042: "character",
    1043: "character varying",
    1082: "date",
    1083: "time without time zone",
    1114: "timestamp without time zone",
    1184: "timestamp with time zone",
    1188: "interval year to month",
    1190: "interval day to second",
    1266: "time with time zone",
    1700: "numeric",
    4000: "super",
}


# The connector computes times of day with floats, so that 26 microseconds become 25, and can't parse all zones. So they
# are read as text (docs.aws.amazon.com/redshift/latest/dg/r_CAST_function.html: both can be cast to VARCHAR).
TIMES = frozenset({"time without time zone", "time with time zone"})


def _time_of_day(text: str) -> time:
    whole, _, fraction = text.partition(".")
    return time.fromisoformat(whole).replace(microsecond=int(fraction.ljust(6, "0")[:6]))


# Conversions of the connector's values. It returns a 32-bit float with the digits of a 64-bit one.
CONVERTS: Mapping[str, Callable[[Any], Any]] = {
    "real": shortest_single,
    "time without time zone": _time_of_day,
    "time with time zone": zoned_time_text,
    "interval year to month": lambda span: interval_text(span.months, 0, 0),
    "interval day to second": lambda span: duration_text(timedelta(microseconds=span.microseconds)),
}


def _source_column(name: str, kind: str) -> SourceColumn:
    quoted = double_quoted(name)
    return SourceColumn(name=name, type=kind, sql=f"CAST({quoted} AS VARCHAR)" if kind in TIMES else quoted)


def type_name(code: Any) -> str:
    """A type's name by its id in the wire protocol."""
    return TYPE_NAMES.get(int(code), f"type {code}")


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _read_failure(source: RowSource, error: Exception) -> WarehouseError:
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    state = str(details.get("C", ""))
    if state in UNDEFINED or (not state and "does not exist" in str(details.get("M", ""))):
        return relation_missing(source)
    if state == INSUFFICIENT_PRIVILEGE:
        return denied(source)
    # The connector's errors after its socket was closed have no SQLSTATE.
    if state.startswith(CONNECTION_ENDED) or (not state and isinstance(error, redshift_connector.InterfaceError)):
        return connection_lost(source, f"SQLSTATE {state}" if state else "the server closed it")
    return read_failed(source, f"SQLSTATE {state}" if state else type(error).__name__)
