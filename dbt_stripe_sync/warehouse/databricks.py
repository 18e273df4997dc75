"""Reads Databricks through its SQL connector's Arrow results.

Settings: docs.getdbt.com/docs/core/connect-data-platform/databricks-setup. Tested for real: the exchange of a service
principal's secret for a token, with a local server, and the names of the connector's arguments. Not tested: a real
workspace.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from databricks import sql
from databricks.sql import exc

from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.canonical import interval_of_text, restored
from dbt_stripe_sync.warehouse.failures import (
    bad_setting,
    denied,
    not_authorised,
    not_permitted,
    read_failed,
    relation_missing,
    unreachable,
)
from dbt_stripe_sync.warehouse.network import check_reachable
from dbt_stripe_sync.warehouse.select import (
    SourceColumn,
    backquoted,
    forms_of,
    from_clause,
    match_columns,
    select_of,
)
from dbt_stripe_sync.warehouse.streams import guarded_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import WarehouseError

BATCH_ROWS = 50_000
TOKEN_TIMEOUT_SECONDS = 30
HTTPS_PORT = 443
TIME_ZONE_SETTINGS = frozenset({"timezone", "spark.sql.session.timezone"})
TOKEN_MARGIN_SECONDS = 60
# Types without a plain Arrow type, by the beginning of their name, with the expression that reads them.
FORMS = {
    "interval": "CAST({} AS STRING)",
    "void": "CAST({} AS STRING)",
    "variant": "to_json({})",
    "object": "to_json({})",
}
CATALOG_PROPERTY = "databricks.catalog"


class DatabricksWarehouse:
    """One session; every read has its own cursor."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with Databricks' name for its type. Raises `WarehouseError`."""
        return {column.name: column.type for column in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, streamed. Raises `WarehouseError`."""
        found = match_columns(source, self._described(source))
        select, forms = select_of(source, found, backquoted), forms_of(found)
        cursor = self._connection.cursor()
        try:
            cursor.execute(select)
            first = cursor.fetchmany_arrow(BATCH_ROWS)
        except Exception as error:  # noqa: BLE001 - errors of the connector, its transport and Arrow
            cursor.close()
            raise _read_failure(source, error) from None
        return guarded_reader(
            first.schema,
            (restored(batch, forms) for batch in _batches(cursor, first)),
            failure=lambda error: _read_failure(source, error),
            close=cursor.close,
        )

    def execute(self, sql: str) -> None:
        """Execute a statement and commit it. Raises `WarehouseError`."""
        source = RowSource(name="diff_schema", relation=None, sql=sql, columns=())
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(sql)
            except Exception as error:  # noqa: BLE001 - as above
                raise _read_failure(source, error) from None

    def close(self) -> None:
        """Close the session."""
        self._connection.close()

    def _described(self, source: RowSource) -> list[SourceColumn]:
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(f"SELECT * FROM {from_clause(source)} LIMIT 0")
            except Exception as error:  # noqa: BLE001 - as above
                raise _read_failure(source, error) from None
            return [
                SourceColumn(
                    name=name,
                    type=str(kind),
                    sql=read_sql(backquoted(name), str(kind)),
                    form=interval_of_text if str(kind).lower().startswith("interval") else None,
                )
                for name, kind, *_ in cursor.description
            ]


def connect(target: Mapping[str, Any], project_root: Path) -> DatabricksWarehouse:
    """Open a session with the profile's settings. Raises `WarehouseError`."""
    del project_root  # no setting names a file
    place = f"Databricks at {target.get('host')}"
    options = build_options(target)
    # The connector would retry for 15 minutes before it reports an unreachable host.
    check_reachable(place, options["server_hostname"], int(options.get("_port") or HTTPS_PORT))
    try:
        connection = sql.connect(**options)
        if not any(name.lower() in TIME_ZONE_SETTINGS for name in target.get("session_properties") or {}):
            with connection.cursor() as cursor:
                # So that views return the same times whatever the workspace's time zone is.
                cursor.execute("SET TIME ZONE 'UTC'")
        return DatabricksWarehouse(connection)
    except exc.Error as error:
        message = str(error).lower()
        if "permission" in message:
            hint = "grant it CAN USE on the SQL warehouse, or use another `http_path`"
            raise not_permitted(place, None, "may not use the SQL warehouse", hint) from None
        if any(word in message for word in ("401", "403", "invalid access token", "unauthorized")):
            raise not_authorised(place, None) from None
        raise unreachable(place, type(error).__name__) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise unreachable(place, type(error).__name__) from None


def read_sql(column: str, kind: str) -> str:
    """The expression that reads `column`, with a cast if its type has no plain Arrow type."""
    for beginning, form in FORMS.items():
        if kind.lower().startswith(beginning):
            return form.format(column)
    return column


def build_options(target: Mapping[str, Any]) -> dict[str, Any]:
    """The profile as arguments of the connector. They contain secrets. Raises `WarehouseError`."""
    missing = [name for name in ("host", "http_path") if not target.get(name)]
    if missing:
        raise bad_setting("databricks", missing[0], "is missing")
    properties = dict(target.get("session_properties") or {})
    catalog = target.get("catalog", target.get("database")) or properties.pop(CATALOG_PROPERTY, None)
    options = {
        "server_hostname": str(target["host"]).removeprefix("https://").rstrip("/"),
        "http_path": target["http_path"],
        "catalog": catalog,
        "schema": target.get("schema"),
        "session_configuration": {name: str(value) for name, value in properties.items()} or None,
        "user_agent_entry": "dbt-stripe-sync",
        **(target.get("connection_parameters") or {}),
        **_authentication(target),
    }
    return {name: value for name, value in options.items() if value is not None}


def _authentication(target: Mapping[str, Any]) -> dict[str, Any]:
    if target.get("token"):
        return {"access_token": target["token"]}
    if target.get("azure_client_id") and target.get("azure_client_secret"):
        return {
            "auth_type": "azure-sp-m2m",
            "azure_client_id": target["azure_client_id"],
            "azure_client_secret": target["azure_client_secret"],
        }
    if target.get("auth_type") not in {None, "oauth"}:
        reason = f"is `{target['auth_type']}`, which isn't supported"
        raise bad_setting("databricks", "auth_type", reason, "use a token, or `oauth` with a client id and secret")
    if target.get("client_secret"):
        host = str(target["host"]).removeprefix("https://").rstrip("/")
        principal = ServicePrincipal(
            f"https://{host}/oidc/v1/token", str(target.get("client_id")), str(target["client_secret"])
        )
        return {"credentials_provider": principal}
    return {"auth_type": "databricks-oauth", "oauth_client_id": target.get("client_id")}


class ServicePrincipal:
    """Fetches tokens for a service principal's id and secret, and renews them before they expire.

    See docs.databricks.com/dev-tools/auth/oauth-m2m. The connector calls it once to get a function for the headers.
    """

    def __init__(self, url: str, client_id: str, secret: str) -> None:
        self._url = url
        self._basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        self._token = ""
        self._ends_at = 0.0

    def auth_type(self) -> str:
        """The connector's name for this authentication method."""
        return "oauth-m2m"

    def __call__(self) -> Callable[[], dict[str, str]]:
        """A function that returns the headers for a request."""
        return self._headers

    def _headers(self) -> dict[str, str]:
        if time.monotonic() >= self._ends_at:
            self._fetch()
        return {"Authorization": f"Bearer {self._token}"}

    def _fetch(self) -> None:
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "all-apis"})
        request = urllib.request.Request(  # noqa: S310 - built above, from the profile's host
            self._url, data=form.encode(), headers={"Authorization": f"Basic {self._basic}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TOKEN_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
                made = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"its secret was rejected (HTTP {error.code})"
            raise not_authorised("Databricks", "the service principal", reason) from None
        except (OSError, ValueError) as error:
            raise unreachable("Databricks", f"no token for the service principal ({type(error).__name__})") from None
        self._token = str(made["access_token"])
        self._ends_at = time.monotonic() + float(made.get("expires_in", 0)) - TOKEN_MARGIN_SECONDS


def _batches(cursor: Any, first: pa.Table) -> Iterator[pa.RecordBatch]:
    table = first
    while table.num_rows:
        yield from table.cast(first.schema).to_batches()
        table = cursor.fetchmany_arrow(BATCH_ROWS)


def _read_failure(source: RowSource, error: Exception) -> WarehouseError:
    message = str(error)
    if "TABLE_OR_VIEW_NOT_FOUND" in message or "SCHEMA_NOT_FOUND" in message:
        return relation_missing(source)
    if "INSUFFICIENT_PERMISSIONS" in message or "PERMISSION_DENIED" in message:
        return denied(source)
    return read_failed(source, type(error).__name__)
