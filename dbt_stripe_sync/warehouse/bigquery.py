"""Reads BigQuery through its ADBC driver, which uses the Storage Read API.

Settings: docs.getdbt.com/docs/core/connect-data-platform/bigquery-setup. Tested for real: every authentication method,
up to the driver's validation of its options; reading, with the same code on another ADBC driver. Not tested: a real
Google Cloud project.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_bigquery import DatabaseOptions, StatementOptions
from adbc_driver_bigquery import dbapi as adbc

from dbt_stripe_sync.model.home import with_home
from dbt_stripe_sync.warehouse.adbc_rows import AdbcWarehouse, Dialect
from dbt_stripe_sync.warehouse.canonical import interval_of_text
from dbt_stripe_sync.warehouse.failures import (
    bad_setting,
    denied,
    not_authorised,
    read_failed,
    relation_missing,
    unreachable,
)
from dbt_stripe_sync.warehouse.select import SourceColumn, backquoted

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.model.nodes import RowSource

# Options that the driver supports but its Python package doesn't list.
APPLICATION_DEFAULT = "adbc.bigquery.sql.auth_type.app_default_credentials"
QUOTA_PROJECT = "adbc.bigquery.sql.auth.quota_project"
IMPERSONATED = "adbc.bigquery.sql.impersonate.target_principal"
IMPERSONATED_SCOPES = "adbc.bigquery.sql.impersonate.scopes"
SCOPES = ("https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/cloud-platform")
NETWORK_WORDS = ("no such host", "dial tcp", "connection refused", "connection reset", "i/o timeout", "tls:")
# The driver's type for a NUMERIC without a declared precision and scale.
UNSCALED = pa.decimal128(38, 9)
AUTH_WORDS = ("unauthenticated", "invalid_grant", "could not find default credentials", "private key", "error 401")


def connect(target: Mapping[str, Any], project_root: Path) -> AdbcWarehouse:
    """Connect with the profile's settings. Raises `WarehouseError`."""
    options = build_options(target, project_root)
    place = f"BigQuery project `{_project(target)}`"
    try:
        connection = adbc.connect(db_kwargs=options, autocommit=True)
    except adbc_driver_manager.Error as error:
        if any(word in str(error).lower() for word in AUTH_WORDS):
            raise not_authorised(place, None) from None
        raise unreachable(place, type(error).__name__) from None
    return AdbcWarehouse(connection, dialect(build_statement_options(target)))


def dialect(statement_options: Mapping[str, str]) -> Dialect:
    """BigQuery's dialect: names in backquotes, and types that Arrow doesn't have as text."""
    return Dialect(
        quote=backquoted,
        describe=describe,
        failure=_read_failure,
        statement_options=statement_options,
    )


def build_options(target: Mapping[str, Any], project_root: Path) -> dict[str, str]:
    """The profile as options of the ADBC driver's database. They contain secrets. Raises `WarehouseError`."""
    if target.get("api_endpoint"):
        raise bad_setting("bigquery", "api_endpoint", "is not known to the driver")
    options: dict[str, Any] = {
        DatabaseOptions.PROJECT_ID.value: target.get("execution_project") or _project(target),
        DatabaseOptions.DATASET_ID.value: target.get("dataset", target.get("schema")),
        DatabaseOptions.LOCATION.value: target.get("location"),
        QUOTA_PROJECT: target.get("quota_project"),
        **_authentication(target, project_root),
    }
    principal = target.get("impersonate_service_account")
    if principal:
        options[IMPERSONATED] = principal
        options[IMPERSONATED_SCOPES] = ",".join(target.get("scopes") or SCOPES)
    return {name: str(value) for name, value in options.items() if value not in {None, ""}}


def build_statement_options(target: Mapping[str, Any]) -> dict[str, str]:
    """The profile's limits as options of every query."""
    options: dict[str, Any] = {
        StatementOptions.MAX_BYTES_BILLED.value: target.get("maximum_bytes_billed"),
        StatementOptions.PRIORITY.value: str(target.get("priority") or "").upper(),
        # In milliseconds; dbt's setting is in seconds.
        StatementOptions.JOB_TIMEOUT.value: 1000 * int(_timeout_seconds(target) or 0) or None,
    }
    return {name: str(value) for name, value in options.items() if value not in {None, ""}}


def _timeout_seconds(target: Mapping[str, Any]) -> Any:
    return target.get("job_execution_timeout_seconds", target.get("timeout_seconds"))


def _project(target: Mapping[str, Any]) -> str | None:
    project = target.get("project", target.get("database"))
    return str(project) if project else None


def _authentication(target: Mapping[str, Any], project_root: Path) -> dict[str, Any]:
    kind, credentials = DatabaseOptions.AUTH_TYPE.value, DatabaseOptions.AUTH_CREDENTIALS.value
    match str(target.get("method") or "oauth"):
        case "oauth":
            return {kind: APPLICATION_DEFAULT}
        case "service-account":
            path = project_root / with_home(str(target.get("keyfile", "")))
            if not path.is_file():
                raise bad_setting("bigquery", "keyfile", f"names {path}, which doesn't exist")
            return {kind: DatabaseOptions.AUTH_VALUE_JSON_CREDENTIAL_FILE.value, credentials: path}
        case "service-account-json":
            key = _key_json(target.get("keyfile_json"))
            return {kind: DatabaseOptions.AUTH_VALUE_JSON_CREDENTIAL_STRING.value, credentials: key}
        case "oauth-secrets":
            if not target.get("refresh_token"):
                hint = "give `refresh_token`, `client_id` and `client_secret`, or use another `method`"
                raise bad_setting("bigquery", "token", "isn't enough for the driver", hint)
            return {
                kind: DatabaseOptions.AUTH_VALUE_USER_AUTHENTICATION.value,
                DatabaseOptions.AUTH_CLIENT_ID.value: target.get("client_id"),
                DatabaseOptions.AUTH_CLIENT_SECRET.value: target.get("client_secret"),
                DatabaseOptions.AUTH_REFRESH_TOKEN.value: target.get("refresh_token"),
            }
        case method:
            hint = "use `oauth` with GOOGLE_APPLICATION_CREDENTIALS naming an external account's configuration"
            raise bad_setting("bigquery", "method", f"is `{method}`, which the driver does not know", hint)


def _key_json(details: Any) -> str:
    """A service account's key as JSON text, from a mapping, JSON text or base64 of it."""
    if isinstance(details, str):
        try:
            details = json.loads(details if details.lstrip().startswith("{") else base64.b64decode(details))
        except (ValueError, binascii.Error):
            raise bad_setting("bigquery", "keyfile_json", "is not valid JSON") from None
    if not isinstance(details, Mapping):
        raise bad_setting("bigquery", "keyfile_json", "is missing")
    key = dict(details)
    if isinstance(key.get("private_key"), str):
        key["private_key"] = key["private_key"].replace("\\n", "\n")  # environment variables escape line breaks
    return json.dumps(key)


def describe(quoted: str, field: pa.Field) -> SourceColumn:
    """How a column is read. BIGNUMERIC is wider than any Arrow decimal; INTERVAL and RANGE have no plain Arrow type."""
    kind = _type_name(field)
    sql, form, is_number = quoted, None, False
    if kind == "BIGNUMERIC" or pa.types.is_decimal256(field.type) or field.type == UNSCALED:
        # A NUMERIC without a declared scale would have nine decimals, mostly zeros.
        sql, is_number = f"CAST({quoted} AS STRING)", True
    elif kind == "INTERVAL":
        sql, form = f"CAST({quoted} AS STRING)", interval_of_text
    elif kind == "GEOGRAPHY":
        sql = f"ST_ASTEXT({quoted})"
    elif kind == "RANGE":
        sql = f"TO_JSON_STRING({quoted})"
    return SourceColumn(name=field.name, type=kind, sql=sql, form=form, is_number=is_number)


def _type_name(field: pa.Field) -> str:
    metadata = {name.decode(): value.decode() for name, value in (field.metadata or {}).items()}
    return str(metadata.get("Type", field.type)).upper()


def _read_failure(source: RowSource, error: Exception) -> WarehouseError:
    message = str(error)
    if "notFound" in message or "Not found" in message:
        return relation_missing(source)
    if any(word in message.lower() for word in AUTH_WORDS):
        return not_authorised("BigQuery", None)
    if any(word in message.lower() for word in NETWORK_WORDS):
        return unreachable("BigQuery", "no connection to Google's API", "check the network, the VPN and the proxy")
    if "accessDenied" in message or "Access Denied" in message:
        return denied(source)
    return read_failed(source, type(error).__name__)
